"""Photos as codes on disk: tokenized once, with the targets that heads are trained on."""

from onedpiece.training.codes.sample import (
    BoxTarget,
    CodeSample,
    CodeSamples,
    Target,
    Task,
    collate,
    crop_prefix,
)

__all__ = ["BoxTarget", "CodeSample", "CodeSamples", "Target", "Task", "collate", "crop_prefix"]
