"""Every ViT-like model of timm: reduced exactly as DeiT is, or refused; nothing in between."""

import importlib.util
import warnings
from collections.abc import Collection
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import onedpiece.retokenize
from onedpiece.retokenize import apply
from onedpiece.retokenize.block import attend
from onedpiece.retokenize.rotary import EvaAdapter, is_eva

timm = pytest.importorskip("timm")

# Modules with a transformer over patches in them; one instance of each architecture and variant is enough.
MODULES = (
    *("beit", "cait", "convit", "crossvit", "davit", "deit", "efficientformer", "efficientvit_mit", "eva"),
    *("hiera", "levit", "maxxvit", "mobilevit", "mvitv2", "naflexvit", "nest", "pit", "pvt_v2"),
    *("swin_transformer", "swin_transformer_v2", "tiny_vit", "tnt", "twins", "visformer"),
    *("vision_transformer", "vision_transformer_hybrid", "vision_transformer_relpos"),
    *("vision_transformer_sam", "vitamin", "volo", "xcit"),
)
README = Path(onedpiece.retokenize.__file__).parent / "README.md"
TINY: dict[str, Any] = {"embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 10}
ACCEPTED = (
    "deit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",  # LayerScale
    "vit_small_patch14_reg4_dinov2",  # registers
    "vit_base_patch16_siglip_gap_224",  # no class token
    "eva02_tiny_patch14_224",  # rotary, SwiGLU, a norm of attention
    "vit_small_patch16_dinov3",  # rotary, in halves
    "vit_small_patch16_rope_224",
)
REFUSED = (
    "vit_relpos_small_patch16_224",  # relative positions
    "vit_dlittle_patch16_reg1_gap_256",  # the difference of two attention maps
    "vit_small_patch16_rope_mixed_224",  # rotary, learned for each block and head
    "naflexvit_base_patch16_gap",
    "tnt_s_patch16_224",
)
REDUCERS = ("tome", "mctf")


DEIT = "deit_tiny_patch16_224"
FILLS = {"add_", "clamp_", "copy_", "erfinv_", "fill_", "mul_", "normal_", "sub_", "uniform_", "zero_"}


class Shapes(TorchFunctionMode):
    """Within it, modules are built without memory, and nothing is spent on values that are not there."""

    def __enter__(self) -> Any:
        self._device = torch.device("meta")
        self._device.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._device.__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in FILLS:
            filled = args[0] if args else kwargs["tensor"]  # as torch.nn.init hands it on
            if filled.is_meta:
                return filled
        return func(*args, **kwargs)


class Change(NamedTuple):
    """What a reducer did to one model.

    Attributes:
        same: whether removing nothing, and taking the reducer out again, gave bit for bit the same.
        moved: by what part one token merged moved the output.
    """

    same: bool
    moved: float


def names_of(module: str) -> list[str]:
    """Return the names of all models of one of those modules, none where this timm has it not."""
    return timm.list_models(module=module) if importlib.util.find_spec(f"timm.models.{module}") else []


def is_refused(name: str) -> bool:
    """Return whether `apply` refuses a model with a ValueError of one line; any other error is raised."""
    with warnings.catch_warnings(), Shapes():
        warnings.simplefilter("ignore")
        model = timm.create_model(name)
    try:
        apply(model, "tome", r=1)
    except ValueError as error:
        return "\n" not in str(error)
    return False


@cache
def accepted_of(module: str) -> list[str]:
    """Return the names of those models of a module that `apply` accepts."""
    return [name for name in names_of(module) if not is_refused(name)]


def change_of(vit: Any, x: Tensor, reducer: str) -> Change:
    """Put a reducer into a model, and take it out again."""
    with torch.no_grad():
        before = _output(vit, x)
        nothing = _output(apply(vit, reducer, r=0), x)
        merged = _output(apply(vit, reducer, r=[0, 1]), x)
        after = _output(vit.remove(), x)
    same = torch.equal(before, nothing) and torch.equal(before, after)
    return Change(same, float((merged - before).norm() / before.norm()))


def tiny_sizes(name: str, **options: Any) -> dict[str, Any]:
    """Return the options that make a model small, the side of its picture among them."""
    sizes = TINY | options
    with Shapes():
        try:
            vit = timm.create_model(name, **sizes)
        except AssertionError as error:
            if "num_kv_heads" in str(error):  # a number for each block
                sizes["num_kv_heads"] = sizes["num_heads"]
            else:  # a stem of its own, whose width is fixed
                sizes = {"depth": 3, "num_classes": 10}
            vit = timm.create_model(name, **sizes)
    return sizes | {"img_size": 4 * vit.patch_embed.feat_ratio()}  # of a hybrid: its stem's stride as well


def tiny(name: str, seed: int = 0, **options: Any) -> tuple[Any, Tensor]:
    """Build a small model, of weights so large that every part of a block matters, and pictures."""
    torch.manual_seed(seed)
    sizes = tiny_sizes(name, **options)
    vit, side = timm.create_model(name, **sizes).eval(), sizes["img_size"]
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return vit, torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(1))


