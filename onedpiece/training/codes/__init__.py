"""Photos as codes on disk: tokenized once, with the targets that heads are trained on."""

from onedpiece.errors import CacheError
from onedpiece.training.codes.base import (
    BoxTarget,
    CodeSample,
    CodeSamples,
    Source,
    Target,
    collate,
    crop_prefix,
)
from onedpiece.training.codes.build import build_cache
from onedpiece.training.codes.class_folders import ClassFolders
from onedpiece.training.codes.coco import Coco
from onedpiece.training.codes.dataset import CodeData, CodeDataset
from onedpiece.training.codes.depth_sources import DepthScenes, DistilledDepth
from onedpiece.training.codes.mask_folder import MaskFolder
from onedpiece.training.codes.own import own_photos
from onedpiece.training.codes.sources import CamVid, Imagenette, PennFudan
from onedpiece.training.codes.teacher import DistilledClasses, TaughtClasses
from onedpiece.training.codes.yolo import Yolo

__all__ = [
    "BoxTarget",
    "CacheError",
    "CamVid",
    "ClassFolders",
    "Coco",
    "CodeData",
    "CodeDataset",
    "CodeSample",
    "CodeSamples",
    "DepthScenes",
    "DistilledClasses",
    "DistilledDepth",
    "Imagenette",
    "MaskFolder",
    "PennFudan",
    "Source",
    "Target",
    "TaughtClasses",
    "Yolo",
    "build_cache",
    "collate",
    "crop_prefix",
    "own_photos",
]
