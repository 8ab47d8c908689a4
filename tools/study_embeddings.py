"""How a transformer should be given the tokens: embeddings beside each other, at equal minutes.

    python -m tools.make_codes imagenette                     # once
    python -m tools.study_embeddings --cache runs/codes/imagenette.parquet [--minutes 3] [--seeds 0,1,2]
        [--embeddings view,scaled,…] [--out runs/study_embeddings]
        [--write onedpiece/heads/README.md]

Every embedding is followed by four blocks (two behind residual ones, which cost as much) and trained as a
classifier, as many minutes of one core's time each, on prefixes of random length, and tested at every token
count; what is finished is not done again. The last columns are milliseconds of processor time a photo, in
batches of 64, and their ratio.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import onedpiece
from onedpiece.codec import Codec
from onedpiece.heads import code_space_of
from onedpiece.heads.embeddings import Codebook, ResidualBlock
from onedpiece.tokenizer.transformer import build_blocks, truncated_normal
from onedpiece.training.augment import ViewConfig, draw_views
from onedpiece.training.codes import CodeDataset
from onedpiece.training.codes.base import TEST, TRAIN
from tools import markdown

COUNTS = (8, 16, 32, 64, 128, 256)
WIDTH, HEADS, BATCH = 128, 2, 64
VIEWS = ViewConfig(min_scale=0.65, aspect=0.2, flip=True, brightness=0.3, colour=0.1)
STEM = 48  # channels of the first convolution of those that see places


class Embedding(nn.Module):
    """Indices to tokens of the transformer.

    Args:
        codec: whose tokens they are.
    """

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        config = codec.tokenizer.config
        self.num_tokens, self.code_dim = config.num_tokens, config.code_dim
        self.codebook = Codebook(config)
        path = codec.tokenizer.linear_path
        assert path is not None
        self.path = path.requires_grad_(False)

    def forward(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return (B, T, WIDTH) of indices (B, k); the generator draws views where places can be moved."""
        raise NotImplementedError


