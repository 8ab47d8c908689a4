"""Merged tokens as pieces of the picture."""

import torch
from torch import Tensor


def piece_map(source: Tensor, grid: tuple[int, int], num_prefix: int = 1) -> Tensor:
    """Say for every patch which token it is in: (B, K, N) to (B, rows, columns) int64, -1 if discarded.

    source: the map of all tokens, N ≥ num_prefix + rows · columns, patches row by row behind the prefix;
    a patch that soft slimming spread over several tokens belongs to the one that took most of it.

    Raises:
        ValueError: the source map is too narrow for the grid.
    """
    rows, columns = grid
    if source.shape[2] < num_prefix + rows * columns:
        raise ValueError(
            f"{source.shape[2]} inputs cannot be {num_prefix} prefix tokens and a grid of {grid}"
        )
    patches = source[:, :, num_prefix : num_prefix + rows * columns]
    share, token = patches.max(dim=1)
    return token.masked_fill(share == 0, -1).view(-1, rows, columns)


def paint(picture: Tensor, pieces: Tensor) -> Tensor:
    """Fill every piece with its mean colour, between thin black borders; discarded patches are dimmed.

    picture: (3, H, W) in [0, 1], H and W multiples of the grid; pieces: (rows, columns) from `piece_map`.
    Returns (3, H, W) in [0, 1].
    """
    height, width = picture.shape[1:]
    tall, wide = height // pieces.shape[0], width // pieces.shape[1]
    labels = pieces.repeat_interleave(tall, 0).repeat_interleave(wide, 1)
    painted = _mean_colours(picture, labels)
    painted = torch.where(labels < 0, 0.25 * picture, painted)
    return painted * ~_borders(labels)


def _mean_colours(picture: Tensor, labels: Tensor) -> Tensor:
    flat = labels.flatten() + 1
    count = int(flat.max()) + 1
    total = picture.new_zeros(3, count).index_add_(1, flat, picture.flatten(1))
    area = torch.bincount(flat, minlength=count).clamp_min(1)
    return (total / area)[:, flat].view_as(picture)


def _borders(labels: Tensor) -> Tensor:
    edge = torch.zeros_like(labels, dtype=torch.bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    return edge
