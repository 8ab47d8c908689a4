"""Rotary ViTs: taken apart exactly, and rotations that follow merged tokens."""

import math

import pytest
import torch
from torch import Tensor

from onedpiece.retokenize import apply, compile_blocks, trace
from onedpiece.retokenize.block import Tokens, advance, attend
from onedpiece.retokenize.groups import Groups
from onedpiece.retokenize.rotary import EvaAdapter

eva = pytest.importorskip("timm.models.eva")

SIZES = {"img_size": 64, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 10}
VARIANTS = {
    "eva02": {"use_rot_pos_emb": True, "swiglu_mlp": True, "scale_mlp": True, "scale_attn_inner": True},
    "unfused": {"use_rot_pos_emb": True, "qkv_fused": False, "init_values": 0.5},
    "dinov3": {
        **{"use_rot_pos_emb": True, "rope_type": "dinov3", "rope_rotate_half": True, "num_reg_tokens": 4},
        **{"use_abs_pos_emb": False, "attn_type": "rope", "init_values": 0.5, "qk_norm": True},
    },
    "absolute": {},
}


def make(variant: str, **options: object) -> eva.Eva:
    torch.manual_seed(0)
    vit = eva.Eva(**SIZES, **VARIANTS[variant], **options)
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return vit.eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_block_taken_apart_is_the_block(variant: str) -> None:
    vit = make(variant)
    x, rope = vit._pos_embed(vit.patch_embed(torch.randn(2, 3, 64, 64)))
    with torch.no_grad():
        for block in vit.blocks:
            adapter = EvaAdapter(block)
            q, k, v = adapter.project(adapter.normed(x), rope)
            again = adapter.add_mlp(adapter.add_attention(x, attend(adapter, q, k, v, None)))
            x = block(x, rope=rope)
            torch.testing.assert_close(again, x, atol=1e-5, rtol=1e-5)


def test_rotations_are_averaged_by_size() -> None:
    angles = torch.tensor([0.0, 1.0, 2.0])
    rotation = torch.stack([angles.sin(), angles.cos()], dim=-1)  # one angle a patch, behind one class token
    tokens = Tokens(torch.zeros(1, 4, 2), 4, torch.tensor([[[1.0], [3], [1], [1]]]), None, rotation)
    groups = Groups(torch.tensor([[0, 1, 3]]), torch.tensor([[2]]), torch.tensor([[1]]))
    behind = advance(tokens, torch.zeros(1, 3, 2), groups)
    assert behind.rotation is not None
    expected = [[(math.sin(1)) / 4, (3 + math.cos(1)) / 4], [math.sin(2), math.cos(2)]]
    torch.testing.assert_close(behind.rotation, torch.tensor([[expected]]))


@pytest.mark.parametrize("name", ["tome", "mctf", "evit", "imagepiece"])
@pytest.mark.parametrize("variant", ["eva02", "dinov3"])
def test_reducers_run_and_leave(variant: str, name: str) -> None:
    vit, x = make(variant), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = vit(x)
        after = apply(vit, name, keep_ratio=0.5)(x)
        states = trace(vit, x).states
        maps = vit.forward_intermediates(x, intermediates_only=True)
        removed = vit.remove()(x)
    assert torch.equal(before, removed)
    assert after.shape == before.shape
    left = states[-1]
    assert left.x.shape[1] < left.origin
    assert left.rotation is not None
    assert left.rotation.shape[2] == left.x.shape[1] - vit.num_prefix_tokens
    assert [tuple(each.shape) for each in maps] == [(2, 48, 8, 8)] * 3


@pytest.mark.parametrize("name", ["tome", "mctf"])
@pytest.mark.parametrize("variant", ["eva02", "dinov3"])
def test_compiled_blocks_turn_alike(variant: str, name: str) -> None:
    torch._dynamo.reset()
    vit, x = make(variant), torch.randn(2, 3, 64, 64)
    apply(vit, name, r=8)
    with torch.no_grad():
        expected = vit(x)
        found = compile_blocks(vit, backend="eager")(x)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_equal_neighbours_merge_without_a_trace_of_the_position() -> None:
    """Twice the same patch at the same place: merging them changes nothing."""
    vit = make("eva02")
    x, rope = vit._pos_embed(vit.patch_embed(torch.randn(1, 3, 64, 64)))
    double, both = torch.cat([x, x[:, -1:]], dim=1), torch.cat([rope, rope[-1:]])
    sizes = torch.ones(1, 65, 1)
    sizes[:, -1] = 2
    adapter = EvaAdapter(vit.blocks[0])

    def attended(tokens: Tensor, rotation: Tensor, size: Tensor) -> Tensor:
        q, k, v = adapter.project(adapter.normed(tokens), rotation)
        return attend(adapter, q, k, v, size[..., 0].log()[:, None, None])[:, :64]

    with torch.no_grad():
        torch.testing.assert_close(
            attended(x, rope, sizes), attended(double, both, torch.ones(1, 66, 1)), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("name", ["mustdrop", "slimming"])
def test_who_loses_the_places_is_refused(name: str) -> None:
    options = {} if name == "mustdrop" else {"layers": (1,)}
    vit = apply(make("eva02", global_pool="token"), name, **options)
    with pytest.raises(ValueError, match="rotary positions do not follow"):
        vit(torch.randn(1, 3, 64, 64))


def test_gates_and_mixed_rotations_are_refused() -> None:
    with pytest.raises(ValueError, match="others in each block and head"):
        apply(make("eva02", rope_type="mixed"), "tome")
    gated = make("eva02")
    gated.blocks[1].attn.gate = torch.nn.Linear(48, 48)
    with pytest.raises(ValueError, match="gated attention"):
        apply(gated, "tome")
    shared = make("dinov3", qkv_fused=False, num_kv_heads=1)
    with pytest.raises(ValueError, match="share keys"):
        apply(shared, "tome")
