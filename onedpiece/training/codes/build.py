"""Tokenize a source once: part by part, so that a run that is cut short goes on where it was."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from shutil import rmtree

import numpy as np

from onedpiece._files import one_line
from onedpiece._progress import Progress, no_progress
from onedpiece.codec.codec import Codec
from onedpiece.codec.view import apply_view, view_named
from onedpiece.codes import MAX_CODEBOOK_SIZE
from onedpiece.errors import CacheError, PictureError
from onedpiece.heads import code_space_of
from onedpiece.training.codes.base import TRAIN, Example, Labelled, Source
from onedpiece.training.codes.cache_file import (
    CacheMetadata,
    Row,
    pack_target,
    read_arrow,
    read_metadata,
    write_arrow,
    write_rows,
)
from onedpiece.training.codes.layout import NAMED, few
from onedpiece.training.codes.view import apply_view_to_target

log = logging.getLogger(__name__)

PART_SIZE = 128  # photos a part: what a killed run loses
BATCH_SIZE = 32  # pictures that go through the network together


def build_cache(
    path: str | Path,
    source: Source,
    codec: Codec,
    variants: Sequence[str] = ("plain", "flip"),
    progress: Progress = no_progress,
) -> Path:
    """Write the cache of a source, or go on with one that was begun, or leave a finished one as it is.

    Photos that cannot be read are left out; a warning counts them and names the first.

    Args:
        path: the Parquet file; finished parts lie in the folder `PATH.parts` until it is there.
        source: the photos.
        codec: tokenizes them; each photo is resized to its square, and its target with it.
        variants: views of each training photo (see `view_named`); others are taken plain only.
        progress: called after every part.

    Returns:
        The path.

    Raises:
        CacheError: the file that is there holds codes of another code space, or something else; the
            codebook does not fit 16 bits; or no photo can be read.
        OSError, ValueError: as the source's.
    """
    path = Path(path)
    examples = source.examples()
    metadata = metadata_of(source, codec, examples, variants)
    if path.exists():
        check_metadata(path, read_metadata(path), metadata)
        return path
    parts = path.with_name(f"{path.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    done, unread = list[Path](), list[str]()
    for start in range(0, len(examples), PART_SIZE):
        progress(start, len(examples))
        part = parts / f"{start:07d}.parquet"
        if not (part.exists() and read_metadata(part) == metadata):
            some = examples[start : start + PART_SIZE]
            write_rows(part, list(_rows(some, codec, variants, unread)), metadata)
        done.append(part)
    rows = read_arrow(done)
    _warn_of_missing(examples, set(rows["key"].to_pylist()), source.name)
    write_arrow(path, rows, metadata)
    rmtree(parts)
    progress(len(examples), len(examples))
    return path


def _warn_of_missing(examples: Sequence[Example], there: set[str], name: str) -> None:
    missing = [example.key for example in examples if example.key not in there]
    if not there:
        raise CacheError(f"none of the {len(examples)} photos of {name} can be read, as {missing[0]}")
    if missing:
        log.warning("%d of %d photos could not be read: %s", len(missing), len(examples), few(missing))


def metadata_of(
    source: Source, codec: Codec, examples: Sequence[Example], variants: Sequence[str]
) -> CacheMetadata:
    """Return the metadata of a cache of these photos.

    Raises:
        CacheError: the codebook does not fit 16 bits.
    """
    config = codec.tokenizer.config
    if config.codebook_size > MAX_CODEBOOK_SIZE:
        raise CacheError(f"{codec.name} has {config.codebook_size} codes; a cache holds {MAX_CODEBOOK_SIZE}")
    digest = sha256("|".join([source.name, *variants]).encode())
    digest.update(source.stamp.encode())
    for example in examples:
        digest.update(f"{example.key}|{example.split}\n".encode())
    return CacheMetadata(
        code_space_of(codec).hex(),
        source.name,
        source.task,
        source.classes,
        config.num_tokens,
        config.codebook_size,
        config.image_size,
        digest.hexdigest()[:16],
    )


def check_metadata(path: Path, found: CacheMetadata, expected: CacheMetadata) -> None:
    """Raise CacheError unless a cache is the one that is expected."""
    if found.code_space != expected.code_space:
        raise CacheError(
            f"{path} holds codes of code space {found.code_space}, the model's is {expected.code_space}; "
            "remove it or name another"
        )
    if found != expected:
        raise CacheError(
            f"{path} holds other photos or views of {found.source} than asked for; remove it or name another"
        )


def _rows(
    examples: Sequence[Example], codec: Codec, variants: Sequence[str], unread: list[str]
) -> Iterator[Row]:
    """Tokenize a few photos at a time, as many as make a batch of views; add keys to those `unread`."""
    step = max(1, BATCH_SIZE // len(variants))
    for start in range(0, len(examples), step):
        some = examples[start : start + step]
        loaded = {each.key: photo for each in some if (photo := _loaded(each, unread)) is not None}
        jobs = [
            (example, variant)
            for example in some
            if example.key in loaded
            for variant in (variants if example.split == TRAIN else ("plain",))
        ]
        if jobs:
            yield from _tokenize(jobs, loaded, codec)


def _loaded(example: Example, unread: list[str]) -> Labelled | None:
    """Read a photo; None where it is damaged or gone, which is no reason to end a run of hours."""
    try:
        return example.load()
    except (OSError, PictureError) as error:
        if len(unread) < NAMED:
            log.warning("%s cannot be read and is left out: %s", example.key, one_line(error))
        unread.append(example.key)
        return None


def _tokenize(
    jobs: Sequence[tuple[Example, str]], loaded: Mapping[str, Labelled], codec: Codec
) -> Iterator[Row]:
    views = [view_named(variant, example.key) for example, variant in jobs]
    photos = [loaded[example.key] for example, _ in jobs]
    images = [apply_view(photo.image, view) for photo, view in zip(photos, views, strict=True)]
    codes = codec.encode_batch(images)
    for (example, variant), photo, view, image, code in zip(jobs, photos, views, images, codes, strict=True):
        target = (
            photo.target(image)
            if callable(photo.target)
            else apply_view_to_target(photo.target, view, codec.image_size)
        )
        yield Row(example.key, example.split, variant, code.indices.astype(np.uint16), pack_target(target))
