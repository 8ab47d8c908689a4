import math

import pytest
import torch

from onedpiece.heads import Boxes, ClassLogits, DepthMap, HeadConfig, MaskLogits, build_head
from onedpiece.tokenizer import Tokenizer
from onedpiece.training.codes import BoxTarget, CodeSamples
from onedpiece.training.losses.heads import (
    BoxWeights,
    Mix,
    ObjectiveConfig,
    box_loss,
    coarse,
    depth_loss,
    draw_mix,
    head_loss,
    mask_loss,
    match,
    mixed_loss,
    set_loss,
)

SURE = 40.0  # a logit that leaves the others no probability in float32


def test_cross_entropy_with_smoothing() -> None:
    # Two classes, logits 0: the entropy is log 2 whatever the smoothing.
    output = ClassLogits(torch.zeros(3, 2))
    assert float(head_loss(output, torch.tensor([0, 1, 1]), ObjectiveConfig())) == pytest.approx(math.log(2))
    # Sure and right: without smoothing 0; with 0.1 the other class should have 0.05, and 0.05 · 40 = 2.
    sure = ClassLogits(torch.tensor([[SURE, 0.0]]))
    right = torch.tensor([0])
    assert float(head_loss(sure, right, ObjectiveConfig(smoothing=0))) == pytest.approx(0, abs=1e-6)
    assert float(head_loss(sure, right, ObjectiveConfig())) == pytest.approx(2.0)


def test_a_teachers_probabilities_are_not_smoothed() -> None:
    sure = ClassLogits(torch.tensor([[SURE, 0.0]]))
    loss = head_loss(sure, torch.tensor([[1.0, 0.0]]), ObjectiveConfig(smoothing=0.1))
    assert float(loss) == pytest.approx(0, abs=1e-6)


def test_coarse_takes_the_middle_of_a_cell() -> None:
    # 6 × 6 to 2 × 2: cells of three, whose middles are rows and columns 1 and 4.
    field = torch.arange(36).view(1, 6, 6)
    assert coarse(field, 2).tolist() == [[[7.0, 10.0], [25.0, 28.0]]]


def test_void_counts_for_nothing() -> None:
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 0, 0] = SURE  # the upper row is class 0, the lower is undecided
    void_below = torch.tensor([[[0, 0], [2, 255]]], dtype=torch.uint8)
    assert float(mask_loss(logits, void_below, dice=1.0)) == pytest.approx(0, abs=1e-6)
    # Class 1 below: half of the pixels cost log 2. Each lower pixel is half a pixel of either class, so the
    # overlaps are 2 · 2 / (2 + 2 + 1) = 0.8 for class 0 and 2 · 1 / (2 + 1) = 2/3 for class 1.
    whole = torch.tensor([[[0, 0], [1, 1]]], dtype=torch.uint8)
    expected = 0.5 * math.log(2) + 1 - (0.8 + 2 / 3) / 2
    assert float(mask_loss(logits, whole, dice=1.0)) == pytest.approx(expected)
    assert float(mask_loss(logits, whole, dice=0.0)) == pytest.approx(0.5 * math.log(2))


def test_all_void_is_a_loss_with_a_gradient() -> None:
    logits = torch.zeros(1, 2, 2, 2, requires_grad=True)
    void = torch.full((1, 2, 2), 9, dtype=torch.uint8)
    for dice in (0.0, 1.0):
        loss = mask_loss(logits, void, dice)
        assert float(loss) == 0
        loss.backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_depth_counts_shares_and_skips_what_is_unknown() -> None:
    meters = torch.tensor([[[2.0, 5.0], [1.0, 9.0]]])
    # Twice too far, right, half of it, unknown: (log 2 + 0 + log 2) / 3.
    truth = torch.tensor([[[1.0, 5.0], [2.0, 0.0]]])
    assert float(depth_loss(meters, truth)) == pytest.approx(2 * math.log(2) / 3)
    output = DepthMap(meters[:, None])
    assert float(head_loss(output, truth, ObjectiveConfig())) == pytest.approx(2 * math.log(2) / 3)


def _two_objects() -> BoxTarget:
    corners = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])
    return BoxTarget(corners, torch.tensor([0, 1]))


def test_matching_takes_the_cheapest_pairs() -> None:
    # Query 2 sits on the first object, query 0 on the second; query 1 is in between and says the same.
    boxes = torch.tensor([[0.75, 0.75, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0.25, 0.25, 0.5, 0.5]])
    pairs = match(torch.zeros(3, 3), boxes, _two_objects(), BoxWeights())
    assert dict(zip(pairs.queries.tolist(), pairs.objects.tolist(), strict=True)) == {0: 1, 2: 0}


def test_classes_decide_between_equal_boxes() -> None:
    boxes = torch.tensor([[0.5, 0.5, 1.0, 1.0]]).expand(2, 4)
    same = BoxTarget(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1]))
    logits = torch.tensor([[SURE, 0.0, 0.0], [0.0, SURE, 0.0]])
    assert match(logits, boxes, same, BoxWeights()).queries.tolist() == [1]


def test_overlap_decides_between_boxes() -> None:
    # A tall and a flat box on one middle: of the object, which is flat, they cover a quarter and a half.
    boxes = torch.tensor([[0.5, 0.5, 0.1, 0.4], [0.5, 0.5, 0.2, 0.1]])
    flat = BoxTarget(torch.tensor([[0.3, 0.45, 0.7, 0.55]]), torch.tensor([0]))
    overlap = BoxWeights(label=0.0, corners=0.0)
    assert match(torch.zeros(2, 2), boxes, flat, overlap).queries.tolist() == [1]