def _output(vit: nn.Module, x: Tensor) -> Tensor:
    out = vit(x)
    return out if isinstance(out, Tensor) else torch.cat(out)


@cache
def bounds(width: int, heads: int, pooled: bool) -> dict[str, float]:
    """By how much one merged token may move a model: thrice of what it moves a DeiT of its width and pooling.

    Of its width, since weights of one size make the wider network's attention the sharper one. The DeiT's is
    a mean over three draws of the weights: between single draws of one model lies a factor of three.
    """
    options: dict[str, Any] = {"embed_dim": width, "num_heads": heads}
    if pooled:
        options |= {"class_token": False, "global_pool": "avg"}
    drawn = [tiny(DEIT, seed, **options) for seed in range(3)]
    return {reducer: 3 * fmean(change_of(vit, x, reducer).moved for vit, x in drawn) for reducer in REDUCERS}


def taken_apart(vit: Any, x: Tensor) -> float:
    """By what part an `Eva`'s stream differs at most, behind any block, when its blocks are taken apart."""
    with torch.no_grad():
        x, rope = vit._pos_embed(vit.patch_embed(x))
        x, differences = vit.norm_pre(x), []
        for block in vit.blocks:
            adapter = EvaAdapter(block)
            attended = attend(adapter, *adapter.project(adapter.normed(x), rope), None)
            apart, x = adapter.add_mlp(adapter.add_attention(x, attended)), block(x, rope=rope)
            differences.append(float((apart - x).norm() / x.norm()))
    return max(differences)


def check(name: str) -> None:
    """Assert that an accepted model is reduced as exactly as DeiT is."""
    vit, x = tiny(name)
    limits = bounds(vit.embed_dim, vit.blocks[0].attn.num_heads, vit.global_pool != "token")
    if is_eva(
        vit
    ):  # of SwiGLU, RMS norms and whole branches: an unlike network, so that its parts are compared
        assert taken_apart(vit, x) < 1e-5, name
        limits = {reducer: 2 * limit for reducer, limit in limits.items()}
    for reducer, limit in limits.items():
        change = change_of(vit, x, reducer)
        moved = change.moved
        if moved > limit:  # one draw of the weights may be far from the mean, which the limit is one of
            others = [change_of(*tiny(name, seed), reducer).moved for seed in (1, 2)]
            moved = fmean([moved, *others])
        assert change.same, (name, reducer)
        assert 0 < moved <= limit, (name, reducer, moved, limit)


@pytest.mark.parametrize("name", ACCEPTED)
def test_plain_attention_is_exact(name: str) -> None:
    check(name)


@pytest.mark.parametrize("name", REFUSED)
def test_other_attention_is_refused(name: str) -> None:
    assert is_refused(name)


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_every_model_of_a_module_is_exact_or_refused(module: str) -> None:
    names, accepted = names_of(module), accepted_of(module)
    assert set(ACCEPTED) & set(names) <= set(accepted)
    assert not set(REFUSED) & set(accepted)
    for name in _different(accepted):
        check(name)


@pytest.mark.slow
def test_the_table_stands_in_the_readme() -> None:
    lines = []
    for module in MODULES:
        accepted, all_names = len(accepted_of(module)), len(names_of(module))
        lines.append(f"| `{module}` | {accepted} | {all_names - accepted} |")
    accepted = sum(len(accepted_of(module)) for module in MODULES)
    refused = sum(len(names_of(module)) for module in MODULES) - accepted
    print("\n".join(["", "| module | accepted | refused |", "|---|---:|---:|", *lines]))  # noqa: T201
    print(f"| all, timm {timm.__version__} | {accepted} | {refused} |")  # noqa: T201
    if timm.__version__ == "1.0.31":
        text = README.read_text(encoding="utf-8")
        assert f"| accepted | {accepted} |" in text
        assert f"| refused, one line of ValueError | {refused} |" in text


def _different(names: list[str]) -> Collection[str]:
    """One name of each architecture: most differ in their sizes alone."""
    found = {}
    for name in names:
        sizes = tiny_sizes(name)
        with Shapes():
            found[repr(timm.create_model(name, **sizes))] = name
    return found.values()


def test_the_modules_hold_the_models_that_are_named() -> None:
    assert {*ACCEPTED, *REFUSED} <= {name for module in MODULES for name in names_of(module)}


def test_gated_attention_is_refused() -> None:
    vit = timm.create_model("deit_tiny_patch16_224", **TINY)
    vit.blocks[1].attn.gate = nn.Linear(48, 48)
    with pytest.raises(ValueError, match="gated attention cannot be reduced"):
        apply(vit, "tome")
