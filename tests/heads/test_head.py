import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import onedpiece
from onedpiece.bitstream import Code
from onedpiece.heads import Boxes, Detections, Head, HeadConfig, HeadError, ReducerConfig, build_head
from onedpiece.heads.outputs import to_predictions
from onedpiece.heads.reduce import merge_in_front
from onedpiece.tokenizer import Tokenizer
from onedpiece.weights import fingerprint

Make = Callable[..., Head]

TASKS = ("classify", "segment", "depth", "detect")
LENGTHS = torch.tensor([16, 3, 9, 1, 3])

SHAPES = {
    "classify": [(5, 3)],  # three classes
    "segment": [(5, 2, 16, 16)],  # two classes on a grid of 4, upsampled by 4
    "depth": [(5, 1, 16, 16)],
    "detect": [(5, 16, 2), (5, 16, 4)],  # 4 · 4 queries, one class and "nothing"
}

REDUCERS = (
    ReducerConfig(),
    ReducerConfig("tome", 0.4, "front"),
    ReducerConfig("tome", 0.5, "inside"),
    ReducerConfig("mctf", 0.5, "inside"),
)


def _apart(outputs: Any, alone: list[Any]) -> float:
    """The largest difference of a batch from its samples one by one; relative to values above 1 (metres)."""
    joined = [torch.cat(values) for values in zip(*alone, strict=True)]
    return max(
        float(((a - b) / b.abs().clamp_min(1)).abs().max()) for a, b in zip(outputs, joined, strict=True)
    )


@pytest.mark.parametrize("task", TASKS)
def test_shapes(task: str, make_head: Make, indices: Tensor) -> None:
    output = make_head(task)(indices)
    assert [tuple(value.shape) for value in output] == SHAPES[task]


@pytest.mark.parametrize("reducer", REDUCERS, ids=lambda r: f"{r.name}-{r.keep_ratio}-{r.place}")
@pytest.mark.parametrize("task", TASKS)
def test_mixed_lengths_equal_one_by_one(
    task: str, reducer: ReducerConfig, make_head: Make, indices: Tensor
) -> None:
    head = make_head(task, reducer=reducer, layers=3)
    with torch.no_grad():
        mixed = head(indices, LENGTHS)
        alone = [head(row[None, :k]) for row, k in zip(indices, LENGTHS.tolist(), strict=True)]
        whole = head(indices)
    assert _apart(mixed, alone) <= 1e-5
    assert _apart(whole, alone) > 1e-3  # lengths do matter, so that the line above says something


PICTURE = {"grid": 4, "linear_picture": True, "codes": False}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "options",
    [PICTURE, PICTURE | {"growth": 0.5, "stem_blocks": 1}, {"group": 4}],
    ids=["picture", "a grid that grows", "groups of codes"],
)
def test_whatever_is_read_mixed_lengths_equal_one_by_one(
    task: str, options: dict[str, Any], make_head: Make, indices: Tensor
) -> None:
    head = make_head(task, **options)
    with torch.no_grad():
        mixed = head(indices, LENGTHS)
        alone = [head(row[None, :k]) for row, k in zip(indices, LENGTHS.tolist(), strict=True)]
        assert _apart(mixed, alone) <= 1e-5
        assert _apart(head(indices), alone) > 1e-3


def test_the_sequence_follows_the_count(make_head: Make) -> None:
    head = make_head("classify", **PICTURE, growth=0.5)
    assert not any("projection" in name for name, _ in head.named_parameters())
    # 4 · sqrt(k / 16), at least 2: 1 → 2 (1 rounded up to 2), 4 → 2, 9 → 3, 16 → 4.
    assert [head.config.side(k) for k in (1, 4, 9, 16)] == [2, 2, 3, 4]
    assert [head.backbone.sequence_length(k) for k in (1, 9, 16)] == [5, 10, 17]
    assert make_head("classify", group=4).backbone.sequence_length(9) == 1 + 3  # ⌈9 / 4⌉


def test_a_group_is_the_sum_of_its_projections(make_head: Make) -> None:
    embed = make_head("classify", group=4).backbone.embed
    # Of six codes of ones the second group has two, six channels: the rest of its rows count for nothing.
    token = embed(torch.ones(1, 6, 3))[0, 1]
    expected = embed.projection[1, :6].sum(0) + embed.position_embedding[1]
    assert torch.allclose(token, expected, atol=1e-6)