class Places(Embedding):
    """The inverse DCT at a few places, and two convolutions: a picture whose size may follow the count.

    Args:
        codec: whose tokens they are.
        grid: cells along a side for all tokens, four pixels each.
        growth: power of the share of the tokens with which the side grows; 0: always `grid`.
        blocks: residual blocks behind the two convolutions.
        views: what the picture goes through in training.
    """

    def __init__(
        self, codec: Codec, grid: int, growth: float, blocks: int = 0, views: ViewConfig = VIEWS
    ) -> None:
        super().__init__(codec)
        self.grid, self.growth, self.views = grid, growth, views
        self.blocks = nn.Sequential(*(ResidualBlock(WIDTH) for _ in range(blocks)))
        self.halve_1 = nn.Conv2d(3, STEM, 3, 2, 1)
        self.halve_2 = nn.Conv2d(STEM, WIDTH, 3, 2, 1)
        self.position = nn.Parameter(truncated_normal(WIDTH, grid, grid))

    def forward(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw the picture, then look at it."""
        side = max(1, round(self.grid * (indices.shape[1] / self.num_tokens) ** self.growth))
        with torch.no_grad():
            picture = (self.path.synthesise(self.codebook(indices), size=4 * side) - 0.45) / 0.25
        if generator is not None:
            picture = draw_views(len(indices), self.views, generator).picture(picture)
        cells = self.blocks(self.halve_2(F.gelu(self.halve_1(picture))))
        position = F.interpolate(self.position[None], (side, side), mode="bilinear", align_corners=False)
        out: Tensor = (cells + position).flatten(2).transpose(1, 2)
        return out


class Positions(Embedding):
    """A linear map of each code vector, one for every position."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        self.weight = nn.Parameter(15 * truncated_normal(self.num_tokens, self.code_dim, WIDTH))
        self.position = nn.Parameter(truncated_normal(self.num_tokens, WIDTH))

    def forward(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        """Project."""
        count = indices.shape[1]
        vectors = self.codebook(indices).transpose(0, 1)
        out: Tensor = (vectors @ self.weight[:count]).transpose(0, 1) + self.position[:count]
        return out


class Indices(Embedding):
    """A learned vector for each row of the codebook, which the positions of a grade share."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        self.table = nn.Parameter(15 * truncated_normal(len(self.codebook.table), WIDTH))
        self.position = nn.Parameter(truncated_normal(self.num_tokens, WIDTH))

    def forward(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        """Look up."""
        count = indices.shape[1]
        return F.embedding(indices + self.codebook.first[:count], self.table) + self.position[:count]


class Fourier(Embedding):
    """Each coefficient times a function of where it is in the spectrum: a network of (u, v, colour)."""

    places: Tensor

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        self.of_place = nn.Sequential(nn.Linear(3 + 32, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.position = nn.Parameter(truncated_normal(self.num_tokens, WIDTH))
        side, order = self.path.size, self.path.order
        colour, place = order // side**2, order % side**2
        waves = torch.stack([place // side, place % side], 1)[:, :, None] * 2.0 ** -torch.arange(1, 9)
        parts = [F.one_hot(colour, 3).float(), waves.sin().flatten(1), waves.cos().flatten(1)]
        self.register_buffer("places", torch.cat(parts, dim=1))

    def forward(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        """Sum over the coefficients of each token."""
        count = indices.shape[1]
        with torch.no_grad():
            values = self.path.contributions(self.codebook(indices))
            values = values / self.path.scale[: values.shape[1]]
        basis = self.of_place(self.places[: values.shape[1]])
        tokens = torch.div(self.path.slots[: values.shape[1]], self.code_dim, rounding_mode="floor")
        spread = values.new_zeros(count, values.shape[1])
        spread[tokens, torch.arange(values.shape[1])] = 1.0
        # (B, k, slots) of which each row holds one token's coefficients, times (slots, WIDTH)
        out: Tensor = (values[:, None, :] * spread) @ basis + self.position[:count]
        return out


class Bands(Embedding):
    """Four neighbours in the order, which lie in one band of the spectrum, as one token."""

    GROUP = 4

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        groups = self.num_tokens // self.GROUP
        self.weight = nn.Parameter(8 * truncated_normal(groups, self.GROUP * self.code_dim, WIDTH))
        self.position = nn.Parameter(truncated_normal(groups, WIDTH))

    def forward(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        """Project groups; a last one that is not full is filled with zeros."""
        vectors = F.pad(self.codebook(indices), (0, 0, 0, -indices.shape[1] % self.GROUP))
        grouped = vectors.reshape(len(vectors), -1, self.GROUP * self.code_dim).transpose(0, 1)
        out: Tensor = (grouped @ self.weight[: len(grouped)]).transpose(0, 1) + self.position[: len(grouped)]
        return out


class Resampler(Embedding):
    """Learned queries that attend once to projected tokens: one query for four tokens, from 16 to 64."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        self.tokens = Positions(codec)
        self.queries = nn.Parameter(truncated_normal(64, WIDTH))
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        """Attend."""
        tokens = self.norm(self.tokens(indices, generator))
        count = min(64, max(16, indices.shape[1] // 4))
        queries = self.queries[:count].expand(len(indices), -1, -1)
        out: Tensor = queries + self.attention(queries, tokens, tokens, need_weights=False)[0]
        return out


class Both(Embedding):
    """Places behind residual blocks, and bands; the picture stays where it is, as the codes do."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        self.places = Places(codec, 8, 0.3, 2, ViewConfig(brightness=0.3, colour=0.1))
        self.bands = Bands(codec)

    def forward(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        """Put both side by side."""
        return torch.cat([self.places(indices, generator), self.bands(indices, generator)], dim=1)


class Kind(NamedTuple):
    """An embedding: what the table calls it, what makes it, and how many blocks follow."""

    title: str
    make: Callable[[Codec], Embedding]
    layers: int = 4


EMBEDDINGS = {
    "view": Kind("inverse DCT on 8×8 cells at every count", lambda codec: Places(codec, 8, 0.0)),
    "scaled": Kind("inverse DCT on cells that follow the count", lambda codec: Places(codec, 13, 0.28)),
    "one-to-one": Kind("inverse DCT on one cell a token", lambda codec: Places(codec, 16, 0.5)),
    "residual": Kind("the same, 8×8 at most, residual blocks", lambda codec: Places(codec, 8, 0.3, 2), 2),
    "position": Kind("code vectors, a projection each position", Positions),
    "index": Kind("table of indices, shared by a grade", Indices),
    "fourier": Kind("coefficients with Fourier places", Fourier),
    "bands": Kind("four neighbouring tokens as one", Bands),
    "resampler": Kind("16 to 64 queries attend to code vectors", Resampler),
    "both": Kind("residual blocks and four as one: the bundled classifier", Both, 2),
}


class Classifier(nn.Module):
    """An embedding, a class token, blocks and a linear layer."""

    def __init__(self, embedding: Embedding, layers: int, classes: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.class_token = nn.Parameter(truncated_normal(1, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.blocks = build_blocks(WIDTH, HEADS, layers)
        self.logits = nn.Linear(WIDTH, classes)

    def forward(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return (B, classes) of indices (B, k)."""
        tokens = self.embedding(indices, generator)
        hidden = self.ln_pre(torch.cat([self.class_token.expand(len(tokens), 1, -1), tokens], dim=1))
        for i, block in enumerate(self.blocks):
            hidden = block(hidden, None, 1 if i == len(self.blocks) - 1 else None)
        out: Tensor = self.logits(self.ln_post(hidden[:, 0]))
        return out


class Result(NamedTuple):
    """One training: the embedding's name, seed and steps; top-1 and milliseconds a photo at every count."""

    name: str
    seed: int
    steps: int
    top1: dict[int, float]
    milliseconds: dict[int, float]


def train(name: str, codec: Codec, cache: Path, minutes: float, seed: int) -> Result:
    """Train one classifier for some minutes of processor time, and test its averaged weights."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    space = code_space_of(codec)
    data, test = CodeDataset(cache, TRAIN, space), CodeDataset(cache, TEST, space)
    kind = EMBEDDINGS[name]
    network = Classifier(kind.make(codec), kind.layers, len(data.metadata.classes))
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    average = [parameter.detach().clone() for parameter in learned]
    optimizer = torch.optim.AdamW(learned, lr=1e-3, weight_decay=0.1, betas=(0.9, 0.99))
    start, steps = time.process_time(), 0
    while (progress := (time.process_time() - start) / 60 / minutes) < 1:
        rate = 1e-3 * min(1.0, progress / 0.05) * (0.01 + 0.495 * (1 + math.cos(math.pi * progress)))
        optimizer.param_groups[0]["lr"] = rate
        batch = data.batch(torch.randint(len(data), (BATCH,), generator=generator))
        count = round(2 ** (2 + 6 * float(torch.rand((), generator=generator))))  # log-uniform, 4 to 256
        assert isinstance(batch.targets, Tensor)
        logits = network(batch.indices[:, :count], generator)
        loss = F.cross_entropy(logits, batch.targets.long(), label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        steps += 1
        weight = 1 - min(0.998, (steps + 1) / (steps + 10))
        torch._foreach_lerp_(average, [parameter.detach() for parameter in learned], weight)
    with torch.no_grad():
        for parameter, mean_value in zip(learned, average, strict=True):
            parameter.copy_(mean_value)
    return Result(name, seed, steps, *score(network, test))


@torch.inference_mode()
def score(network: Classifier, test: CodeDataset) -> tuple[dict[int, float], dict[int, float]]:
    """Return top-1 in percent, and milliseconds of processor time a photo, at every count."""
    top1, milliseconds = {}, {}
    rows = torch.split(torch.arange(len(test)), BATCH)
    for count in COUNTS:
        right, start = 0, time.process_time()
        for some in rows:
            batch = test.batch(some)
            assert isinstance(batch.targets, Tensor)
            right += int((network(batch.indices[:, :count]).argmax(1) == batch.targets).sum())
        milliseconds[count] = 1000 * (time.process_time() - start) / len(test)
        top1[count] = 100 * right / len(test)
    return top1, milliseconds


def table(results: Sequence[Result]) -> str:
    """Return Markdown: means over the seeds, and their standard deviations."""
    lines = []
    for name, (title, _, _) in EMBEDDINGS.items():
        of_name = [result for result in results if result.name == name]
        if not of_name:
            continue
        cells = [_spread([result.top1[count] for result in of_name]) for count in COUNTS]
        low, high = (mean(result.milliseconds[count] for result in of_name) for count in (16, 256))
        steps = round(mean(result.steps for result in of_name))
        lines.append([title, str(steps), *cells, f"{low:.2f}", f"{high:.2f}", f"{low / high:.2f}"])
    heads = ["reads", "steps", *map(str, COUNTS), "ms at 16", "ms at 256", "16 / 256"]
    return markdown.table(heads, lines)


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="labelled codes, as make_codes writes them")
    parser.add_argument("--minutes", type=float, default=3.0, help="of processor time, each training")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--embeddings", default=",".join(EMBEDDINGS))
    parser.add_argument("--out", type=Path, default=Path("runs/study_embeddings"))
    parser.add_argument("--model", help="a name or a folder; the bundled one by default")
    parser.add_argument("--write", type=Path, help="a Markdown file with marks `embeddings`")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is not trained yet, and print the table."""
    args = parse(argv)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    results = []
    for seed in (int(word) for word in args.seeds.split(",")):
        for name in args.embeddings.split(","):
            path = args.out / f"{name}-{seed}.json"
            if not path.exists():
                result = train(name, onedpiece.load(args.model), args.cache, args.minutes, seed)
                path.write_text(json.dumps(result._asdict()), encoding="utf-8")
                print(result, flush=True)
            stored = json.loads(path.read_text(encoding="utf-8"))
            for field in ("top1", "milliseconds"):
                stored[field] = {int(count): value for count, value in stored[field].items()}
            results.append(Result(**stored))
    text = table(results)
    print(text)
    if args.write:
        markdown.replace_part(args.write, "embeddings", text)


if __name__ == "__main__":
    main()
