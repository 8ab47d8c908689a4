"""Targets as bytes, the way a cache holds them."""

from io import BytesIO
from struct import iter_unpack, pack

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from onedpiece.heads import Task
from onedpiece.training.codes.sample import BoxTarget, Target

_ROW = "<4fi"  # a box and its label


def pack_target(target: Target) -> bytes:
    """Return a target's bytes: a mask as PNG, depths as float32, boxes as rows of 4 floats and a class."""
    if isinstance(target, BoxTarget):
        rows = zip(target.boxes.tolist(), target.labels.tolist(), strict=True)
        return b"".join(pack(_ROW, *box, label) for box, label in rows)
    if target.ndim == 0:
        return pack("<i", int(target))
    return _png(target) if target.dtype == torch.uint8 else target.numpy().astype("<f4").tobytes()


def unpack_target(data: bytes, task: Task, side: int) -> Target:
    """Return what `pack_target` was given.

    Args:
        data: the bytes.
        task: what they are a target of.
        side: of maps, in pixels.
    """
    if task == "detect":
        return _boxes(data)
    if task == "classify":
        return torch.tensor(int.from_bytes(data, "little", signed=True))
    if task == "segment":
        return torch.from_numpy(np.array(Image.open(BytesIO(data))))
    return torch.from_numpy(np.frombuffer(data, "<f4").reshape(side, side).copy())


def _png(mask: Tensor) -> bytes:
    file = BytesIO()
    Image.fromarray(mask.numpy()).save(file, "PNG")
    return file.getvalue()


def _boxes(data: bytes) -> BoxTarget:
    rows = list(iter_unpack(_ROW, data))
    boxes = torch.tensor([row[:4] for row in rows]).reshape(-1, 4)
    return BoxTarget(boxes, torch.tensor([row[4] for row in rows], dtype=torch.int64))
