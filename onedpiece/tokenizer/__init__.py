"""Pixels ↔ ordered discrete tokens."""

from onedpiece.tokenizer.config import PRESETS, TokenizerConfig, preset
from onedpiece.tokenizer.tail_drop import key_mask, sample_lengths
from onedpiece.tokenizer.tokenizer import Quantized, Reconstruction, Tokenizer

__all__ = [
    "PRESETS",
    "Quantized",
    "Reconstruction",
    "Tokenizer",
    "TokenizerConfig",
    "key_mask",
    "preset",
    "sample_lengths",
]
