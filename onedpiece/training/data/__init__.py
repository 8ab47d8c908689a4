"""Photographs for training: found, decoded, split, drawn and augmented."""

from onedpiece.training.data.modules import FolderData, TarData

__all__ = ["FolderData", "TarData"]
