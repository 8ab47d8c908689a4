"""Every ViT-like model of timm: reduced exactly as DeiT is, or refused; nothing in between."""

import importlib.util
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from onedpiece.retokenize import apply

timm = pytest.importorskip("timm")

# Modules with a transformer over patches in them; one instance of each architecture and variant is enough.
MODULES = (
    *("beit", "cait", "convit", "crossvit", "davit", "deit", "efficientformer", "efficientvit_mit", "eva"),
    *("hiera", "levit", "maxxvit", "mobilevit", "mvitv2", "naflexvit", "nest", "pit", "pvt_v2"),
    *("swin_transformer", "swin_transformer_v2", "tiny_vit", "tnt", "twins", "visformer"),
    *("vision_transformer", "vision_transformer_hybrid", "vision_transformer_relpos"),
    *("vision_transformer_sam", "vitamin", "volo", "xcit"),
)
TINY: dict[str, Any] = {"embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 10}
ACCEPTED = (
    "deit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",  # LayerScale
    "vit_small_patch14_reg4_dinov2",  # registers
    "vit_base_patch16_siglip_gap_224",  # no class token
)
REFUSED = (
    "vit_relpos_small_patch16_224",  # relative positions
    "vit_dlittle_patch16_reg1_gap_256",  # the difference of two attention maps
    "eva02_tiny_patch14_224",  # rotary
    "vit_small_patch16_dinov3",  # rotary
    "naflexvit_base_patch16_gap",
    "tnt_s_patch16_224",
)
REDUCERS = ("tome", "mctf")


class Change(NamedTuple):
    """What a reducer did to one model.

    Attributes:
        same: whether removing nothing, and taking the reducer out again, gave bit for bit the same.
        moved: by what part one token merged moved the output.
    """

    same: bool
    moved: float


def vit_names() -> Iterator[str]:
    """Yield the names of all models in those modules."""
    for module in MODULES:
        if importlib.util.find_spec(f"timm.models.{module}"):
            yield from timm.list_models(module=module)


def is_refused(name: str) -> bool:
    """Return whether `apply` refuses a model with a ValueError of one line; any other error is raised."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        model = timm.create_model(name)
    try:
        apply(model, "tome", r=1)
    except ValueError as error:
        return "\n" not in str(error)
    return False


def change_of(name: str, reducer: str, **options: Any) -> Change:
    """Put a reducer into a tiny instance of an accepted model, and take it out again."""
    vit, x = tiny(name, **options)
    with torch.no_grad():
        before = _output(vit, x)
        nothing = _output(apply(vit, reducer, r=0), x)
        merged = _output(apply(vit, reducer, r=[0, 1]), x)
        after = _output(vit.remove(), x)
    same = torch.equal(before, nothing) and torch.equal(before, after)
    return Change(same, float((merged - before).norm() / before.norm()))


def tiny(name: str, **options: Any) -> tuple[Any, Tensor]:
    """Build a small model, of weights so large that every part of a block matters, and pictures."""
    torch.manual_seed(0)
    sizes = TINY | options
    try:
        vit = timm.create_model(name, **sizes)
    except AssertionError:  # a stem of its own, whose width is fixed
        sizes = {"depth": 3, "num_classes": 10}
        vit = timm.create_model(name, **sizes)
    side = 4 * vit.patch_embed.feat_ratio()  # of a hybrid: its stem's stride as well
    vit = timm.create_model(name, img_size=side, **sizes).eval()
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return vit, torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def _output(vit: nn.Module, x: Tensor) -> Tensor:
    out = vit(x)
    return out if isinstance(out, Tensor) else torch.cat(out)


def check(name: str, bounds: dict[tuple[str, bool], float]) -> None:
    """Assert that an accepted model is reduced as exactly as DeiT is."""
    pooled = tiny(name)[0].global_pool != "token"
    for reducer in REDUCERS:
        bound = bounds[reducer, pooled]
        change = change_of(name, reducer)
        assert change.same, (name, reducer)
        assert 0 < change.moved <= bound, (name, reducer, change.moved, bound)


@pytest.fixture(scope="module")
def bounds() -> dict[tuple[str, bool], float]:
    """By how much one merged token may move a model: twice of what it moves a DeiT of the same pooling."""
    name, pooled = "deit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"}
    return {
        (reducer, averages): 2 * change_of(name, reducer, **(pooled if averages else {})).moved
        for reducer in REDUCERS
        for averages in (False, True)
    }


@pytest.mark.parametrize("name", ACCEPTED)
def test_plain_attention_is_exact(name: str, bounds: dict[tuple[str, bool], float]) -> None:
    check(name, bounds)


@pytest.mark.parametrize("name", REFUSED)
def test_other_attention_is_refused(name: str) -> None:
    assert is_refused(name)


@pytest.mark.slow
def test_every_model_is_exact_or_refused(bounds: dict[tuple[str, bool], float]) -> None:
    accepted = [name for name in vit_names() if not is_refused(name)]
    assert set(ACCEPTED) <= set(accepted)
    different = {repr(tiny(name)[0]): name for name in accepted}  # most differ in their sizes alone
    for name in different.values():
        check(name, bounds)


def test_gated_attention_is_refused() -> None:
    vit = timm.create_model("deit_tiny_patch16_224", **TINY)
    vit.blocks[1].attn.gate = nn.Linear(48, 48)
    with pytest.raises(ValueError, match="gated attention cannot be reduced"):
        apply(vit, "tome")
