"""Pixels ↔ ordered discrete tokens."""

from onedpiece.tokenizer.config import PRESETS, TokenizerConfig, preset
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
