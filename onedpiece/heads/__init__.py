"""Networks that read the codes themselves, at any length: no decoding, and less work for fewer tokens."""

from onedpiece.heads.bundled import bundled_head
from onedpiece.heads.config import HeadConfig, ReducerConfig, Task
from onedpiece.heads.errors import HeadError
from onedpiece.heads.files import LoadedHead, load_head, restamp, save_head
from onedpiece.heads.head import Head, build_head
from onedpiece.heads.inputs import CodeBatch, Codes, check_codes, pad_codes
from onedpiece.heads.outputs import (
    Boxes,
    ClassLogits,
    ClassScores,
    Depth,
    DepthMap,
    Detections,
    Mask,
    MaskLogits,
    Output,
    Prediction,
)

__all__ = [
    "Boxes",
    "ClassLogits",
    "ClassScores",
    "CodeBatch",
    "Codes",
    "Depth",
    "DepthMap",
    "Detections",
    "Head",
    "HeadConfig",
    "HeadError",
    "LoadedHead",
    "Mask",
    "MaskLogits",
    "Output",
    "Prediction",
    "ReducerConfig",
    "Task",
    "build_head",
    "bundled_head",
    "check_codes",
    "load_head",
    "pad_codes",
    "restamp",
    "save_head",
]