def test_a_head_on_pixels_is_the_same_network(make_head: Make, indices: Tensor) -> None:
    head = make_head("segment", grid=4, growth=0.5, linear_picture=True, codes=False)
    seen: list[Tensor] = []
    with torch.no_grad():
        codes = head.backbone.codebook(indices[:, :9])
        read = head.backbone(codes, augment=lambda picture: seen.append(picture) or picture)
        assert seen[0].shape == (5, 3, 12, 12)
        on_pixels = head.backbone.read_picture(seen[0])
    assert torch.equal(on_pixels.feature_map, read.feature_map)
    with pytest.raises(ValueError, match="reads code tokens"):
        make_head("segment", linear_picture=True).backbone.read_picture(seen[0])


def test_an_alteration_sees_the_standardised_linear_picture(
    fsq_tokenizer: Tokenizer, make_head: Make, indices: Tensor
) -> None:
    head = make_head("segment", linear_picture=True)
    seen: list[Tensor] = []
    codes = head.backbone.codebook(indices)
    with torch.no_grad():
        head.read(codes, augment=lambda picture: seen.append(picture) or picture)  # type: ignore[func-returns-value]
        assert fsq_tokenizer.linear_path is not None
        picture = fsq_tokenizer.linear_path.synthesise(codes, size=16)  # four pixels a cell
    assert torch.allclose(seen[0], (picture - 0.45) / 0.25)


@pytest.mark.parametrize("task", TASKS)
def test_what_stands_behind_a_length_is_ignored(task: str, make_head: Make, indices: Tensor) -> None:
    head = make_head(task)
    noise = indices.clone()
    for row, length in zip(noise, LENGTHS.tolist(), strict=True):
        row[length:] = -1
    with torch.no_grad():
        for a, b in zip(head(indices, LENGTHS), head(noise, LENGTHS.tolist()), strict=True):
            assert torch.equal(a, b)


def test_a_length_beyond_the_tensor_is_refused(make_head: Make, indices: Tensor) -> None:
    with pytest.raises(HeadError, match=r"lengths are \[1, 3\]; one in 1…2"):
        make_head("classify")(indices[:2, :2], torch.tensor([1, 3]))


def test_codes_lists_and_tensors_say_the_same(make_head: Make, indices: Tensor) -> None:
    head = make_head("classify")
    codes = [Code(row[:k].numpy(), 4096, b"abcd") for row, k in zip(indices, LENGTHS.tolist(), strict=True)]
    with torch.no_grad():
        expected = head(indices, LENGTHS).logits
        assert torch.equal(head(codes).logits, expected)
        assert torch.equal(head([torch.from_numpy(code.indices.copy()) for code in codes]).logits, expected)
        assert torch.allclose(head(codes[1]).logits, expected[1:2], atol=1e-5)


def test_files_arrays_and_rows_say_the_same(make_head: Make, indices: Tensor) -> None:
    head = make_head("classify")
    codes = [Code(row[:k].numpy(), 4096, b"abcd") for row, k in zip(indices, LENGTHS.tolist(), strict=True)]
    rows = [{"key": "a", "tokens": code.indices.tolist(), "code_space": "61626364"} for code in codes]
    with torch.no_grad():
        expected = head(indices, LENGTHS).logits
        assert torch.equal(head([code.to_bytes() for code in codes]).logits, expected)
        assert torch.equal(head([code.indices.astype(np.uint16) for code in codes]).logits, expected)
        assert torch.equal(head(rows).logits, expected)
        assert torch.equal(head(onedpiece.codes.batch(rows, pad_to=16)).logits, expected)
        assert torch.equal(head(indices.numpy()).logits, head(indices).logits)
    head.code_space = b"abcd"
    assert len(head.predict(rows)) == len(head.predict(codes[0].to_bytes()) * 5) == 5
    head.code_space = b"else"
    for one in (codes[0], codes[0].to_bytes(), rows[0]):
        with pytest.raises(HeadError, match="the code is of code space 61626364"):
            head.predict(one)
    with pytest.raises(HeadError, match="a has no tokens: truncated"):
        head([{"key": "a", "tokens": None, "error": "truncated"}])


def test_a_learned_codebook(vq_tokenizer: Tokenizer, make_head: Make, indices: Tensor) -> None:
    head = make_head("segment", vq_tokenizer)
    expected = vq_tokenizer.quantizer.codes_from_indices(indices)
    assert torch.equal(head.backbone.codebook(indices), expected)
    with torch.no_grad():
        alone = [head(row[None, :k]) for row, k in zip(indices, LENGTHS.tolist(), strict=True)]
        assert _apart(head(indices, LENGTHS), alone) <= 1e-5


