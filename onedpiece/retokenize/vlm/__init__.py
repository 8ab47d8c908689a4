"""MustDrop and its neighbours on a vision-language model of transformers (extra `[vlm]`).

from onedpiece.retokenize import vlm

model = vlm.apply(LlavaForConditionalGeneration.from_pretrained(...), "mustdrop", tokens=64)
model.generate(**processor(images=..., text=..., return_tensors="pt"), max_new_tokens=20)
vlm.measure(model)  # what the last prompt cost
vlm.remove(model)
"""

import math
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from torch import nn

if TYPE_CHECKING:
    from onedpiece.retokenize.vlm.cost import Cost

Model = TypeVar("Model", bound=nn.Module)


class Thresholds(NamedTuple):
    """The pair of the dual attention filter.

    Attributes:
        overall: share of the text's attention to a picture under which a vision token may go.
        individual: attention of every single word under which it may.
    """

    overall: float
    individual: float


# The authors' pairs on TextVQA, by how many of 576 tokens they leave in the mean over LLaVA-1.5's layers.
THRESHOLDS = {192: Thresholds(0.001, 0.001), 128: Thresholds(0.0012, 0.001), 64: Thresholds(0.011, 0.01)}


def apply(
    model: Model,
    name: str = "mustdrop",
    *,
    tokens: int | None = None,
    global_threshold: float | None = None,
    individual_threshold: float | None = None,
    layers: tuple[int, ...] = (2, 6, 10, 14),
    window: int = 3,
    window_threshold: float = 0.8,
    key_ratio: float = 0.08,
) -> Model:
    """Put a reducer of vision tokens into a `LlavaForConditionalGeneration` and return the same model.

    name: "mustdrop"; or "scope" or "knee", which choose between the vision tower and the language model and
    drop nothing behind it: as many `tokens` of each picture as asked for, by importance and coverage, or
    those in front of the knee of its importance.

    tokens: for MustDrop 192, 128 or 64, the authors' settings, of which each names a pair of thresholds; how
    many are left in the end depends on picture and prompt. `global_threshold` and `individual_threshold`
    take the place of either; 0 drops nothing in the prefill. layers: behind which decoder layers tokens are
    dropped, counted from 0. window, window_threshold, key_ratio: see `towers.MergeOptions`; a
    `window_threshold` above 1 merges nothing.

    Vision towers of CLIP and SigLIP; decoders of Llama, Mistral and Qwen2. `generate` works as ever, with
    batches, padding, several pictures in a prompt, sampling and beams; parameters and state dict stay as they
    are. `model.remove()` or `vlm.remove` takes MustDrop out again. A second `apply` replaces the first.

    Raises:
        ValueError: the name or the setting is unknown, or a part of the model would be computed wrongly.
        MissingExtraError: transformers is not installed.

    Reference: arXiv 2411.10803; thresholds and layers are those of its code. See `selection` for the others.
    """
    _need_transformers()
    from onedpiece.retokenize.vlm.decoder import DropOptions
    from onedpiece.retokenize.vlm.model import MustdropForward
    from onedpiece.retokenize.vlm.towers import MergeOptions

    llava: Any = _llava(model)
    thresholds = (global_threshold, individual_threshold)
    if name == "mustdrop":
        merging = MergeOptions(window, window_threshold, key_ratio)
        dropping = DropOptions(tuple(layers), *_thresholds(tokens, *thresholds))
    elif name in ("scope", "knee"):
        if thresholds != (None, None) or (tokens is None) == (name == "scope"):
            raise ValueError("scope takes tokens=, how many of each picture to keep, and knee takes nothing")
        rule: Any = name
        merging = MergeOptions(threshold=math.inf, choose=rule, scope_tokens=tokens or 0)
        dropping = DropOptions(())
    else:
        raise ValueError(f"no reducer of language models is called {name!r}; choose mustdrop, scope or knee")
    forward = MustdropForward(llava, merging, dropping)
    llava.forward = forward
    llava.get_image_features = forward.get_image_features
    model.remove = partial(remove, model)  # type: ignore[assignment]
    return model


def remove(model: Model) -> Model:
    """Take the reducer out again; does nothing where there is none."""
    _need_transformers()
    llava = _llava(model)
    for attribute in ("forward", "get_image_features"):
        vars(llava).pop(attribute, None)
    vars(model).pop("remove", None)
    return model


def measure(model: nn.Module) -> "Cost":
    """Return what the last prompt cost, and what it would have cost with every token.

    Raises:
        ValueError: no reducer is applied, or it has seen no prompt yet.
        MissingExtraError: transformers is not installed.
    """
    _need_transformers()
    from onedpiece.retokenize.vlm.cost import cost_of
    from onedpiece.retokenize.vlm.model import MustdropForward

    llava: Any = _llava(model)
    forward = vars(llava).get("forward")
    if not isinstance(forward, MustdropForward) or forward.last is None:
        raise ValueError("there is no prompt to measure; apply() a reducer and run the model first")
    return cost_of(llava.config.text_config, forward.last)


def _thresholds(tokens: int | None, overall: float | None, individual: float | None) -> Thresholds:
    if tokens is not None and tokens not in THRESHOLDS:
        raise ValueError(
            f"tokens is {tokens}; the authors give thresholds for 192, 128 and 64, or give your own"
        )
    if tokens is None and (overall is None or individual is None):
        raise ValueError("give tokens=192, 128 or 64, or both global_threshold and individual_threshold")
    named = THRESHOLDS[192 if tokens is None else tokens]
    return Thresholds(
        named.overall if overall is None else overall, named.individual if individual is None else individual
    )


def _llava(model: nn.Module) -> nn.Module:
    from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration

    if not isinstance(model, LlavaForConditionalGeneration):
        raise ValueError(
            f"{type(model).__name__} cannot be reduced; transformers' LlavaForConditionalGeneration can"
        )
    llava: nn.Module = model.model
    return llava


def _need_transformers() -> None:
    from onedpiece.errors import MissingExtraError

    if find_spec("transformers") is None:
        raise MissingExtraError("vision-language models need an extra: pip install 'onedpiece[vlm]'")
