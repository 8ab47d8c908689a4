"""Which vision tokens to keep, by other rules than MustDrop's: coverage, the knee of a curve, what moved.

Pure functions that mark tokens; `vlm.apply(model, "scope", tokens=64)` and `vlm.apply(model, "knee")` put the
first two between a vision tower and its language model.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def scope(x: Tensor, importance: Tensor, count: int, alpha: float = 1.0) -> Tensor:
    """Mark `count` tokens that are important and cover the others, one after the other (SCOPE).

    x: (B, N, C); importance: (B, N) ≥ 0, usually class attention, taken to the power `alpha`: 0 leaves
    coverage alone. A token's gain is by how much it comes closer, in cosine, to each token than those
    chosen before. Returns (B, N) bool.

    Raises:
        ValueError: there are fewer tokens.

    Reference: SCOPE, NeurIPS 2025; α = 1 is the published setting.
    """
    batch, tokens, _ = x.shape
    if not 0 <= count <= tokens:
        raise ValueError(f"count is {count}; of {tokens} tokens give 0 to {tokens}")
    unit = F.normalize(x.float(), dim=-1)
    near = unit @ unit.transpose(1, 2)
    weight = importance.float().pow(alpha)
    covered = near.new_zeros(batch, tokens, 1)
    chosen = torch.zeros(batch, tokens, dtype=torch.bool, device=x.device)
    for _ in range(count):
        gain = (near - covered).clamp_min(0).sum(dim=1) * weight
        best = gain.masked_fill(chosen, -1).argmax(dim=1, keepdim=True)
        chosen.scatter_(1, best, True)
        column = near.gather(2, best[:, None].expand(-1, tokens, -1))
        covered = torch.maximum(covered, column)
    return chosen


@torch.no_grad()
def above_knee(importance: Tensor) -> Tensor:
    """Mark the tokens in front of the knee of the falling curve of importance: (B, N) to (B, N) bool.

    The knee is where the curve, both axes from 0 to 1, is farthest below the line between its ends; the token
    there still counts. Equal importance keeps all.

    Reference: "Sparsity Meets Similarity", arXiv 2409.01162, whose cut is the inflection of this long-tail
    curve; how it is found is not published, the farthest point is our choice.
    """
    tokens = importance.shape[1]
    falling, order = importance.double().sort(dim=1, descending=True)
    high, low = falling[:, :1], falling[:, -1:]
    curve = (falling - low) / (high - low).clamp_min(torch.finfo(torch.float64).tiny)
    chord = torch.linspace(1, 0, tokens, dtype=torch.float64, device=importance.device)
    last = (chord - curve).argmax(dim=1, keepdim=True)
    last = torch.where(high > low, last, tokens - 1)
    ranked = torch.arange(tokens, device=importance.device) <= last
    return torch.zeros_like(ranked).scatter(1, order, ranked)


def changed(frames: Tensor, window: int = 8, threshold: float = 0.8) -> Tensor:
    """Mark the tokens of a clip that differ from the first frame of their window (LongVU's spatial step).

    frames: (T, N, C), the same places in each frame. The first frame of every `window` stays whole; of the
    others a token goes where its cosine to that frame, at the same place, reaches `threshold`. Returns (T, N)
    bool.

    Raises:
        ValueError: the window holds no frame.

    Reference: LongVU, ICML 2025; windows of 8, thresholds of .65 to .8 by benchmark.
    """
    if window < 1:
        raise ValueError(f"window is {window}; give a number of frames ≥ 1")
    number = torch.arange(len(frames), device=frames.device)
    first = number - number % window
    same = F.cosine_similarity(frames.float(), frames[first].float(), dim=-1) >= threshold
    return ~same | (number == first)[:, None]
