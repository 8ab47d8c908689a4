"""Pieces of a picture, by hand."""

import pytest
import torch

from tools.pieces import paint, piece_map

# A class token, then 2×2 patches: the left column is one piece, the upper right is discarded.
SOURCE = torch.tensor([[[1.0, 0, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 1]]])


def test_piece_map() -> None:
    assert piece_map(SOURCE, (2, 2)).tolist() == [[[1, -1], [1, 2]]]
    assert piece_map(torch.tensor([[[0.4], [0.6]]]), (1, 1), num_prefix=0).tolist() == [[[1]]]


def test_paint() -> None:
    picture = torch.zeros(3, 4, 4)
    picture[:, :2, :2] = 1.0  # half of the left piece
    picture[:, :2, 2:] = 0.8  # discarded
    painted = paint(picture, piece_map(SOURCE, (2, 2))[0])
    assert painted[0, :, 0].tolist() == [0.5] * 4
    assert painted[0, 0, 3].item() == pytest.approx(0.2)  # dimmed to a quarter
    assert painted[0, 0, 2] == 0  # the border between the columns


def test_a_wrong_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="5 inputs cannot be 1 prefix tokens and a grid of"):
        piece_map(SOURCE, (3, 3))
