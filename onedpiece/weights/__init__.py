"""Models by name: the bundled one, a folder, or a released one from the hub."""

from onedpiece.errors import WeightsError
from onedpiece.weights.checkpoint import (
    ModelName,
    fingerprint,
    list_models,
    load,
    load_tokenizer,
    names,
    read_config,
    untrained,
)
from onedpiece.weights.writer import save

__all__ = [
    "ModelName",
    "WeightsError",
    "fingerprint",
    "list_models",
    "load",
    "load_tokenizer",
    "names",
    "read_config",
    "save",
    "untrained",
]
