"""Models by name: the bundled one, a folder, or a released one from the hub."""

from onedpiece.weights.errors import WeightsError
from onedpiece.weights.load import ModelName, initial, load, names
from onedpiece.weights.store import fingerprint, load_tokenizer, read_config, save

__all__ = [
    "ModelName",
    "WeightsError",
    "fingerprint",
    "initial",
    "load",
    "load_tokenizer",
    "names",
    "read_config",
    "save",
]
