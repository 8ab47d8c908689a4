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
from onedpiece.training.codes.dataset import CodeData, CodeDataset
from onedpiece.training.codes.depth_sources import DepthScenes, DistilledDepth
from onedpiece.training.codes.sources import CamVid, Imagenette, PennFudan
from onedpiece.training.codes.teacher import DistilledClasses, TaughtClasses

__all__ = [
    "BoxTarget",
    "CacheError",
    "CamVid",
    "CodeData",
    "CodeDataset",
    "CodeSample",
    "CodeSamples",
    "DepthScenes",
    "DistilledClasses",
    "DistilledDepth",
    "Imagenette",
    "PennFudan",
    "Source",
    "Target",
    "TaughtClasses",
    "build_cache",
    "collate",
    "crop_prefix",
]
