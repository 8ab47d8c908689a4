"""Networks that read the codes themselves, at any length: no decoding, and less work for fewer tokens."""

from onedpiece.errors import HeadError
from onedpiece.heads.batch import CodeBatch, Codes, check_codes, pad_codes
from onedpiece.heads.checkpoint import (
    LoadedHead,
    bundled_head,
    code_space_of,
    find_head,
    load_head,
    save_head,
    start_from,
)
from onedpiece.heads.config import HeadConfig, ReducerConfig, Task
from onedpiece.heads.head import Head, build_head
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
    "code_space_of",
    "find_head",
    "load_head",
    "pad_codes",
    "save_head",
    "start_from",
]
