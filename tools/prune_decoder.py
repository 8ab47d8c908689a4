"""Give a decoder's MLPs fewer channels, refitted by least squares on photos: no training.

    python -m tools.prune_decoder FOLDER data/train/train-*.tar --hidden 512 --out OUT

writes FOLDER's model with `--hidden` channels in each MLP of the decoder (two minutes of two cores for 48
photos). Block by block, on what the blocks before it give, those channels go, one by one, whose loss the
others make up for best, and the second linear layer is fitted anew to what the whole MLP gave.

Source: the optimal brain surgeon (Hassibi and Stork, NIPS 1992), a channel at a time, in closed form.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from onedpiece.tokenizer import Tokenizer
from onedpiece.tokenizer.transformer import MLP, Block
from onedpiece.weights import load_tokenizer, save
from tools.shards import prefix_options, prefixes

RIDGE = 1e-4
"""Of a channel's own second moment."""


def prune_mlp(mlp: MLP, inner: Tensor, outer: Tensor, hidden: int) -> tuple[MLP, float]:
    """Return an MLP of fewer channels, and the share of the output's square that it misses.

    Args:
        mlp: the whole one, of H channels.
        inner: (H + 1, H + 1) float64, second moments of the channels behind the GELU and of a one.
        outer: (H + 1, width) float64, second moments of those with what the MLP gave.
        hidden: how many channels to keep, 1…H.
    """
    inner = inner + torch.diag(RIDGE * inner.diagonal() * (torch.arange(len(inner)) < len(inner) - 1))
    kept = list(range(len(inner)))
    inverse = torch.linalg.inv(inner)
    weight = inverse @ outer
    while len(kept) > hidden + 1:
        costs = weight[:-1].square().sum(1) / inverse.diagonal()[:-1]
        drop = int(costs.argmin())
        column = inverse[:, drop] / inverse[drop, drop]
        rest = torch.arange(len(kept)) != drop
        weight = (weight - torch.outer(column, weight[drop]))[rest]
        inverse = (inverse - torch.outer(column, inverse[drop]))[rest][:, rest]
        del kept[drop]
    fitted = torch.linalg.solve(inner[kept][:, kept], outer[kept])
    small = MLP(mlp.c_fc.in_features, hidden)
    small.c_fc.weight.copy_(mlp.c_fc.weight[kept[:-1]])
    small.c_fc.bias.copy_(mlp.c_fc.bias[kept[:-1]])
    small.c_proj.weight.copy_(fitted[:-1].T)
    small.c_proj.bias.copy_(fitted[-1])
    whole = torch.linalg.solve(inner, outer)
    squares, explained = (
        float((each * outer[rows]).sum()) for each, rows in ((whole, slice(None)), (fitted, kept))
    )
    return small, 1 - explained / squares


def moments(tokenizer: Tokenizer, mlp: MLP, codes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return `prune_mlp`'s moments of an MLP of the decoder, over every token of every code (1, k)."""
    channels, width = mlp.c_fc.out_features, mlp.c_fc.in_features
    inner, outer = torch.zeros(channels + 1, channels + 1), torch.zeros(channels + 1, width)

    def look(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen = nn.functional.gelu(mlp.c_fc(inputs[0].flatten(0, -2)))
        seen = nn.functional.pad(seen, (0, 1), value=1.0)
        inner.add_(seen.T @ seen / len(seen))
        outer.add_(seen.T @ output.flatten(0, -2) / len(seen))

    watched = mlp.register_forward_hook(look)
    for code in codes:
        tokenizer.detokenize(code, sharpness=0.0)
    watched.remove()
    return inner.double() / len(codes), outer.double() / len(codes)


def prune(tokenizer: Tokenizer, codes: Sequence[Tensor], hidden: int) -> Iterator[float]:
    """Make the decoder's MLPs smaller, in place, and yield after each what share of its output it misses."""
    for block in tokenizer.decoder.transformer:
        assert isinstance(block, Block)
        block.mlp, missed = prune_mlp(block.mlp, *moments(tokenizer, block.mlp, codes), hidden)
        yield missed


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    parser = prefix_options(__doc__)
    parser.add_argument("--hidden", type=int, required=True, help="channels that an MLP is to keep")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    tokenizer = load_tokenizer(args.folder)
    now = tokenizer.config.decoder_hidden or 4 * tokenizer.config.width
    if not 1 <= args.hidden < now:
        print(
            f"{args.folder} has {now} channels in an MLP; --hidden is to be 1 to {now - 1}", file=sys.stderr
        )
        return 2
    missed = prune(tokenizer, prefixes(tokenizer, args.archives, args.photos), args.hidden)
    for number, share in enumerate(missed):
        print(f"block {number + 1} of {tokenizer.config.decoder_layers}: misses {share:.3%}", flush=True)
    tokenizer.config = replace(tokenizer.config, decoder_hidden=args.hidden)
    print(f"weights are in {save(tokenizer, args.out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
