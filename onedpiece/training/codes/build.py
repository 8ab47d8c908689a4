"""Tokenize a source once: part by part, so that a run that is cut short goes on where it was.

A model whose decoder was trained on makes the same tokens: its caches need a new fingerprint only.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from shutil import rmtree

import numpy as np
from rich.console import Console
from rich.progress import Progress as RichProgress

from onedpiece.codec import Codec
from onedpiece.errors import CacheError
from onedpiece.training.codes.base import TRAIN, Example, Source
from onedpiece.training.codes.cache_file import (
    MOST_ENTRIES,
    Facts,
    Row,
    pack_target,
    read_arrow,
    read_facts,
    read_table,
    write_arrow,
    write_table,
)
from onedpiece.training.codes.view import show, show_target, view_named

Progress = Callable[[int, int], None]
"""Called with how many photos are done, and of how many."""

PART = 128  # photos a part: what a killed run loses
BATCH = 32  # pictures that go through the network together


def build(
    path: str | Path,
    source: Source,
    codec: Codec,
    variants: Sequence[str] = ("plain", "flip"),
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write the cache of a source, or go on with one that was begun, or leave a finished one as it is.

    Args:
        path: the Parquet file; finished parts lie in the folder `PATH.parts` until it is there.
        source: the photos.
        codec: tokenizes them; it squeezes each into its square, and targets go along.
        variants: views of each training photo (see `view_named`); others are shown plain only.
        progress: told of photos.

    Returns:
        The path.

    Raises:
        CacheError: another model made the file that is there, or it holds something else; or the codebook
            does not fit 16 bits.
        OSError, ValueError: as the source's.
    """
    path = Path(path)
    examples = source.examples()
    facts = facts_of(source, codec, examples, variants)
    if path.exists():
        check_facts(path, read_facts(path), facts)
        return path
    parts = path.with_name(f"{path.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    done = []
    for start in range(0, len(examples), PART):
        progress(start, len(examples))
        part = parts / f"{start:07d}.parquet"
        if not (part.exists() and read_facts(part) == facts):
            some = examples[start : start + PART]
            write_table(part, list(_rows(some, codec, variants)), facts)
        done.append(part)
    write_arrow(path, read_arrow(done), facts)
    rmtree(parts)
    progress(len(examples), len(examples))
    return path


def facts_of(source: Source, codec: Codec, examples: Sequence[Example], variants: Sequence[str]) -> Facts:
    """Return what a cache of these photos says of itself.

    Raises:
        CacheError: the codebook does not fit 16 bits.
    """
    config = codec.tokenizer.config
    if config.codebook_size > MOST_ENTRIES:
        raise CacheError(f"{codec.name} has {config.codebook_size} codes; a cache holds {MOST_ENTRIES}")
    digest = sha256("|".join([source.name, *variants]).encode())
    for example in examples:
        digest.update(f"{example.key}|{example.split}\n".encode())
    return Facts(
        codec.fingerprint.hex(),
        source.name,
        source.task,
        source.classes,
        config.num_tokens,
        config.codebook_size,
        config.image_size,
        digest.hexdigest()[:16],
    )


def check_facts(path: Path, found: Facts, expected: Facts) -> None:
    """Raise CacheError unless a cache is the one that is expected."""
    if found.fingerprint != expected.fingerprint:
        raise CacheError(
            f"{path} was made by model {found.fingerprint}, this is {expected.fingerprint}; remove it, or "
            "restamp it if the codes are the same (onedpiece.training.codes.restamp)"
        )
    if found != expected:
        raise CacheError(
            f"{path} holds other photos or views of {found.source} than asked for; remove it or name another"
        )


def rows_of(example: Example, codec: Codec, variants: Sequence[str]) -> list[Row]:
    """Tokenize one photo under each of its variants."""
    return list(_rows([example], codec, variants))


def _rows(examples: Sequence[Example], codec: Codec, variants: Sequence[str]) -> Iterator[Row]:
    jobs = [
        (example, variant)
        for example in examples
        for variant in (variants if example.split == TRAIN else ("plain",))
    ]
    for start in range(0, len(jobs), BATCH):
        yield from _tokenize(jobs[start : start + BATCH], codec)


def _tokenize(jobs: Sequence[tuple[Example, str]], codec: Codec) -> Iterator[Row]:
    views = [view_named(variant, example.key) for example, variant in jobs]
    loaded = {example.key: example.load() for example, _ in jobs}
    photos = [loaded[example.key] for example, _ in jobs]
    images = [show(photo.image, view) for photo, view in zip(photos, views, strict=True)]
    codes = [each.code for each in codec.encode_batch(images)]
    for (example, variant), photo, view, code in zip(jobs, photos, views, codes, strict=True):
        target = pack_target(show_target(photo.target, view, codec.image_size))
        yield Row(example.key, example.split, variant, code.indices.astype(np.uint16), target)


@contextmanager
def bar(what: str) -> Iterator[Progress]:
    """Give a callback for (done, total) that moves a bar."""
    console = Console(stderr=True)
    with RichProgress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def restamp(path: str | Path, source: Source, codec: Codec, sample: int = 64, seed: int = 0) -> int:
    """Give a cache the fingerprint of a model that makes the same codes, once that is seen on some photos.

    Args:
        path: the cache.
        source: its photos.
        codec: the model.
        sample: how many photos to tokenize again.
        seed: chooses which.

    Returns:
        How many were the same; all of them.

    Raises:
        CacheError: a photo has other codes now, or is not in the cache.
    """
    path = Path(path)
    examples = source.examples()
    rows = read_table(path, variants=["plain"])
    known = dict(zip(rows.keys, rows.codes, strict=True))
    chosen = np.random.default_rng(seed).permutation(len(examples))[:sample]
    for at in chosen:
        example = examples[at]
        if example.key not in known:
            raise CacheError(f"{path} has no photo {example.key} of {source.name}; remove it")
        (row,) = rows_of(example, codec, ["plain"])
        if not np.array_equal(row.codes, known[example.key]):
            raise CacheError(f"{path}: {codec.name} makes other codes of {example.key}; remove the file")
    facts = replace(read_facts(path), fingerprint=codec.fingerprint.hex())
    write_arrow(path, read_arrow([path]), facts)
    return len(chosen)
