"""What the tokens mean: where each one acts, how much each one adds, and which photos share the first."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from onedpiece._progress import Progress, no_progress
from onedpiece.evaluation.photos import BATCH
from onedpiece.metrics.pixel import psnr, round_to_8_bits
from onedpiece.tokenizer import Tokenizer


class Gain(NamedTuple):
    """What the tokens between two counts add.

    Attributes:
        tokens: the larger count.
        psnr: mean PSNR at that count, dB.
        per_token: dB that each token since the count before adds on average; None for the first count.
    """

    tokens: int
    psnr: float
    per_token: float | None


def contribution_maps(
    tokenizer: Tokenizer, indices: Tensor, positions: Sequence[int], progress: Progress = no_progress
) -> Tensor:
    """Return how much each pixel changes when one token is swapped for that of another photo.

    Args:
        tokenizer: the model.
        indices: (B, k) tokens of B ≥ 2 photos; each photo's token is swapped for its successor's.
        positions: which tokens, each in 0 to k - 1.
        progress: told of every position.

    Returns:
        (len(positions), H, W): absolute change of 8-bit pictures in [0, 1], averaged over channels and
        over the photos whose token really changed; zero where no two photos differ.

    Raises:
        ValueError: fewer than two photos, or a position out of range.

    One-D-Piece (arXiv 2501.10064), section 4.4.
    """
    if len(indices) < 2:
        raise ValueError("swapping tokens needs at least two photos")
    if not all(0 <= at < indices.shape[1] for at in positions):
        raise ValueError(
            f"positions are {list(positions)}; the codes have tokens 0 to {indices.shape[1] - 1}"
        )
    whole = _decode(tokenizer, indices)
    maps = []
    for done, at in enumerate(positions):
        maps.append(_contribution(tokenizer, indices, whole, at))
        progress(done + 1, len(positions))
    return torch.stack(maps)


def _contribution(tokenizer: Tokenizer, indices: Tensor, whole: Tensor, at: int) -> Tensor:
    swapped = indices.clone()
    swapped[:, at] = indices.roll(-1, 0)[:, at]
    changed = swapped[:, at] != indices[:, at]
    if not changed.any():
        return whole.new_zeros(whole.shape[-2:])
    return (_decode(tokenizer, swapped[changed]) - whole[changed]).abs().mean(dim=(0, 1))


def marginal_gains(
    tokenizer: Tokenizer, originals: Tensor, counts: Sequence[int], progress: Progress = no_progress
) -> list[Gain]:
    """Return the mean PSNR at each token count, and what each token between two counts adds.

    Args:
        tokenizer: the model.
        originals: (B, 3, S, S) in [0, 1].
        counts: ascending, each in 1 to N.
        progress: told of every count.
    """
    indices = _tokenize(tokenizer, originals)
    gains: list[Gain] = []
    for count in counts:
        score = float(psnr(originals, _decode(tokenizer, indices[:, :count])).mean())
        before = gains[-1] if gains else None
        per_token = None if before is None else (score - before.psnr) / (count - before.tokens)
        gains.append(Gain(count, score, per_token))
        progress(len(gains), len(counts))
    return gains


def first_token_clusters(tokenizer: Tokenizer, indices: Tensor, count: int, steps: int = 50) -> Tensor:
    """Group photos by the code vector of their first token, with k-means started from far-apart photos.

    Args:
        tokenizer: the model.
        indices: (B, k) tokens.
        count: how many groups, at most B.
        steps: at most so many rounds of k-means.

    Returns:
        (B,) int64 in 0…count - 1; the same input gives the same groups.
    """
    with torch.no_grad():
        vectors = tokenizer.quantizer.codes_from_indices(indices[:, :1])[:, 0].float()
    centres = _far_apart(vectors, count)
    groups = torch.cdist(vectors, centres).argmin(1)
    for _ in range(steps):
        centres = torch.stack(
            [vectors[groups == g].mean(0) if (groups == g).any() else c for g, c in enumerate(centres)]
        )
        moved = torch.cdist(vectors, centres).argmin(1)
        if torch.equal(moved, groups):
            break
        groups = moved
    return groups


def _far_apart(vectors: Tensor, count: int) -> Tensor:
    """Start at the vector nearest the mean; add the one farthest from all chosen, until there are `count`."""
    chosen = [int(torch.cdist(vectors, vectors.mean(0, keepdim=True)).argmin())]
    while len(chosen) < count:
        chosen.append(int(torch.cdist(vectors, vectors[chosen]).min(1).values.argmax()))
    return vectors[chosen]


def _tokenize(tokenizer: Tokenizer, images: Tensor) -> Tensor:
    return torch.cat([tokenizer.tokenize(batch) for batch in torch.split(images, BATCH)])


def _decode(tokenizer: Tokenizer, indices: Tensor) -> Tensor:
    pictures = [tokenizer.detokenize(batch) for batch in torch.split(indices, BATCH)]
    return round_to_8_bits(torch.cat(pictures))
