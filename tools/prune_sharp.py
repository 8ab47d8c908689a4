"""Give a sharp network fewer channels, refitted by least squares on photos: no training.

    python -m tools.prune_sharp FOLDER data/train/train-*.tar --blocks 12 --off 0.1 --fine 32 --out OUT

writes FOLDER's model in which a block's convolutions add the fewest channels of `--growth` that leave what
the block adds off by at most `--off`, a share of its square; blocks that need more stay whole, and those
behind the first `--blocks`: the last ones say most. Block by block, a convolution becomes the linear map of
what is kept before it that comes nearest to what the whole one computes, and of what it makes those channels
are kept from which all that follows in the dense block is predicted best. `--fine` does the same for the maps
at full resolution, behind all blocks. 23 blocks took 40 minutes of a core for 48 photos.

Source: channel pruning by reconstruction, arXiv 1707.06168; the cost of a channel is that of the optimal
brain surgeon (Hassibi and Stork, NIPS 1992), in closed form.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.tokenizer import Tokenizer
from onedpiece.tokenizer.pixel_heads import RRDB, ResidualDenseBlock, SharpNetwork, network_input
from onedpiece.weights import load_tokenizer, save
from tools.shards import prefix_options, prefixes

TAPS = 9
"""Of a 3×3 convolution."""

PLACES = 1024
"""Rows that a photo gives to each fit: its pixels resemble each other, other photos are worth more."""

RIDGE = 1e-4
"""Of a column's own second moment."""


@dataclass
class Moments:
    """Second moments of 3×3 neighbourhoods and a one, and of them with what they are to predict.

    Attributes:
        features: (9·C + 1, 9·C + 1) float64.
        targets: (9·C + 1, T) float64.
    """

    features: Tensor
    targets: Tensor

    def fit(self, convolution: nn.Conv2d) -> None:
        """Make the convolution that predicts the first targets with the least squared error, in place."""
        weight = torch.linalg.solve(self.features, self.targets[:, : convolution.out_channels]).T.float()
        convolution.weight.copy_(weight[:, :-1].view_as(convolution.weight))
        assert convolution.bias is not None
        convolution.bias.copy_(weight[:, -1])

    def best(self, first: int, count: int, keep: int, scale: Tensor) -> list[int]:
        """Drop of `count` channels from `first` on whichever costs least, until `keep` are left; number them.

        Args:
            first: how many channels stand before them, and stay.
            count: how many there are.
            keep: how many are to be kept.
            scale: (T,), what an error of each target weighs.
        """
        inverse = torch.linalg.inv(self.features)
        weight = inverse @ self.targets * scale
        left = list(range(first, first + count))
        while len(left) > keep:
            costs = [_cost(inverse, weight, channel) for channel in left]
            drop = left.pop(costs.index(min(costs)))
            at = slice(TAPS * drop, TAPS * drop + TAPS)
            columns = inverse[:, at].clone()
            solved = torch.linalg.solve(inverse[at, at], torch.cat([inverse[at], weight[at]], 1))
            inverse -= columns @ solved[:, : len(inverse)]
            weight -= columns @ solved[:, len(inverse) :]
        return [channel - first for channel in left]

    def keep(self, first: int, channels: Sequence[int]) -> "Moments":
        """Return the moments of the first `first` channels and of those numbered behind them."""
        kept = [*range(first), *(first + channel for channel in channels)]
        rows = [TAPS * channel + tap for channel in kept for tap in range(TAPS)] + [len(self.features) - 1]
        return Moments(self.features[rows][:, rows], self.targets[rows])


def _cost(inverse: Tensor, weight: Tensor, channel: int) -> float:
    at = slice(TAPS * channel, TAPS * channel + TAPS)
    return float((weight[at] * torch.linalg.solve(inverse[at, at], weight[at])).sum())


def moments(features: Tensor, targets: Tensor) -> Moments:
    """Measure (B, C, H, W) features against (B, T, H, W) targets, at `PLACES` pixels of each photo."""
    size = TAPS * features.shape[1] + 1
    inner, outer = torch.zeros(size, size), torch.zeros(size, targets.shape[1])
    places = min(PLACES, features[0, 0].numel())
    for number, (one, wanted) in enumerate(zip(features, targets, strict=True)):
        at = torch.randperm(one[0].numel(), generator=torch.Generator().manual_seed(number))[:places]
        rows = F.pad(F.unfold(one, 3, padding=1)[:, at].T, (0, 1), value=1.0)
        inner += rows.T @ rows
        outer += rows.T @ wanted.flatten(1)[:, at].T
    inner, outer = inner.double() / (len(features) * places), outer.double() / (len(features) * places)
    own = inner.diagonal().clone()
    own[-1] = 0
    return Moments(inner + torch.diag(RIDGE * own + 1e-9 * own.mean()), outer)


