import pytest
import torch

from onedpiece.heads import Task
from onedpiece.training.codes.base import BoxTarget, Target
from onedpiece.training.codes.cache_file import pack_target, unpack_target

MASK = torch.arange(16, dtype=torch.uint8).reshape(4, 4)
TARGETS: list[tuple[Task, Target]] = [
    ("classify", torch.tensor(9)),
    ("segment", MASK),
    ("depth", torch.linspace(0.1, 12, 16).reshape(4, 4)),
]


@pytest.mark.parametrize(("task", "target"), TARGETS)
def test_tensors_come_back(task: Task, target: torch.Tensor) -> None:
    back = unpack_target(pack_target(target), task, 4)
    assert isinstance(back, torch.Tensor)
    assert back.dtype == target.dtype
    assert torch.equal(back, target)


@pytest.mark.parametrize("count", [0, 3])
def test_boxes_come_back(count: int) -> None:
    target = BoxTarget(torch.rand(count, 4, generator=torch.Generator().manual_seed(0)), torch.arange(count))
    data = pack_target(target)
    assert len(data) == 20 * count  # 4 floats and a number, of 4 bytes each
    back = unpack_target(data, "detect", 4)
    assert isinstance(back, BoxTarget)
    assert torch.equal(back.boxes, target.boxes)
    assert torch.equal(back.labels, target.labels)
