"""Photographs for training: found, decoded, split, drawn, streamed and augmented.

The data modules load lazily, so that the processes that decode start without torch and lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onedpiece.training.data.modules import FolderData, TarData
    from onedpiece.training.data.sources import HuggingFaceDataset, ParquetShards, TarShards
    from onedpiece.training.data.streaming import StreamedData

__all__ = ["FolderData", "HuggingFaceDataset", "ParquetShards", "StreamedData", "TarData", "TarShards"]

_HOME = {
    "FolderData": "modules",
    "HuggingFaceDataset": "sources",
    "ParquetShards": "sources",
    "StreamedData": "streaming",
    "TarData": "modules",
    "TarShards": "sources",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'onedpiece.training.data' has no attribute {name!r}")
    return getattr(import_module(f"onedpiece.training.data.{_HOME[name]}"), name)
