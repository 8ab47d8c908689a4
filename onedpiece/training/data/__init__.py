"""Photographs for training: found, decoded, split, drawn and augmented.

The data modules load lazily, so that the processes that decode start without torch and lightning.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onedpiece.training.data.modules import FolderData, TarData

__all__ = ["FolderData", "TarData"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'onedpiece.training.data' has no attribute {name!r}")
    from onedpiece.training.data import modules

    return getattr(modules, name)
