"""Give a sharp network's dense blocks fewer channels, refitted by least squares on photos: no training.

    python -m tools.prune_sharp FOLDER data/train/train-*.tar --growth 16 --last 3 --out OUT

writes FOLDER's model with `--growth` channels a convolution (25 minutes of one core for 48 photos), in all
blocks but the `--last`: those draw what is seen and miss every channel. Block by block, a convolution becomes
the linear map of what is kept before it that comes nearest to what the whole one computes; of what it makes,
those channels are kept from which all that follows in the dense block is predicted best. Each block is fitted
to what the whole one makes of what the small network gives it: to follow the whole network's own states would
chase detail that nothing determines, and blur it.

Source: channel pruning by reconstruction, arXiv 1707.06168; the cost of a channel is that of the optimal
brain surgeon (Hassibi and Stork, NIPS 1992), in closed form.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.codec.tensors import resize, to_tensor
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.tokenizer.pixel_heads import ResidualDenseBlock, SharpNetwork, network_input
from onedpiece.weights import load_tokenizer, save
from tools.shards import read_shards

TAPS = 9
"""Of a 3×3 convolution."""

PLACES = 1024
"""Rows that a photo gives to each fit: its pixels resemble each other, other photos are worth more."""

RIDGE = 1e-4
"""Of a column's own second moment."""

_GOLDEN = 0.618034


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
        for name, each in conv.named_parameters():
            pruned.get_parameter(name).copy_(each[kept])
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


def _widths(block: ResidualDenseBlock) -> list[int]:
    return [conv.out_channels for conv in _convolutions(block)]


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


def prune(whole: SharpNetwork, small: SharpNetwork, faithful: Tensor, tokens: Tensor) -> Iterator[float]:
    """Fit `small`'s blocks to `whole`'s, in place; its other convolutions are those of `whole`.

    Args:
        whole: a network of so many blocks.
        small: one of as many, with fewer channels in them.
        faithful: (B, 3, H, W) in [0, 1], what they draw over.
        tokens: (B,), that it was decoded from.

    Yields:
        After each block, by how much what it adds is off: a share of its square in `whole`.
    """
    around = {name: each for name, each in whole.state_dict().items() if not name.startswith("body.")}
    small.load_state_dict(around, strict=False)
    x = torch.cat([whole.conv_first(network_input(*each)) for each in _photos(faithful, tokens)])
    for rrdb, fewer in zip(whole.body, small.body, strict=True):
        wanted, state = _by_photo(rrdb, x), x
        for block, pruned in zip(_dense_blocks(rrdb), _dense_blocks(fewer), strict=True):
            if _widths(block) == _widths(pruned):
                pruned.load_state_dict(block.state_dict())
            else:
                prune_block(block, pruned, state)
            state = _by_photo(pruned, state)
        after = torch.add(x, state, alpha=0.2)
        yield float((after - wanted).square().sum() / (wanted - x).square().sum())
        x = after


def _dense_blocks(rrdb: nn.Module) -> list[ResidualDenseBlock]:
    return [each for each in rrdb.children() if isinstance(each, ResidualDenseBlock)]


def _photos(faithful: Tensor, tokens: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return ((faithful[i : i + 1], tokens[i : i + 1]) for i in range(len(tokens)))


def decoded(tokenizer: Tokenizer, archives: Sequence[Path], count: int) -> tuple[Tensor, Tensor]:
    """Return faithful pictures (B, 3, H, W) of 16 tokens to all of them, as many as there are photos."""
    size, most = tokenizer.config.image_size, tokenizer.config.num_tokens
    share = -(-count // len(archives))
    pictures = chain.from_iterable(islice(read_shards(path), share) for path in archives)
    x = to_tensor([resize(each, (size, size)) for each in islice(pictures, count)])
    tokens = torch.tensor([round(16 * (most / 16) ** (number * _GOLDEN % 1)) for number in range(len(x))])
    faithful = [
        tokenizer.detokenize(tokenizer.tokenize(each), length, sharpness=0.0)
        for each, length in _photos(x, tokens)
    ]
    return torch.cat(faithful).clamp(0, 1), tokens


def _smaller(config: TokenizerConfig, growth: int, last: int) -> TokenizerConfig:
    """Return the geometry with `growth` channels in all blocks but the last ones.

    Raises:
        ValueError: no block gets fewer channels, or some would get more, or none.
    """
    blocks, now = config.sharp_blocks, config.sharp_growth
    growths = (now,) * blocks if isinstance(now, int) else now
    if not 0 <= last < blocks or not 1 <= growth < min(growths):
        raise ValueError(
            f"its sharp network has {blocks} blocks of {now} channels; --growth is to be at least 1 and "
            "fewer, and --last at least 0 and fewer"
        )
    return replace(config, sharp_growth=(growth,) * (blocks - last) + growths[blocks - last :])


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", help="of weights")
    parser.add_argument("archives", nargs="+", type=Path, help="tars or folders of photos")
    parser.add_argument("--growth", type=int, required=True, help="channels that a convolution is to add")
    parser.add_argument("--last", type=int, default=3, help="how many blocks at the end stay whole")
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    whole = load_tokenizer(args.folder).eval()
    try:
        small = Tokenizer(_smaller(whole.config, args.growth, args.last)).eval()
    except ValueError as error:
        print(f"{args.folder}: {error}", file=sys.stderr)
        return 2
    assert whole.sharp is not None
    assert small.sharp is not None
    kept = {name: each for name, each in whole.state_dict().items() if not name.startswith("sharp.")}
    small.load_state_dict(kept, strict=False)
    found = prune(whole.sharp, small.sharp, *decoded(whole, args.archives, args.photos))
    for number, off in enumerate(found):
        blocks = len(whole.sharp.body)
        print(f"block {number + 1} of {blocks}: off by {off:.2%} of what it adds", flush=True)
    print(f"weights are in {save(small, args.out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
