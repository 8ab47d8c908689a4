"""T2T-ViT and LV-ViT: the released files' names and shapes, the published counts, and reducers in them."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from onedpiece.retokenize import apply, trace
from onedpiece.retokenize.models import LvVit, T2tVit, lv_vit, t2t_vit
from onedpiece.retokenize.models.blocks import PlainBlock, PlainBlockAdapter
from onedpiece.retokenize.models.lv_vit import SLIMMING_LAYERS
from onedpiece.retokenize.models.lv_vit import Size as LvSize
from onedpiece.retokenize.models.t2t_vit import Size as T2tSize
from onedpiece.retokenize.models.t2t_vit import sinusoids


def tiny_t2t(kind: Any = "performer", released_scale: bool = False) -> T2tVit:
    torch.manual_seed(0)
    return _shaken(T2tVit(T2tSize(128, 3, 3, kind), 10, 96, released_scale))


def tiny_lv(**options: Any) -> LvVit:
    torch.manual_seed(0)
    size = LvSize(48, 3, 3, 2, width=8, image_size=96)
    return _shaken(LvVit(size._replace(**options), 10, dense=options.get("stem") != "sit"))


def _shaken(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def built(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def block_of(number: int, dim: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a released file (3 times as wide an MLP)."""
    names = {
        **{"norm1.weight": (dim,), "norm1.bias": (dim,), "norm2.weight": (dim,), "norm2.bias": (dim,)},
        **{"attn.qkv.weight": (3 * dim, dim), "attn.proj.weight": (dim, dim), "attn.proj.bias": (dim,)},
        **{"mlp.fc1.weight": (3 * dim, dim), "mlp.fc1.bias": (3 * dim,)},
        **{"mlp.fc2.weight": (dim, 3 * dim), "mlp.fc2.bias": (dim,)},
    }
    return {f"blocks.{number}.{name}": shape for name, shape in names.items()}


def ends(dim: int) -> dict[str, tuple[int, ...]]:
    head = {"head.weight": (1000, dim), "head.bias": (1000,)}
    norm = {"norm.weight": (dim,), "norm.bias": (dim,)}
    return {"cls_token": (1, 1, dim), "pos_embed": (1, 197, dim), **norm, **head}


def performer(place: str, dim: int) -> dict[str, tuple[int, ...]]:
    names = {
        **{"norm1.weight": (dim,), "norm1.bias": (dim,), "norm2.weight": (64,), "norm2.bias": (64,)},
        **{"kqv.weight": (192, dim), "kqv.bias": (192,), "proj.weight": (64, 64), "proj.bias": (64,)},
        **{"mlp.0.weight": (64, 64), "mlp.0.bias": (64,), "mlp.2.weight": (64, 64), "mlp.2.bias": (64,)},
        "w": (32, 64),
    }
    return {f"tokens_to_token.{place}.{name}": shape for name, shape in names.items()}


def transformer(place: str, dim: int) -> dict[str, tuple[int, ...]]:
    names = {
        **{"norm1.weight": (dim,), "norm1.bias": (dim,), "norm2.weight": (64,), "norm2.bias": (64,)},
        **{"attn.qkv.weight": (192, dim), "attn.proj.weight": (64, 64), "attn.proj.bias": (64,)},
        **{
            "mlp.fc1.weight": (64, 64),
            "mlp.fc1.bias": (64,),
            "mlp.fc2.weight": (64, 64),
            "mlp.fc2.bias": (64,),
        },
    }
    return {f"tokens_to_token.{place}.{name}": shape for name, shape in names.items()}


@pytest.mark.parametrize(("name", "part"), [("t2t_vit_14", performer), ("t2t_vit_t_14", transformer)])
def test_t2t_is_named_as_released(name: str, part: Any) -> None:
    blocks = {key: shape for number in range(14) for key, shape in block_of(number, 384).items()}
    project = {"tokens_to_token.project.weight": (384, 576), "tokens_to_token.project.bias": (384,)}
    expected = ends(384) | blocks | project | part("attention1", 147) | part("attention2", 576)
    assert built(t2t_vit(name)) == expected


def test_lv_is_named_as_released() -> None:
    stem: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (384, 64, 8, 8),
        "patch_embed.proj.bias": (384,),
    }
    for number, shape in enumerate([(64, 3, 7, 7), (64, 64, 3, 3), (64, 64, 3, 3)], start=1):
        stem[f"patch_embed.conv{number}.weight"] = shape
        stem |= {
            f"patch_embed.bn{number}.{part}": (64,)
            for part in ("weight", "bias", "running_mean", "running_var")
        }
        stem[f"patch_embed.bn{number}.num_batches_tracked"] = ()
    blocks = {key: shape for number in range(16) for key, shape in block_of(number, 384).items()}
    aux: dict[str, tuple[int, ...]] = {"aux_head.weight": (1000, 384), "aux_head.bias": (1000,)}
    assert built(lv_vit("lv_vit_s")) == ends(384) | blocks | stem | aux


@pytest.mark.parametrize("kind", ["performer", "transformer"])
def test_a_released_t2t_loads_strictly(kind: str) -> None:
    model, x = tiny_t2t(kind, released_scale=True), torch.randn(2, 3, 96, 96)
    again = T2tVit.from_released(model.state_dict())
    assert torch.equal(again(x), model(x))
    assert not torch.allclose(tiny_t2t(kind)(x), model(x), atol=1e-3)  # the scale is another one
    with pytest.raises(RuntimeError, match="Missing key"):
        T2tVit.from_released({k: v for k, v in model.state_dict().items() if k != "norm.bias"})
    with pytest.raises(ValueError, match="holds no blocks"):
        T2tVit.from_released({})


