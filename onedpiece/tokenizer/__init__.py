"""Pixels ↔ ordered discrete tokens; what needs torch loads when it is first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from onedpiece.tokenizer.config import PRESETS, TokenizerConfig, preset

if TYPE_CHECKING:
    from onedpiece.tokenizer.quantizer import Quantized
    from onedpiece.tokenizer.tail_drop import Kept, cut_to_longest, key_mask, sample_lengths
    from onedpiece.tokenizer.tokenizer import Reconstruction, Tokenizer

__all__ = [
    "PRESETS",
    "Kept",
    "Quantized",
    "Reconstruction",
    "Tokenizer",
    "TokenizerConfig",
    "cut_to_longest",
    "key_mask",
    "preset",
    "sample_lengths",
]

_HOME = {
    "Kept": "onedpiece.tokenizer.tail_drop",
    "Quantized": "onedpiece.tokenizer.quantizer",
    "Reconstruction": "onedpiece.tokenizer.tokenizer",
    "Tokenizer": "onedpiece.tokenizer.tokenizer",
    "cut_to_longest": "onedpiece.tokenizer.tail_drop",
    "key_mask": "onedpiece.tokenizer.tail_drop",
    "sample_lengths": "onedpiece.tokenizer.tail_drop",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'onedpiece.tokenizer' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
