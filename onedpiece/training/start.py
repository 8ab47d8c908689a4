"""What a training run starts from."""

from typing import Literal

from onedpiece.tokenizer import PRESETS, Tokenizer, TokenizerConfig, preset
from onedpiece.weights import initial, load_tokenizer

Statistics = Literal["none", "bundled", "data"]
"""Where the linear path's statistics come from: nowhere, the package, or the training pictures."""


def as_config(tokenizer: str | TokenizerConfig) -> TokenizerConfig:
    """Return the config that a preset's name stands for, or the config itself."""
    return preset(tokenizer) if isinstance(tokenizer, str) else tokenizer


def build_tokenizer(
    tokenizer: str | TokenizerConfig, init_from: str | None = None, statistics: Statistics = "none"
) -> Tokenizer:
    """Return a tokenizer to train, in training mode.

    Args:
        tokenizer: a preset's name, or a geometry.
        init_from: folder of weights to start from (see `onedpiece.weights.save`); None: fresh ones.
        statistics: see `Statistics`; does not matter with `init_from`, whose weights hold theirs.

    Raises:
        ValueError: the weights have another geometry, or no statistics are bundled for this one.
    """
    config = as_config(tokenizer)
    if init_from is not None:
        return _from_weights(config, init_from)
    if statistics == "bundled":
        return initial(_preset_name(config)).train()
    return Tokenizer(config)


def _from_weights(config: TokenizerConfig, folder: str) -> Tokenizer:
    loaded = load_tokenizer(folder)
    if loaded.config != config:
        raise ValueError(
            f"init_from {folder} holds another geometry than model.tokenizer asks for; make that equal to "
            f"{loaded.config}"
        )
    return loaded.train()


def _preset_name(config: TokenizerConfig) -> str:
    for name, known in PRESETS.items():
        if known == config:
            return name
    raise ValueError(
        "statistics 'bundled' is for presets; with another geometry set model.statistics to data"
    )