@pytest.mark.parametrize("kept", [1, 4, 5, 16])  # within the first grade, at its end, behind it
def test_graded_vectors_are_the_quantizers(
    kept: int, fsq_tokenizer: Tokenizer, make_head: Make, indices: Tensor
) -> None:
    expected = fsq_tokenizer.quantizer.codes_from_indices(indices[:, :kept])
    assert torch.equal(make_head("classify").backbone.codebook(indices[:, :kept]), expected)


def test_the_same_vector_means_something_else_elsewhere(make_head: Make) -> None:
    # A shared projection maps equal vectors at two places to tokens that differ by the positions alone.
    codes = torch.full((1, 2, 3), 0.5)
    shared = make_head("classify", embedding="shared").backbone.embed
    token, position = shared(codes)[0], shared.position_embedding
    assert torch.allclose(token[0] - position[0], token[1] - position[1], atol=1e-6)
    own = make_head("classify").backbone.embed
    token, position = own(codes)[0], own.position_embedding
    assert not torch.allclose(token[0] - position[0], token[1] - position[1], atol=1e-2)
    # By hand: the second token is 0.5 times the sum of its projection's three rows, plus its position.
    assert torch.allclose(token[1], 0.5 * own.projection[1].sum(0) + position[1], atol=1e-6)


def test_queries_make_the_map_row_by_row(make_head: Make, indices: Tensor) -> None:
    head, hidden = make_head("segment"), list[Tensor]()
    head.backbone.ln_post.register_forward_hook(lambda _, __, out: hidden.append(out))
    features = head.backbone(head.backbone.codebook(indices))
    # Behind the class token comes query 1 · 4 + 2 of row 1 and column 2.
    assert torch.equal(features.feature_map[:, :, 1, 2], hidden[0][:, 1 + 6])
    assert torch.equal(features.summary, hidden[0][:, 0])


def test_a_head_takes_the_tokenizers_statistics_and_code_space(fsq_tokenizer: Tokenizer) -> None:
    fitted = deepcopy(fsq_tokenizer)
    assert fitted.linear_path is not None
    fitted.linear_path.scale.mul_(2)
    head = build_head(HeadConfig(classes=("a",), width=32, heads=2, grid=4, linear_picture=True), fitted)
    assert head.code_space == fingerprint(fitted) != fingerprint(fsq_tokenizer)
    assert head.backbone.linear_path is not None
    assert torch.equal(head.backbone.linear_path.scale, fitted.linear_path.scale)


def test_rounds_of_merging_in_front_weigh_every_token_alike() -> None:
    # Five to three to two to one: tokens of unlike sizes, of which the last is the mean of all.
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(merge_in_front(x, 0.2), x.mean(dim=1, keepdim=True))


