"""`apply` on timm models: nothing changes when nothing is removed, and everything comes back."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from onedpiece.retokenize import apply, reconfigured, remove, trace, unmerge
from onedpiece.retokenize.adapters import TimmAdapter
from onedpiece.retokenize.stack import SLICE

NOTHING = {
    "mctf": {"r": 0},
    "tome": {"r": 0},
    "evit": {"keep_rate": 1.0, "layers": (1, 2)},
    "imagepiece": {"keep_rate": 1.0, "schedule": ((1, 2, 3),)},
    "mustdrop": {"threshold": 1.1, "window": 4},
}
# Tokens left of 64 patches in a depth of 4, the prefix not counted.
SOMETHING: dict[str, tuple[dict[str, Any], int]] = {
    "mctf": ({"r": 10}, 34),  # 64 - 3·10
    "tome": ({"r": 10}, 24),  # 64 - 4·10
    "evit": ({"keep_rate": 0.5, "layers": (1, 2)}, 18),  # ⌈64/2⌉ + 1 = 33, ⌈33/2⌉ + 1 = 18
    "imagepiece": ({"keep_rate": 0.5, "schedule": ((1, 2), (3,))}, 16),  # 64 → 32 → 16
    "mustdrop": ({"threshold": -1.0, "window": 4}, 4),  # 8×8 patches, every 4×4 window merges
    "slimming": ({"layers": (1, 2)}, 16),  # 64 → 32 → 16
}
Make = Callable[..., nn.Module]


def test_deit_matches_the_authors_code(data: Path) -> None:
    timm = pytest.importorskip("timm")
    vit = timm.models.VisionTransformer(
        img_size=64, patch_size=8, embed_dim=48, depth=4, num_heads=3, num_classes=10
    ).eval()
    vit.load_state_dict(load_file(data / "mctf_deit_state.safetensors"))
    vectors = load_file(data / "mctf_deit_io.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(vit(vectors["input"]), vectors["logits_base"], atol=1e-5, rtol=0)
        apply(vit, "mctf", r=10, layers=range(1, 4))
        torch.testing.assert_close(vit(vectors["input"]), vectors["logits_mctf"], atol=1e-5, rtol=0)


def _restores(vit: Any, name: str) -> bool:
    """Padding may not be pooled."""
    return name == "mustdrop" and vit.global_pool == "avg"


@pytest.mark.parametrize("name", NOTHING)
def test_logits_are_the_same_when_nothing_is_removed(vit: nn.Module, pictures: Tensor, name: str) -> None:
    with torch.no_grad():
        before = vit(pictures)
        apply(vit, name, **NOTHING[name], restore=_restores(vit, name))
        after = vit(pictures)
    if name == "mustdrop":  # its sizes exist (all one) behind the first layer, so it takes another path
        torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    else:
        assert torch.equal(after, before)


@pytest.mark.parametrize("name", SOMETHING)
def test_tokens_go_and_everything_comes_back(vit: nn.Module, pictures: Tensor, name: str) -> None:
    original, state = vit.blocks, copy.deepcopy(vit.state_dict())
    options, left = SOMETHING[name]
    with torch.no_grad():
        before = vit(pictures)
        assert apply(vit, name, **options, restore=_restores(vit, name)) is vit
        traced = trace(vit, pictures)
        reduced = vit(pictures)
    last = traced.states[-1]
    assert last.x.shape[1] == left + vit.num_prefix_tokens
    assert torch.isfinite(reduced).all()
    assert not torch.equal(reduced, before)
    torch.testing.assert_close(traced.output, reduced)
    assert last.size is not None
    if name != "imagepiece":  # which discards
        total = 64.0 + vit.num_prefix_tokens
        torch.testing.assert_close(last.size.sum(dim=(1, 2)), torch.full((2,), total), atol=1e-3, rtol=0)
    if name != "slimming":
        assert vit.state_dict().keys() == state.keys()
    assert vit.remove() is vit
    assert vit.blocks is original
    assert not hasattr(vit, "remove")
    assert all(torch.equal(value, state[key]) for key, value in vit.state_dict().items())
    with torch.no_grad():
        assert torch.equal(vit(pictures), before)


@pytest.mark.parametrize("name", SOMETHING)
def test_prefix_tokens_stay_alone(make_vit: Make, pictures: Tensor, name: str) -> None:
    vit = apply(make_vit("registers"), name, **SOMETHING[name][0])
    source = trace(vit, pictures).states[-1].source
    assert source is not None
    assert torch.equal(source[:, :5, :5], torch.eye(5).expand(2, 5, 5))
    assert source[:, :5, 5:].abs().sum() == 0
    assert source[:, 5:, :5].abs().sum() == 0


@pytest.mark.parametrize("name", SOMETHING)
def test_gradients_reach_every_block_in_training(make_vit: Make, pictures: Tensor, name: str) -> None:
    vit = apply(make_vit("drop_path").train(), name, **SOMETHING[name][0])
    vit(pictures).sum().backward()
    missing = [key for key, value in vit.named_parameters() if value.grad is None]
    assert missing == []
    assert all(torch.isfinite(value.grad).all() for value in vit.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mctf", "tome", "evit", "imagepiece", "slimming"])
def test_compiles_in_one_graph(make_vit: Make, pictures: Tensor, name: str) -> None:
    vit = apply(make_vit("layer_scale"), name, **SOMETHING[name][0])
    compiled = torch.compile(vit, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(pictures), vit(pictures), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SOMETHING)
def test_runs_under_autocast(make_vit: Make, pictures: Tensor, name: str) -> None:
    vit = apply(make_vit(), name, **SOMETHING[name][0])
    with torch.autocast("cpu", torch.bfloat16):
        logits = vit(pictures)
        logits.float().sum().backward()
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", SOMETHING)
def test_checkpointing_gives_the_same_gradients(make_vit: Make, pictures: Tensor, name: str) -> None:
    vit = apply(make_vit(), name, **SOMETHING[name][0])
    gradients = []
    for checkpointing in (False, True):
        vit.set_grad_checkpointing(checkpointing)
        vit.zero_grad()
        vit(pictures).square().sum().backward()
        gradients.append(vit.patch_embed.proj.weight.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", SOMETHING)
@pytest.mark.parametrize("restore", [False, True])
def test_slices_of_a_large_batch_change_nothing(make_vit: Make, name: str, restore: bool) -> None:
    vit = apply(make_vit(), name, restore=restore, **SOMETHING[name][0])
    pictures = torch.randn(SLICE + 3, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        alone = torch.cat([vit(picture[None]) for picture in pictures])
        torch.testing.assert_close(vit(pictures), alone, atol=1e-4, rtol=1e-4)


def test_a_large_batch_is_bit_for_bit_the_same_when_nothing_is_removed(make_vit: Make) -> None:
    vit = make_vit()
    pictures = torch.randn(SLICE + 3, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = vit(pictures)
        assert torch.equal(apply(vit, "mctf", r=0)(pictures), before)


def test_a_copy_is_independent(make_vit: Make, pictures: Tensor) -> None:
    vit = apply(make_vit(), "mctf", r=10)
    twin = copy.deepcopy(vit)
    twin.remove()
    with torch.no_grad():
        assert not torch.equal(vit(pictures), twin(pictures))
        assert torch.equal(vit.remove()(pictures), twin(pictures))


def test_restore_gives_dense_heads_every_position(make_vit: Make, pictures: Tensor) -> None:
    vit = apply(make_vit(), "tome", r=10, restore=True)
    with torch.no_grad():
        features = vit.forward_features(pictures)
    assert features.shape == (2, 65, 48)
    assert len(features[0].unique(dim=0)) == 25  # 64 - 40 patches and the class token


def test_a_second_apply_replaces_the_first(make_vit: Make, pictures: Tensor) -> None:
    vit = apply(apply(make_vit(), "tome", r=10), "mctf", r=10)
    assert trace(vit, pictures).states[-1].x.shape[1] == 35


def test_reconfigured_is_for_a_while(make_vit: Make, pictures: Tensor) -> None:
    vit = apply(make_vit(), "mctf", r=10)
    with reconfigured(vit, r=3):
        assert trace(vit, pictures).states[-1].x.shape[1] == 56  # 65 - 3·3
    assert trace(vit, pictures).states[-1].x.shape[1] == 35


def test_layers_may_be_any_iterable(make_vit: Make, pictures: Tensor) -> None:
    counts = [
        [state.x.shape[1] for state in trace(apply(make_vit(), "mctf", r=4, layers=layers), pictures).states]
        for layers in ([1, 2], iter([1, 2]))
    ]
    assert counts[0] == counts[1]
    assert counts[0][-1] < counts[0][0]


def test_remove_without_apply_does_nothing(make_vit: Make) -> None:
    vit = make_vit()
    original = vit.blocks
    assert remove(vit).blocks is original


def test_masks_are_refused(make_vit: Make, pictures: Tensor) -> None:
    vit = apply(make_vit(), "mctf", r=10)
    with pytest.raises(NotImplementedError, match="attn_mask"):
        vit(pictures, attn_mask=torch.ones(65, 65, dtype=torch.bool))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mtcf", {}, "no reducer is called 'mtcf'; choose one of evit, imagepiece, mctf"),
        ("mctf", {"ratio": 0.5}, "mctf has no option ratio; it knows r, layers"),
        ("mctf", {"layers": (3, 4)}, r"layers \[4\] do not exist; the model's blocks are numbered 0…3"),
        ("mctf", {"pooling": "median"}, "pooling is 'median'; choose one of"),
        ("imagepiece", {"schedule": ((2, 1),)}, "increasing layers"),
        ("imagepiece", {"schedule": ((1, 2),), "keep_rate": 1.5}, "keep_rate is 1.5"),
    ],
)
def test_mistakes_are_named(make_vit: Make, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply(make_vit(), name, **options)


@pytest.mark.slow
def test_the_library_needs_no_timm() -> None:
    code = "import sys; sys.modules['timm'] = None; import onedpiece.retokenize as r; print(r.apply.__name__)"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "apply"


def test_other_models_are_refused() -> None:
    with pytest.raises(ValueError, match="Linear cannot be reduced"):
        apply(nn.Linear(2, 2), "mctf")


def test_what_a_pooling_would_be_wrong_with_is_refused(make_vit: Make) -> None:
    with pytest.raises(ValueError, match="pools over all tokens, padding included"):
        apply(make_vit("no_class"), "mustdrop")
    vit = make_vit(class_token=False, global_pool="map")
    vit.attn_pool.pos_embed = nn.Parameter(torch.zeros(1, 64, 48))
    with pytest.raises(ValueError, match="its pooling counts on every position"):
        apply(vit, "tome")


def test_branches_and_attention_drop_out_in_training(make_vit: Make) -> None:
    block, x = make_vit("drop_path").blocks[1], torch.randn(2, 3, 48)
    adapter = TimmAdapter(block)
    assert adapter.attention_dropout() == 0
    assert not torch.equal(adapter.add_mlp(x), x)
    block.train()
    block.drop_path1.drop_prob = block.drop_path2.drop_prob = 1.0
    assert adapter.attention_dropout() == 0.1
    assert torch.equal(adapter.add_attention(x, x), x)
    assert torch.equal(adapter.add_mlp(x), x)


@pytest.mark.parametrize("name", SOMETHING)
def test_intermediate_maps_have_every_position(make_vit: Make, pictures: Tensor, name: str) -> None:
    vit = make_vit("registers")
    with torch.no_grad():
        whole = vit.forward_intermediates(pictures, intermediates_only=True)
        apply(vit, name, **SOMETHING[name][0])
        states = trace(vit, pictures).states
        final, maps = vit.forward_intermediates(pictures)
        early = vit.forward_intermediates(pictures, indices=[1], stop_early=True, intermediates_only=True)
        (last,) = vit.get_intermediate_layers(pictures, n=1)
    for state, restored in zip(states, maps, strict=True):
        assert state.source is not None
        expected = unmerge(state.x, state.source)[:, 5:].transpose(1, 2).reshape(2, 48, 8, 8)
        torch.testing.assert_close(restored, expected)
    torch.testing.assert_close(early[0], maps[1])
    torch.testing.assert_close(last, maps[-1].flatten(2).transpose(1, 2))
    assert final.shape == (2, 69, 48)
    vit.remove()
    with torch.no_grad():
        again = vit.forward_intermediates(pictures, intermediates_only=True)
    assert all(torch.equal(one, other) for one, other in zip(whole, again, strict=True))


def test_maps_are_differentiable_under_checkpointing(make_vit: Make, pictures: Tensor) -> None:
    vit = apply(make_vit(), "tome", r=10)
    vit.set_grad_checkpointing(True)
    maps = vit.forward_intermediates(pictures, intermediates_only=True)
    sum(each.square().sum() for each in maps).backward()
    assert all(parameter.grad is not None for parameter in vit.blocks.parameters())
    assert vit.grad_checkpointing


def test_pruned_layers_keep_their_reducer(make_vit: Make, pictures: Tensor) -> None:
    vit = apply(make_vit(), "tome", r=10)
    vit.prune_intermediate_layers([1], prune_head=False)
    assert [state.x.shape[1] for state in trace(vit, pictures).states] == [55, 45]
    with pytest.raises(ValueError, match="only the first blocks of a reduced model"):
        vit.blocks[1:]


@pytest.mark.parametrize(
    ("r", "left"),
    [
        ([8, 4, 2, 1], [57, 53, 51, 50]),
        ([8], [57, 57, 57, 57]),
        ((8, -1.0), [49, 39, 34, 34]),  # 16, 10, 5 and 0 of 65
        ((8, 1.0), [65, 60, 50, 34]),
        ((8, 0), [57, 49, 41, 33]),
        (0.25, [49, 37, 28, 22]),  # of 64, 48, 36 and 27
    ],
)
def test_schedules_are_tomes(make_vit: Make, pictures: Tensor, r: Any, left: list[int]) -> None:
    vit = apply(make_vit(), "tome", r=r)
    assert [state.x.shape[1] for state in trace(vit, pictures).states] == left


def test_a_list_says_it_for_the_first_layer_too(make_vit: Make, pictures: Tensor) -> None:
    vit = apply(make_vit(), "mctf", r=[4, 4])
    assert [state.x.shape[1] for state in trace(vit, pictures).states] == [61, 57, 57, 57]
    with reconfigured(vit, r=(8, -1.0)):
        assert trace(vit, pictures).states[0].x.shape[1] == 49


@pytest.mark.parametrize(
    ("r", "message"),
    [
        (-1, r"r is \[-1\]; give a token count"),
        ([1, -2], "give a token count"),
        ([1] * 5, "r has 5 numbers; the model has 4 layers"),
        ((8, 2.0), r"the inflection is 2\.0"),
        ("8", "give a token count"),
    ],
)
def test_bad_schedules_are_named(make_vit: Make, r: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply(make_vit(), "tome", r=r)


@pytest.mark.parametrize("name", SOMETHING)
def test_a_batch_may_be_empty(make_vit: Make, name: str) -> None:
    vit = apply(make_vit(), name, **SOMETHING[name][0])
    with torch.no_grad():
        assert vit(torch.zeros(0, 3, 64, 64)).shape == (0, 10)
