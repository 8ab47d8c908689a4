"""MustDrop (arXiv 2411.10803): drop a picture's tokens at every stage of a multimodal language model.

The vision encoder merges flat windows (`MustdropReducer` in a block) and notes the tokens that must stay;
the prefill drops what no word of the prompt looks at; the decoder's cache is cut to what was kept. How many
tokens are left depends on the picture, so batches are padded: a padded token has size 0, and comes last.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from onedpiece.retokenize.block import BlockAdapter, Layout, Tokens, attend, num_free, size_bias
from onedpiece.retokenize.groups import Reduction, compose


class Cache(NamedTuple):
    """Keys and values of one decoder layer, each (B, H, L, D)."""

    keys: Tensor
    values: Tensor


def merge_windows(
    x: Tensor,
    grid: tuple[int, int],
    size: Tensor | None = None,
    window: int = 3,
    threshold: float = 0.8,
    num_protected: int = 1,
    key: Tensor | None = None,
) -> Reduction:
    """Merge each window of patches whose mean pairwise cosine reaches `threshold` into one token.

    x: (B, N, C), N = num_protected + rows · columns of `grid`; size: (B, N, 1), ones where not given;
    key: (B, N) bool, tokens that must stay: a window that holds one is left alone. Patches right of and
    below the last whole window pass untouched. A merged token stands where its window's first patch was.

    Raises:
        ValueError: N does not fit the grid.

    Reference: arXiv 2411.10803, section 3.2.
    """
    batch, num_tokens, _ = x.shape
    if num_tokens != num_protected + grid[0] * grid[1]:
        raise ValueError(f"{num_tokens} tokens are not {num_protected} protected ones and a grid of {grid}")
    size = x.new_ones(batch, num_tokens, 1) if size is None else size
    windows = _windows(grid, window, x.device) + num_protected
    flat = window_similarity(x, windows) >= threshold
    if key is not None:
        flat &= ~key[:, windows].any(dim=-1)
    leader = torch.arange(num_tokens, device=x.device).repeat(batch, 1)
    leader[:, windows.flatten()] = torch.where(
        flat[..., None], windows[:, :1].expand_as(windows), windows
    ).flatten(1)
    return _pool_by_leader(x, size, leader)


def window_similarity(x: Tensor, windows: Tensor) -> Tensor:
    """Mean cosine over all pairs of each window: x (B, N, C), windows (W, M) indices give (B, W)."""
    members = windows.shape[1]
    total = F.normalize(x.float(), dim=-1)[:, windows].sum(dim=2).square().sum(dim=-1)
    return (total - members) / max(members * (members - 1), 1)


def key_set(
    importance: Tensor, ratio: float = 0.08, num_protected: int = 1, size: Tensor | None = None
) -> Tensor:
    """Mark the tokens that must never be dropped: those of ⌈ratio · patches⌉ with the most class attention.

    importance: (B, N) ≥ 0; size: (B, N, 1), where 0 marks padding, which neither counts nor is marked.
    Returns (B, N) bool; the first `num_protected` tokens are always in it.

    Raises:
        ValueError: `ratio` is not in [0, 1].

    Reference: arXiv 2411.10803, section 3.2; the authors round up, 47 of 576.
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio is {ratio}; give the part of the patches to protect, in [0, 1]")
    real = torch.ones_like(importance, dtype=torch.bool) if size is None else size[..., 0] > 0
    free, real = importance[:, num_protected:], real[:, num_protected:]
    rank = free.masked_fill(~real, -1).argsort(dim=1, descending=True).argsort(dim=1)
    # Rounded first: .07 · 100 is 7.000000000000001 in double precision.
    wanted = (real.sum(dim=1, keepdim=True).double() * ratio).mul(1e6).round().div(1e6).ceil()
    marked = importance.new_ones(importance.shape, dtype=torch.bool)
    marked[:, num_protected:] = (rank < wanted) & real
    return marked