def prune_block(whole: ResidualDenseBlock, small: ResidualDenseBlock, seen: Tensor) -> None:
    """Fit `small`'s convolutions, in place.

    Args:
        whole: what it stands for.
        small: a block of fewer channels.
        seen: (B, width, H, W), what both see.
    """
    wanted = _outputs(whole, seen)
    found = moments(seen, torch.cat(wanted, 1))
    *growing, last = _convolutions(small)
    for number, pruned in enumerate(growing):
        conv = nn.Conv2d(seen.shape[1], wanted[number].shape[1], 3, padding=1)
        found.fit(conv)
        grown = F.leaky_relu(_by_photo(conv, seen), 0.2)
        rest = wanted[number + 1 :]
        found = moments(torch.cat([seen, grown], 1), torch.cat(rest, 1))
        kept = found.best(seen.shape[1], conv.out_channels, pruned.out_channels, _scale(rest))
        _take(pruned, conv, kept)
        found = found.keep(seen.shape[1], kept)
        seen = torch.cat([seen, grown[:, kept]], 1)
    found.fit(last)


def _scale(targets: Sequence[Tensor]) -> Tensor:
    """Weigh errors by the targets' own spread, and what is on the way to the last a quarter of it."""
    parts = []
    for number, each in enumerate(targets):
        spread = each.transpose(0, 1).flatten(1).var(1).mean().sqrt().double()
        parts.append((1 if number == len(targets) - 1 else 0.25) / spread.expand(each.shape[1]))
    return torch.cat(parts)


def _convolutions(block: ResidualDenseBlock) -> list[nn.Conv2d]:
    return [each for each in block.children() if isinstance(each, nn.Conv2d)]


def _by_photo(module: nn.Module, x: Tensor) -> Tensor:
    """Run it on one photo at a time, which the processor's cache holds."""
    return torch.cat([module(each[None]) for each in x])


def _outputs(block: ResidualDenseBlock, x: Tensor) -> list[Tensor]:
    """Return what each of a dense block's convolutions gives, before its LeakyReLU."""
    seen, found = x, []
    for conv in _convolutions(block):
        found.append(_by_photo(conv, seen))
        seen = torch.cat([seen, F.leaky_relu(found[-1], 0.2)], 1)
    return found


def prune_fine(whole: SharpNetwork, small: SharpNetwork, faithful: Tensor, tokens: Tensor) -> None:
    """Fit what `small` has at full resolution, in place; all before that is in it already.

    Args:
        whole: what it stands for.
        small: a network with fewer channels in `conv_up2` and `conv_hr`.
        faithful: (B, 3, H, W) in [0, 1], what the network draws over.
        tokens: (B,), that each was decoded from.
    """
    seen = torch.cat([small.trunk(*each) for each in _photos(faithful, tokens)])
    for conv in (whole.conv_up1, whole.conv_up2):
        seen = F.leaky_relu(_by_photo(conv, F.interpolate(seen, scale_factor=2)), 0.2)
    fine = _by_photo(whole.conv_hr, seen)
    drawn = _by_photo(whole.conv_last, F.leaky_relu(fine, 0.2))
    found = moments(seen, torch.cat([fine, drawn], 1))
    kept = found.best(0, seen.shape[1], small.conv_up2.out_channels, _scale([fine, drawn]))
    _take(small.conv_up2, whole.conv_up2, kept)
    refitted = nn.Conv2d(len(kept), fine.shape[1], 3, padding=1)
    found.keep(0, kept).fit(refitted)
    fine = F.leaky_relu(_by_photo(refitted, seen[:, kept]), 0.2)
    found = moments(fine, drawn)
    kept = found.best(0, fine.shape[1], small.conv_hr.out_channels, _scale([drawn]))
    _take(small.conv_hr, refitted, kept)
    found.keep(0, kept).fit(small.conv_last)


def _take(small: nn.Conv2d, conv: nn.Conv2d, kept: Sequence[int]) -> None:
    """Give `small` those of `conv`'s output channels."""
    for name, each in conv.named_parameters():
        small.get_parameter(name).copy_(each[kept])


class Pruned(NamedTuple):
    """A block that stands for a whole one, or is it; with how many channels, and off by what share."""

    rrdb: RRDB
    growth: int
    off: float


def prune(
    whole: SharpNetwork, growths: Sequence[int], limit: float, faithful: Tensor, tokens: Tensor
) -> Iterator[Pruned]:
    """Find a smaller block for each of a network's, on what the smaller ones before it give.

    Args:
        whole: the network, which stays as it is.
        growths: numbers of channels to choose from, the fewest first.
        limit: by how much what a block adds may be off, as a share of its square. The search begins where the
            last block's ended, and asks for fewer where less than half of it is used up.
        faithful: (B, 3, H, W) in [0, 1], what the network draws over.
        tokens: (B,), that each was decoded from.
    """
    x = torch.cat([whole.conv_first(network_input(*each)) for each in _photos(faithful, tokens)])
    start = 0
    for rrdb in whole.body:
        assert isinstance(rrdb, RRDB)
        most = _growth(rrdb)
        offered = [each for each in growths if each < most]
        chosen, x = _fewest(rrdb, offered, min(start, len(offered) - 1), limit, x)
        start = offered.index(chosen.growth) if chosen.growth < most else len(offered)
        yield chosen


