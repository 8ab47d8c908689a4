"""Fit the entropy coder's tables of a model to the tokens of training pictures, and store them in its folder.

    python -m tools.fit_entropy_tables --model onedpiece/weights/ti-256 --data data/train

A quarter of a second a picture on one core. The file, `entropy.json`, stands beside `config.json` and is no
part of the model's fingerprint: tables may come later or be left out. It holds {"format": 1, "total": 65536,
"fingerprint": …, "positions": [...]}: for each position of a token one list for each digit of the index (for
FSQ the channels, the first is the lowest digit), with a whole frequency for each value, 1 or more, 65536 in
all. An entropy-coded file carries two bytes of the tables' SHA-256; a decoder with other tables refuses it.
"""

import argparse
import json
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from onedpiece._files import atomic_write_text
from onedpiece.bitstream.packing import TOTAL, Tables
from onedpiece.codec import Codec
from onedpiece.tokenizer import TokenizerConfig
from onedpiece.weights.checkpoint import FILE, load
from tools.shards import read_shards

POOLED_WEIGHT = 24.0  # pictures that the mean of a grade's positions counts as


def tokens(codec: Codec, data: Path, limit: int, stride: int) -> NDArray[np.int64]:
    """Return the tokens of every `stride`-th picture, at most `limit` of them, (M, N)."""
    rows = []
    chosen = islice(read_shards(data), 0, limit * stride, stride)
    while batch := list(islice(chosen, 8)):
        rows += [code.indices for code in codec.encode_batch(batch)]
        print(f"\r{len(rows)} pictures", end="", file=sys.stderr)
    print(file=sys.stderr)
    return np.stack(rows)


def levels_of(config: TokenizerConfig) -> list[tuple[int, ...]]:
    """Return the number of values of every digit, for each position."""
    if config.quantizer != "fsq":
        return [(config.vq_codebook_size,)] * config.num_tokens
    return [levels for count, levels in config.fsq_grades for _ in range(count)]


def counts_of(rows: NDArray[np.int64], levels: list[tuple[int, ...]]) -> list[list[NDArray[np.float64]]]:
    """Return how often each digit's values occur at each position."""
    counts = []
    for position, digits in enumerate(levels):
        left, tables = rows[:, position], []
        for base in digits:
            left, values = np.divmod(left, base)
            tables.append(np.bincount(values, minlength=base).astype(np.float64))
        counts.append(tables)
    return counts


def whole(weights: NDArray[np.float64]) -> tuple[int, ...]:
    """Return frequencies of at least 1 that add up to TOTAL, in proportion to the weights."""
    room = TOTAL - len(weights)
    exact = weights / weights.sum() * room
    floor = np.floor(exact).astype(np.int64)
    most_cut = np.argsort(floor - exact, kind="stable")[: room - int(floor.sum())]
    floor[most_cut] += 1
    return tuple(int(value) + 1 for value in floor)


def fit(rows: NDArray[np.int64], levels: list[tuple[int, ...]]) -> Tables:
    """Return the tables of tokens, (M, N); each leans on the mean of the positions of its grade."""
    counts = counts_of(rows, levels)
    pooled = {
        (grade, base): np.mean(
            [
                table
                for at, digits in enumerate(levels)
                if digits == grade
                for table in counts[at]
                if len(table) == base
            ],
            axis=0,
        )
        for grade in set(levels)
        for base in set(grade)
    }
    return Tables(
        tuple(
            tuple(
                whole(table + pooled[grade, len(table)] * (POOLED_WEIGHT / len(rows)) + 0.05)
                for table in tables
            )
            for grade, tables in zip(levels, counts, strict=True)
        )
    )


def main() -> int:
    """Fit, store, say what that saves on the last tenth of the pictures, left out for it, and return 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="the model's folder")
    parser.add_argument(
        "--data", type=Path, required=True, help="a folder of pictures, or of tar files of them"
    )
    parser.add_argument("--limit", type=int, default=2000, help="pictures to use")
    parser.add_argument("--stride", type=int, default=9, help="take every STRIDE-th picture")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    codec = load(asked.model)
    rows = tokens(codec, asked.data, asked.limit, asked.stride)
    held_out = max(1, len(rows) // 10)
    levels = levels_of(codec.tokenizer.config)
    trial = fit(rows[:-held_out], levels)
    for count in (8, 16, 32, 64, 128, codec.num_tokens):
        if count <= codec.num_tokens:
            bits = np.mean([_bits(row[:count], trial) for row in rows[-held_out:]])
            plain = count * codec.model.bits_per_token
            saved = 100 * (1 - bits / plain)
            print(f"{count:4d} tokens: {bits / 8:7.1f} of {plain / 8:6.1f} bytes, {saved:.1f} % saved")
    stored = fit(rows, levels).to_plain() | {"fingerprint": codec.fingerprint.hex(), "pictures": len(rows)}
    atomic_write_text(asked.model / FILE, json.dumps(stored, separators=(",", ":")) + "\n")
    return 0


def _bits(row: NDArray[np.int64], tables: Tables) -> float:
    bits = 0.0
    for position, index in enumerate(row.tolist()):
        for table in tables.positions[position]:
            index, value = divmod(index, len(table))
            bits -= np.log2(table[value] / TOTAL)
    return bits


if __name__ == "__main__":
    sys.exit(main())