def test_a_released_lv_loads_strictly() -> None:
    x = torch.randn(1, 3, 224, 224)
    for name in ("lv_vit_t", "sit_t"):
        model = lv_vit(name, 10).eval()
        state = model.state_dict()
        if name == "sit_t":  # SiT's files hold a head that it never asks
            state = state | {"aux_head.weight": torch.ones(10, 320), "aux_head.bias": torch.ones(10)}
        assert torch.equal(LvVit.from_released(state)(x), model(x))
        with pytest.raises(ValueError, match="slimmed student"):
            LvVit.from_released(state | {"tsm.0.scale": torch.ones(1, 1, 1)})
    with pytest.raises(ValueError, match="no LV-ViT of 48 channels"):
        LvVit.from_released(tiny_lv().state_dict())


def test_positions_are_sines_and_cosines() -> None:
    table = sinusoids(3, 4)
    torch.testing.assert_close(table[0], torch.tensor([0.0, 1, 0, 1]))
    angles = torch.tensor([1.0, 1, 0.01, 0.01])  # 2 / 10000^(0, 0, ½, ½) at place 2, halved
    expected = torch.stack([angles[0].sin(), angles[1].cos(), angles[2].sin(), angles[3].cos()])
    torch.testing.assert_close(table[1], expected)


def test_a_performer_attends_by_its_features() -> None:
    torch.manual_seed(0)
    layer, x = t2t_vit("t2t_vit_7").tokens_to_token.attention1.eval(), torch.randn(1, 5, 147)
    k, q, v = layer.kqv(layer.norm1(x)).split(64, dim=-1)
    features = [((each @ layer.w.T) - (each**2).sum(-1, keepdim=True) / 2).exp() for each in (q, k)]
    kernel = features[0] @ features[1].transpose(1, 2) / 32  # 5 by 5, which the layer never builds
    y = v + layer.proj(kernel / (kernel.sum(-1, keepdim=True) + 1e-8) @ v)
    torch.testing.assert_close(layer(x), y + layer.mlp(layer.norm2(y)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(layer.w @ layer.w.T, 32 * torch.eye(32), atol=1e-4, rtol=0)


@pytest.mark.parametrize("skip", [1.0, 2.0])
@pytest.mark.parametrize("scale", [None, 0.05])
def test_a_block_taken_apart_is_the_block(skip: float, scale: float | None) -> None:
    from onedpiece.retokenize.block import attend

    torch.manual_seed(0)
    block, x = PlainBlock(48, 3, 3, scale, skip), torch.randn(2, 9, 48)
    adapter = PlainBlockAdapter(block)
    q, k, v = adapter.project(adapter.normed(x))
    again = adapter.add_mlp(adapter.add_attention(x, attend(adapter, q, k, v, None)))
    torch.testing.assert_close(again, block(x), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(adapter.project_queries_keys(adapter.normed(x)), (q, k))


@pytest.mark.parametrize("name", ["tome", "mctf", "evit", "imagepiece", "slimming"])
@pytest.mark.parametrize("make", [tiny_t2t, tiny_lv])
def test_reducers_run_and_leave(make: Any, name: str) -> None:
    model, x = make(), torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        before = model(x)
        assert apply(model, name, keep_ratio=0.5)(x).shape == before.shape
        left = trace(model, x).states[-1]
        assert left.x.shape[1] < left.origin
        if isinstance(model, LvVit):
            assert model.forward_dense(x).tokens.shape[1] == left.x.shape[1] - 1
        assert torch.equal(model.remove()(x), before)
        if name in ("tome", "mctf"):
            assert torch.equal(apply(model, name, r=0)(x), before)


def test_padding_is_not_pooled() -> None:
    model, x = tiny_lv(), torch.randn(2, 3, 96, 96)
    x[0] = 0
    with pytest.raises(ValueError, match="pools over all tokens, padding included; give restore=True"):
        apply(model, "mustdrop", threshold=0.2)
    apply(model, "mustdrop", threshold=0.2, restore=True)
    with torch.no_grad():
        torch.testing.assert_close(model(x)[:1], model(x[:1]), atol=1e-5, rtol=1e-5)
    timm = pytest.importorskip("timm")
    sizes = {"img_size": 96, "embed_dim": 48, "depth": 2, "num_heads": 3, "class_token": False}
    vit = timm.models.VisionTransformer(**sizes, global_pool="avg")
    with pytest.raises(ValueError, match="give restore=True"):
        apply(vit, "mustdrop")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "name", "options", "published"),
    [
        ("t2t_vit_14", None, {}, 4.8),
        ("t2t_vit_t_14", None, {}, 6.1),
        ("lv_vit_s", None, {}, 6.6),
        ("sit_s", None, {}, 5.5),
        ("sit_s", "slimming", {"layers": SLIMMING_LAYERS["sit_s"]}, 4.0),
    ],
)
def test_counted_gflops(model: str, name: str | None, options: dict[str, Any], published: float) -> None:
    network = (t2t_vit if model.startswith("t2t") else lv_vit)(model).eval()
    if name is not None:
        apply(network, name, **options)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 224, 224))
    assert counter.get_total_flops() / 2e9 == pytest.approx(published, rel=0.03)


def test_unknown_names_are_named() -> None:
    with pytest.raises(ValueError, match="no T2T-ViT is called 't2t'"):
        t2t_vit("t2t")
    with pytest.raises(ValueError, match="no LV-ViT is called 'lv'"):
        lv_vit("lv")