def _fewest(rrdb: RRDB, offered: Sequence[int], start: int, limit: float, x: Tensor) -> tuple[Pruned, Tensor]:
    """Return the smallest block that is near enough, or the whole one, and what it makes of x.

    Fewer channels than `offered[start]` are tried where these use less than half of the limit.
    """
    wanted = _by_photo(rrdb, x)
    chosen, after = Pruned(rrdb, _growth(rrdb), 0.0), wanted
    at, step = start, 0
    while 0 <= at < len(offered):
        small = _prune_rrdb(rrdb, offered[at], x)
        drawn = _by_photo(small, x)
        off = float((drawn - wanted).square().sum() / (wanted - x).square().sum())
        if off > limit:
            if step < 0:
                break
            step = 1
        else:
            chosen, after = Pruned(small, offered[at], off), drawn
            if step > 0 or off > limit / 2:
                break
            step = -1
        at += step
    return chosen, after


def _prune_rrdb(rrdb: RRDB, growth: int, x: Tensor) -> RRDB:
    small, state = RRDB(x.shape[1], growth), x
    for block, pruned in zip(_dense_blocks(rrdb), _dense_blocks(small), strict=True):
        prune_block(block, pruned, state)
        state = _by_photo(pruned, state)
    return small


def _growth(rrdb: nn.Module) -> int:
    return _convolutions(_dense_blocks(rrdb)[0])[0].out_channels


def _dense_blocks(rrdb: nn.Module) -> list[ResidualDenseBlock]:
    return [each for each in rrdb.children() if isinstance(each, ResidualDenseBlock)]


def _photos(faithful: Tensor, tokens: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return ((faithful[i : i + 1], tokens[i : i + 1]) for i in range(len(tokens)))


def decoded(tokenizer: Tokenizer, codes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the faithful pictures (B, 3, H, W) of codes (1, k), and the lengths (B,) of these."""
    faithful = torch.cat([tokenizer.detokenize(code, sharpness=0.0) for code in codes])
    return faithful, torch.tensor([code.shape[1] for code in codes])


def smaller(
    whole: Tokenizer, blocks: Sequence[Pruned], fine: int, pictures: tuple[Tensor, Tensor]
) -> Tokenizer:
    """Return the tokenizer with these as its sharp network's first blocks, and `fine` channels behind all."""
    assert whole.sharp is not None
    growths = [_growth(rrdb) for rrdb in whole.sharp.body]
    growths[: len(blocks)] = [each.growth for each in blocks]
    tokenizer = Tokenizer(replace(whole.config, sharp_growth=tuple(growths), sharp_fine=fine)).eval()
    state = tokenizer.state_dict()
    state |= {name: each for name, each in whole.state_dict().items() if state[name].shape == each.shape}
    for number, block in enumerate(blocks):
        state |= {f"sharp.body.{number}.{name}": each for name, each in block.rrdb.state_dict().items()}
    tokenizer.load_state_dict(state)
    assert tokenizer.sharp is not None
    if fine < whole.config.sharp_fine:
        prune_fine(whole.sharp, tokenizer.sharp, *pictures)
    return tokenizer


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    parser = prefix_options(__doc__)
    parser.add_argument("--growth", default="8,16,24", help="channels to choose from, by commas")
    parser.add_argument("--blocks", type=int, help="the first so many; all")
    parser.add_argument("--fine", type=int, help="channels at full resolution; as many as there are")
    parser.add_argument("--off", type=float, default=0.1, help="of what a block adds, 0 to 1")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    growths = sorted(int(each) for each in args.growth.split(","))
    whole = load_tokenizer(args.folder).eval()
    if whole.sharp is None or growths[0] < 1:
        print(
            f"{args.folder} has no sharp network" if growths[0] > 0 else "--growth: at least 1 channel",
            file=sys.stderr,
        )
        return 2
    pictures = decoded(whole, prefixes(whole, args.archives, args.photos, fewest=16))
    blocks: list[Pruned] = []
    for block in islice(prune(whole.sharp, growths, args.off, *pictures), args.blocks):
        blocks.append(block)
        place = f"block {len(blocks)} of {whole.config.sharp_blocks}"
        print(f"{place}: {block.growth} channels, off by {block.off:.2%}", flush=True)
    now = whole.config.sharp_fine
    small = smaller(whole, blocks, min(args.fine or now, now), pictures)
    print(f"weights are in {save(small, args.out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