def is_attended(
    total: Tensor,
    peak: Tensor,
    mass: Tensor | float,
    global_threshold: float = 0.001,
    individual_threshold: float = 0.001,
) -> Tensor:
    """Say which vision tokens the text looks at, as a whole or in any word (dual attention filter).

    total, peak: of any one shape, the sum and the maximum over the text tokens of the attention that each
    vision token gets from them; mass: broadcastable, what `global_threshold` is a share of: the sum of
    `total` over a picture (the authors' code), or 1 for an absolute threshold. Returns bool.

    Reference: arXiv 2411.10803, section 3.3.
    """
    return (total >= global_threshold * mass) | (peak >= individual_threshold)


def prefill_filter(
    x: Tensor,
    text_attention: Tensor,
    key: Tensor | None = None,
    size: Tensor | None = None,
    global_threshold: float = 0.001,
    individual_threshold: float = 0.001,
    relative: bool = True,
) -> Reduction:
    """Drop the vision tokens that the prompt ignores, as a whole and in every word (dual attention filter).

    x: (B, V, C), vision tokens; text_attention: (B, T, V), attention that each of T text tokens pays to
    them, averaged over heads; key: (B, V) bool, tokens that stay in any case; size: (B, V, 1). A token
    goes if its sum over the text is under `global_threshold` times the sum over all of them (the sum alone,
    if not `relative`), and its maximum under `individual_threshold`. The authors' pairs on LLaVA-1.5 are
    (.001, .001) for 192 tokens, (.0012, .001) for 128 and (.011, .01) for 64; the defaults are the first.

    Reference: arXiv 2411.10803, section 3.3.
    """
    total = text_attention.sum(dim=1)
    mass = total.sum(dim=1, keepdim=True) if relative else 1.0
    stays = is_attended(total, text_attention.amax(dim=1), mass, global_threshold, individual_threshold)
    stays = stays if key is None else stays | key
    size = x.new_ones(*x.shape[:2], 1) if size is None else size
    return _select(x, size, stays)


def kept_positions(reduction: Reduction) -> Tensor:
    """The inputs that a filter kept, in order: (B, K) int64, -1 behind the last one of a sample."""
    kept = reduction.source.argmax(dim=-1)
    return kept.masked_fill(reduction.source.sum(dim=-1) == 0, -1)


def reindex_cache(cache: Cache, vision_start: int, num_vision: int, kept: Tensor) -> Cache:
    """Cut a layer's cache to the vision tokens that were kept; text before and behind stays.

    kept: (B, K) int64, positions among the `num_vision` tokens from `vision_start` on; -1 is padding,
    whose keys and values become zero and must be masked by the caller.

    Raises:
        ValueError: a position lies outside the vision tokens, or those outside the cache.
    """
    length = cache.keys.shape[2]
    if not 0 <= vision_start <= vision_start + num_vision <= length:
        raise ValueError(
            f"vision tokens {vision_start}…{vision_start + num_vision} lie outside a cache of {length}"
        )
    if kept.numel() and not -1 <= int(kept.min()) <= int(kept.max()) < num_vision:
        raise ValueError(
            f"kept positions run from {int(kept.min())} to {int(kept.max())}, not -1…{num_vision - 1}"
        )
    return Cache(*(_reindex(part, vision_start, num_vision, kept) for part in cache))


def _reindex(part: Tensor, start: int, count: int, kept: Tensor) -> Tensor:
    index = kept.clamp_min(0)[:, None, :, None].expand(-1, part.shape[1], -1, part.shape[3])
    vision = part[:, :, start : start + count].gather(2, index) * (kept >= 0)[:, None, :, None]
    return torch.cat([part[:, :, :start], vision, part[:, :, start + count :]], dim=2)


def _windows(grid: tuple[int, int], window: int, device: torch.device) -> Tensor:
    """Patch indices of every whole window, (W, window²), row by row."""
    rows, columns = (side - side % window for side in grid)
    patches = torch.arange(grid[0] * grid[1], device=device).view(grid)[:rows, :columns]
    return patches.unfold(0, window, window).unfold(1, window, window).reshape(-1, window**2)