def test_the_reducer_in_front_leaves_its_share(make_head: Make, indices: Tensor) -> None:
    seen: list[int] = []
    head = make_head("classify", reducer=ReducerConfig(keep_ratio=0.3))
    head.backbone.transformer[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    for kept in (1, 4, 16):
        head(indices[:, :kept])
    # The class token, and ⌈0.3 · 1⌉ = 1, ⌈0.3 · 4⌉ = 2, ⌈0.3 · 16⌉ = 5 of the codes.
    assert seen == [2, 3, 6]


def test_a_classifiers_queries_are_merged_as_well(make_head: Make, indices: Tensor) -> None:
    seen: list[int] = []
    view = {"grid": 4, "linear_picture": True, "reducer": ReducerConfig(keep_ratio=0.5)}
    for codes in (False, True):
        head = make_head("classify", codes=codes, **view)
        head.backbone.transformer[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
        head(indices)
    # The class token, and half of 16 queries; half of 16 queries and 16 codes.
    assert seen == [9, 17]


def test_predictions_are_plain(make_head: Make, indices: Tensor) -> None:
    scores = make_head("classify").train().predict(list(indices))
    assert [s.name == ("cat", "dog", "house")[s.label] for s in scores] == [True] * 5
    assert sum(p for _, p in scores[0].top) == pytest.approx(1)  # there are three classes, all named
    assert scores[0].top[0] == (scores[0].name, scores[0].probability)
    mask = make_head("segment").predict(indices)[0]
    assert mask.classes.shape == (32, 32)
    assert mask.classes.dtype == torch.uint8
    depth = make_head("depth").predict(indices)[4]
    assert depth.meters.shape == (32, 32)
    assert float(depth.meters.min()) > 0


def test_detections_are_sorted_boxes_in_the_picture(make_head: Make, indices: Tensor) -> None:
    for found in make_head("detect").predict(indices):
        assert len(found.boxes) == len(found.labels) == len(found.scores) <= 16
        assert torch.equal(found.scores, found.scores.sort(descending=True).values)
        assert bool((found.boxes[:, 2:] >= found.boxes[:, :2]).all())
        assert bool(((found.boxes >= 0) & (found.boxes <= 1)).all())


def test_what_is_said_twice_is_one_object() -> None:
    config = HeadConfig(task="detect", classes=("a", "b"), width=32, heads=2, grid=2)
    logits = torch.tensor([[[4.0, 0.0, 0.0], [5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [5.0, 0.0, 0.0]]])
    # Two almost equal boxes of class a, one of b in the same place, one of a elsewhere.
    first, near, far = [0.3, 0.3, 0.2, 0.2], [0.31, 0.3, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2]
    boxes = torch.tensor([[first, near, first, far]])
    (found,) = to_predictions(Boxes(logits, boxes), config)
    assert isinstance(found, Detections)
    assert sorted(found.labels.tolist()) == [0, 0, 1]
    assert not (found.boxes[:, 0] - 0.2).abs().lt(1e-6).logical_and(found.labels == 0).any()  # the less sure


def test_queries_start_at_their_cells(fsq_tokenizer: Tokenizer) -> None:
    config = HeadConfig(task="detect", classes=("a",), width=32, heads=2, layers=1, grid=2)
    head = build_head(config, fsq_tokenizer)
    torch.nn.init.zeros_(head.task_head.boxes.weight)  # type: ignore[union-attr,arg-type]
    boxes = head(torch.zeros(1, 4, dtype=torch.long)).boxes[0]
    # The four cells of a 2 × 2 grid have their centres at 1/4 and 3/4, row by row; every side begins at 1/5.
    expected = torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])
    assert torch.allclose(boxes[:, :2], expected, atol=1e-6)
    assert torch.allclose(boxes[:, 2:], torch.full((4, 2), 0.2), atol=1e-6)


def test_bad_codes_are_named(make_head: Make, indices: Tensor) -> None:
    head = make_head("classify")
    with pytest.raises(HeadError, match="17 tokens; this head reads 1 to 16"):
        head(torch.zeros(1, 17, dtype=torch.long))
    with pytest.raises(HeadError, match="has index 4096; its codebook has 0…4095"):
        head(torch.tensor([[0, 4096]]))
    with pytest.raises(HeadError, match="one in 1…16"):
        head(indices, torch.tensor([0, 1, 1, 1, 1]))
    with pytest.raises(HeadError, match="no codes"):
        head([])
    with pytest.raises(HeadError, match="at least 1"):
        head([torch.zeros(0, dtype=torch.long)])


def test_a_mosaic_is_refused(make_head: Make) -> None:
    code = Code(np.array([1, 2]), 4096, b"abcd")
    object.__setattr__(code, "tiles", object())  # what it looks like inside does not matter here
    with pytest.raises(HeadError, match="mosaic of tiles"):
        make_head("classify")(code)


def test_bad_configs_name_field_and_fix(fsq_tokenizer: Tokenizer, vq_tokenizer: Tokenizer) -> None:
    with pytest.raises(HeadError, match="set grid"):
        HeadConfig(task="segment", classes=("a",))
    with pytest.raises(HeadError, match="width 30 is not a multiple of heads 4"):
        HeadConfig(width=30)
    with pytest.raises(HeadError, match="linear_picture needs a tokenizer with a linear path"):
        HeadConfig(tokenizer=vq_tokenizer.config, grid=4, linear_picture=True)
    with pytest.raises(HeadError, match="set grid to 1 or more, as 8"):
        HeadConfig(tokenizer=fsq_tokenizer.config, linear_picture=True)
    with pytest.raises(HeadError, match="set codes or linear_picture"):
        HeadConfig(codes=False)
    with pytest.raises(HeadError, match=r"reducer\.place to inside"):
        ReducerConfig("mctf", 0.5)
    with pytest.raises(HeadError, match=r"reducer\.keep_ratio is 0"):
        ReducerConfig(keep_ratio=0)
    with pytest.raises(HeadError, match="needs classes"):
        Head(HeadConfig())
    with pytest.raises(HeadError, match="task is 'clasify'"):
        HeadConfig(task="clasify")  # type: ignore[arg-type]


def test_depth_stays_finite_however_bad_the_start(make_head: Make, indices: Tensor) -> None:
    head = make_head("depth")
    for bias, limit in ((1000.0, 8), (-1000.0, -8)):
        with torch.no_grad():
            head.task_head.out.bias.fill_(bias)  # type: ignore[union-attr, operator]
            (depth,) = head(indices)
        assert depth == pytest.approx(math.exp(limit))
