"""Plain results of a head's tensors, by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from onedpiece.heads import Boxes, ClassLogits, ClassScores, Detections, Head, HeadConfig, Mask, MaskLogits
from onedpiece.heads.outputs import to_predictions

NAMES = tuple("abcdef")


def test_the_likeliest_class_comes_first_and_five_are_named() -> None:
    chances = torch.tensor([[0.05, 0.1, 0.4, 0.2, 0.0, 0.25]])
    (scores,) = to_predictions(ClassLogits(chances.log()), HeadConfig(classes=NAMES))
    assert isinstance(scores, ClassScores)
    assert (scores.label, scores.name, scores.probability) == (2, "c", pytest.approx(0.4))
    assert [name for name, _ in scores.top] == ["c", "f", "d", "b", "a"]


def test_a_mask_is_of_the_scores_between_the_cells() -> None:
    # Three cells across: class 0 with 1, class 1 with 9, class 0 with 1. Between the first two it is halfway
    # that class 1 outweighs the other, not at the cells' border: 1 - w against 9 w, from w = 0.1 on.
    logits = torch.tensor([[1.0, 0, 1], [0.0, 9, 0]]).view(1, 2, 1, 3).expand(1, 2, 3, 3)
    config = HeadConfig(task="segment", classes=("a", "b"), grid=3)
    (mask,) = to_predictions(MaskLogits(logits), config)
    assert isinstance(mask, Mask)
    assert mask.classes.dtype == torch.uint8
    # A pixel x of 256 lies at (x + ½) · 3/256 - ½ cells: w = 0.1 is x = 50.7, and as far from the other end.
    assert mask.classes[7].nonzero().flatten().tolist() == list(range(51, 205))


def detections(rows: list[list[float]], boxes: list[list[float]]) -> Detections:
    config = HeadConfig(task="detect", classes=("a", "b"), grid=2)
    (found,) = to_predictions(Boxes(torch.tensor([rows]).log(), torch.tensor([boxes])), config)
    assert isinstance(found, Detections)
    return found


def test_objects_are_sure_enough_and_lie_in_the_photo() -> None:
    # Probabilities of a, b and nothing; the third is surer of nothing, the last has less than 0.05.
    rows = [[0.2, 0.7, 0.1], [0.9, 0.0, 0.1], [0.06, 0.0, 0.94], [0.04, 0.03, 0.93]]
    boxes = [[0.1, 0.5, 0.4, 0.2], [0.5, 0.9, 0.2, 0.4], [0.8, 0.2, 0.1, 0.1], [0.2, 0.2, 0.1, 0.1]]
    found = detections(rows, boxes)
    assert found.labels.tolist() == [0, 1, 0]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.7, 0.06]))
    # The first two reach out of the photo at its bottom and at its left.
    expected = [[0.4, 0.7, 0.6, 1.0], [0.0, 0.4, 0.3, 0.6], [0.75, 0.15, 0.85, 0.25]]
    torch.testing.assert_close(found.boxes, torch.tensor(expected))


def test_boxes_of_two_classes_may_lie_on_each_other() -> None:
    place = [0.5, 0.5, 0.2, 0.2]
    assert detections([[0.9, 0.0, 0.1], [0.0, 0.8, 0.2], [0.7, 0.0, 0.3]], [place] * 3).labels.tolist() == [
        0,
        1,
    ]


def test_queries_that_a_short_code_has_not_see_nothing(
    make_head: Callable[..., Head], indices: Tensor
) -> None:
    head = make_head("detect", grid=4, growth=0.5, codes=False)
    logits, boxes = head(indices[:, :4])  # 4 · √(4/16) = 2 a side of 4: four queries of sixteen
    assert (logits.shape, boxes.shape) == ((5, 16, 2), (5, 16, 4))
    assert (logits.softmax(dim=-1)[:, 4:, -1] > 0.999).all()
    assert (logits.softmax(dim=-1)[:, :4, -1] < 0.999).all()