def _pool_by_leader(x: Tensor, size: Tensor, leader: Tensor) -> Reduction:
    """Pool the tokens of equal leader, weighted by size; leader (B, N) holds indices of inputs."""
    leads = leader == torch.arange(leader.shape[1], device=leader.device)
    source = _places_map(leads, (leads.cumsum(dim=1) - 1).gather(1, leader), x.dtype)
    weights = source * size.to(x.dtype).transpose(1, 2)
    total = weights.sum(dim=-1, keepdim=True)
    return Reduction(weights @ x / total.clamp_min(1e-6), total, source)


def _select(x: Tensor, size: Tensor, stays: Tensor) -> Reduction:
    """Keep the marked tokens in order; stays (B, N) bool."""
    places = (stays.cumsum(dim=1) - 1).masked_fill(~stays, -1)
    source = _places_map(stays, places, x.dtype)
    return Reduction(source @ x, source @ size.to(x.dtype), source)


def _places_map(leads: Tensor, places: Tensor, dtype: torch.dtype) -> Tensor:
    """The source map of tokens that go to `places` (B, N), as wide as the sample with the most leaders."""
    widest = int(leads.sum(dim=1).amax()) if len(leads) else leads.shape[1]
    outputs = torch.arange(widest, device=places.device)[None, :, None]
    return (places[:, None, :] == outputs).to(dtype)


@dataclass(frozen=True)
class MustdropReducer:
    """Window merging in a vision encoder (arXiv 2411.10803).

    How many tokens are left depends on the picture: a batch is padded to its widest sample, and the
    padding, of size 0, is invisible to attention.
    """

    layer: int = 0  # counted from 0; the paper merges once, behind the first layer
    window: int = 3  # patches a side
    threshold: float = 0.8  # mean pairwise cosine from which on a window is flat
    grid: tuple[int, int] | None = None  # rows and columns of patches; None: a square
    proportional: bool = True  # log size over the keys, since sizes differ by up to window²

    ragged: ClassVar[bool] = True

    @property
    def layers(self) -> list[int]:
        """The one layer that does something."""
        return [self.layer]

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """See `Reducer`."""
        return layer == self.layer

    def step(self, layer: int, block: BlockAdapter, tokens: Tokens, layout: Layout) -> Tokens:
        """See `Reducer`."""
        if tokens.rotation is not None:
            raise ValueError(
                "MustDrop pads pictures, and rotary positions do not follow; choose another reducer"
            )
        tokens = tokens._replace(x=self._run(block, tokens))
        if not self.active(layer, tokens, layout):
            return tokens
        body = tokens.x.shape[1] - layout.tail
        grid = self.grid or _square(num_free(tokens.x.shape[1], layout))
        merged = merge_windows(tokens.x[:, :body], grid, None, self.window, self.threshold, layout.prefix)
        return _append_tail(tokens, merged, layout.tail)

    def _run(self, block: BlockAdapter, tokens: Tokens) -> Tensor:
        if tokens.size is None:
            return block.run(tokens.x)
        q, k, v = block.project(block.normed(tokens.x))
        visible = tokens.size if self.proportional else tokens.size > 0
        x = block.add_attention(tokens.x, attend(block, q, k, v, size_bias(visible, q.dtype)))
        return block.add_mlp(x)


def _square(num_patches: int) -> tuple[int, int]:
    side = math.isqrt(num_patches)
    if side * side != num_patches:
        raise ValueError(f"{num_patches} patches form no square; give grid=(rows, columns)")
    return side, side


def _append_tail(tokens: Tokens, merged: Reduction, tail: int) -> Tokens:
    start = tokens.x.shape[1] - tail
    size = F.pad(merged.size, (0, 0, 0, tail), value=1.0)
    source = tokens.source
    if source is not None:
        step = F.pad(merged.source, (0, tail, 0, tail))
        step[:, step.shape[1] - tail :, start:] = torch.eye(tail, device=step.device)
        source = compose(step, source)
    return Tokens(torch.cat([merged.x, tokens.x[:, start:]], dim=1), tokens.origin, size, source)
