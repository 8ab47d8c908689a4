"""Photos as codes on disk: tokenized once, with the targets that heads are trained on."""

from onedpiece.training.codes.building import build
from onedpiece.training.codes.camvid import CamVid
from onedpiece.training.codes.data import CodeData
from onedpiece.training.codes.dataset import CodeDataset
from onedpiece.training.codes.distilled import DistilledDepth
from onedpiece.training.codes.imagenette import Imagenette
from onedpiece.training.codes.pennfudan import PennFudan
from onedpiece.training.codes.sample import (
    BoxTarget,
    CodeSample,
    CodeSamples,
    Target,
    collate,
    crop_prefix,
)
from onedpiece.training.codes.scenes import DepthScenes
from onedpiece.training.codes.source import Source
from onedpiece.training.codes.stamping import restamp
from onedpiece.training.codes.table import CacheError

__all__ = [
    "BoxTarget",
    "CacheError",
    "CamVid",
    "CodeData",
    "CodeDataset",
    "CodeSample",
    "CodeSamples",
    "DepthScenes",
    "DistilledDepth",
    "Imagenette",
    "PennFudan",
    "Source",
    "Target",
    "build",
    "collate",
    "crop_prefix",
    "restamp",
]