def test_no_object_and_too_many() -> None:
    boxes = torch.tensor([[0.25, 0.25, 0.5, 0.5]])
    none = BoxTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    assert match(torch.zeros(1, 3), boxes, none, BoxWeights()).queries.tolist() == []
    pairs = match(torch.zeros(1, 3), boxes, _two_objects(), BoxWeights())
    assert (pairs.queries.tolist(), pairs.objects.tolist()) == ([0], [0])


def test_box_loss_by_hand() -> None:
    # The left half instead of the whole: centre off by 0.25, width by 0.5. IoU is 0.5 and the hull is the
    # whole, so the generalised IoU is 0.5 too: 5 · 0.75 + 2 · 0.5.
    left = torch.tensor([[0.25, 0.5, 0.5, 1.0]])
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert float(box_loss(left, whole, BoxWeights())) == pytest.approx(4.75)


def test_set_loss_by_hand() -> None:
    # One photo, an object that query 0 has exactly, and a query that rightly says nothing: no loss at all.
    logits = torch.tensor([[[SURE, 0.0], [0.0, SURE]]])
    boxes = torch.tensor([[[0.5, 0.5, 1.0, 1.0], [0.1, 0.1, 0.1, 0.1]]])
    target = BoxTarget(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([0]))
    perfect = set_loss(Boxes(logits, boxes), [target], BoxWeights())
    assert float(perfect) == pytest.approx(0, abs=1e-5)
    # Both undecided: log 2 for each, and the weighted mean of equal numbers is that number.
    unsure = set_loss(Boxes(torch.zeros(1, 2, 2), boxes), [target], BoxWeights())
    assert float(unsure) == pytest.approx(math.log(2), abs=1e-5)


def test_set_loss_of_two_photos_by_hand() -> None:
    # The first photo's objects stand at its queries 1 and 0, which are sure of them. The second's query 1 is
    # sure of its object and has the left half of it (see above: 4.75); its query 0, of none, is undecided.
    left, right = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]
    targets = [
        BoxTarget(torch.tensor([left, right]), torch.tensor([1, 0])),
        BoxTarget(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1])),
    ]
    is_left, is_right = [0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0]
    boxes = torch.tensor([[is_right, is_left], [[0.95, 0.95, 0.1, 0.1], is_left]])
    logits = torch.tensor([[[SURE, 0, 0], [0, SURE, 0]], [[0, 0, 0], [0, SURE, 0]]])
    loss = set_loss(Boxes(logits, boxes), targets, BoxWeights(label=2.0))
    # Three queries of weight 1 lose nothing, the one of weight 0.1 log 3; three objects share the 4.75.
    assert float(loss) == pytest.approx(2 * 0.1 * math.log(3) / 3.1 + 4.75 / 3)


def test_a_photo_without_objects_still_teaches() -> None:
    boxes = torch.full((1, 2, 4), 0.5, requires_grad=True)
    logits = torch.zeros(1, 2, 2, requires_grad=True)
    none = BoxTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    loss = head_loss(Boxes(logits, boxes), [none], ObjectiveConfig())
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(2))
    assert logits.grad is not None
    assert float(logits.grad[..., 0].min()) > 0  # the class loses, "nothing" wins


def test_mixing_by_hand(small_tokenizer: Tokenizer) -> None:
    torch.manual_seed(0)
    config = HeadConfig(classes=("a", "b"), width=32, heads=2, layers=1)
    head = build_head(config, small_tokenizer)
    samples = CodeSamples(torch.tensor([[5], [4000]]), torch.tensor([0, 1]))
    mix = Mix(0.25, torch.tensor([1, 0]))
    codes = head.backbone.codebook(samples.indices)
    # A quarter of each and three quarters of the other; the class likewise.
    logits = head.read(0.25 * codes + 0.75 * codes.flip(0)).logits
    chances = -logits.log_softmax(dim=1)
    expected = (0.25 * chances[0, 0] + 0.75 * chances[0, 1] + 0.25 * chances[1, 1] + 0.75 * chances[1, 0]) / 2
    assert float(mixed_loss(head, samples, mix, ObjectiveConfig(smoothing=0))) == pytest.approx(
        float(expected)
    )
    whole = mixed_loss(head, samples, Mix(1.0, torch.tensor([1, 0])), ObjectiveConfig())
    assert float(whole) == pytest.approx(
        float(head_loss(head(samples.indices), samples.targets, ObjectiveConfig()))
    )


def test_blends_are_drawn_as_often_as_asked() -> None:
    drawn = [draw_mix(4, 0.5, torch.Generator().manual_seed(seed)) for seed in range(400)]
    mixes = [mix for mix in drawn if mix is not None]
    assert 160 <= len(mixes) <= 240  # 200 ± 4 deviations of √(400 · 0.5 · 0.5) = 10
    assert all(sorted(mix.partner.tolist()) == [0, 1, 2, 3] for mix in mixes)
    assert 0.4 <= sum(mix.weight for mix in mixes) / len(mixes) <= 0.6
    assert draw_mix(4, 0.0, torch.Generator().manual_seed(0)) is None


def test_masks_go_to_the_mask_loss() -> None:
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    wanted = torch.randint(3, (2, 8, 8), generator=torch.Generator().manual_seed(1)).byte()
    expected = mask_loss(logits, wanted, 0.5)
    assert float(head_loss(MaskLogits(logits), wanted, ObjectiveConfig(dice=0.5))) == float(expected)
