"""Models by name: the bundled one, a folder, or a released one from the hub."""

from onedpiece.errors import WeightsError
from onedpiece.weights.checkpoint import (
    ModelCard,
    ModelName,
    describe,
    fingerprint,
    load,
    load_network,
    load_tokenizer,
    names,
    read_config,
    save,
    untrained,
)

__all__ = [
    "ModelCard",
    "ModelName",
    "WeightsError",
    "describe",
    "fingerprint",
    "load",
    "load_network",
    "load_tokenizer",
    "names",
    "read_config",
    "save",
    "untrained",
]
