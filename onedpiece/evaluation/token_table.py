"""What a tokenizer is worth at each token count: the table of the README and the model card.

As rows, as Markdown, as JSON, or for a terminal.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from math import isnan
from statistics import fmean

import numpy as np
from PIL import Image
from torch import nn

from onedpiece.bitstream import Code
from onedpiece.codec.codec import Codec
from onedpiece.codec.tensors import to_tensor
from onedpiece.evaluation.baselines import restore, score_in_worker, start_executor
from onedpiece.evaluation.classifier import HeldOutClassifier
from onedpiece.evaluation.formats import image_format
from onedpiece.evaluation.photos import Photo, batches, photo_labels
from onedpiece.evaluation.results import NONE, RDPoint
from onedpiece.metrics.descriptors import Metric
from onedpiece.metrics.fid import FidScore, ReconstructionFid
from onedpiece.metrics.registry import Scorer

TOKEN_COUNTS = (8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Evaluators:
    """What measures: the metrics and, where wanted, a classifier with its labels and an rFID's network."""

    scorer: Scorer
    classifier: HeldOutClassifier | None = None
    labels: Mapping[str, int] = field(default_factory=dict)  # by photo name, see `photo_labels`
    fid_network: nn.Module | None = None


@dataclass(frozen=True)
class TableRow:
    """One row; None where it was not measured."""

    codec: str
    tokens: int | None  # None for a classical format and for the originals
    bytes: float  # mean size of the whole files
    photos: int
    scores: tuple[float | None, ...]  # one a metric of the scorer; None for the originals
    top1: float | None = None  # share, 0 to 1
    codes_in_use: float | None = None  # share of the codebook seen anywhere in these tokens, 0 to 1
    rfid: FidScore | None = None
    sharpness: float | None = None  # of the decoder; None: what the files ask for, or no decoder of ours


def originals_row(photos: Sequence[Photo], evaluators: Evaluators) -> TableRow:
    """Return how the classifier does on the photos themselves."""
    blank = tuple(None for _ in evaluators.scorer.metrics)
    return TableRow(
        "original",
        None,
        float("nan"),
        len(photos),
        blank,
        _top1(photos, [p.image for p in photos], evaluators),
    )


def token_rows(
    codec: Codec,
    photos: Sequence[Photo],
    counts: Iterable[int],
    evaluators: Evaluators,
    sharpness: float | None = None,
) -> list[TableRow]:
    """Return one row a token count, means over the photos.

    Args:
        codec: the model.
        photos: squares of the model's own side, at least one.
        counts: token counts, each in 1 to the model's.
        evaluators: what measures.
        sharpness: what to decode with, 0 to 1; None: what the files ask for.
    """
    codes = [code for batch in batches(photos) for code in codec.encode_batch([p.image for p in batch])]
    return [
        _token_row(codec, photos, [code.first(count) for code in codes], evaluators, sharpness)
        for count in counts
    ]


def _token_row(
    codec: Codec,
    photos: Sequence[Photo],
    codes: Sequence[Code],
    evaluators: Evaluators,
    sharpness: float | None,
) -> TableRow:
    decoded = (codec.decode_batch(batch, sharpness=sharpness) for batch in batches(codes))
    images = [image for batch in decoded for image in batch]
    scores = tuple(
        _mean_score(metric.name, photos, images, evaluators.scorer) for metric in evaluators.scorer.metrics
    )
    used = np.unique(np.concatenate([code.indices for code in codes]))
    return TableRow(
        codec=codec.name if sharpness is None else f"{codec.name}, sharpness {sharpness:g}",
        tokens=len(codes[0]),
        bytes=fmean(len(code.to_bytes()) for code in codes),
        photos=len(photos),
        scores=scores,
        top1=_top1(photos, images, evaluators),
        codes_in_use=len(used) / codes[0].codebook_size,
        rfid=None if evaluators.fid_network is None else _rfid(photos, images, evaluators.fid_network),
        sharpness=sharpness,
    )


def baseline_rows(
    name: str,
    photos: Sequence[Photo],
    budgets: Sequence[int],
    evaluators: Evaluators,
    workers: int | None = None,
) -> list[TableRow]:
    """Return one row a byte budget for a classical format at its best, chosen anew for each metric.

    The classifier is shown the files with the best PSNR; a budget that not every photo fits has no row.

    Raises:
        MissingFormatError: the format's library is missing.
    """
    image_format(name)
    points = _baseline_points(
        name, photos, budgets, tuple(m.name for m in evaluators.scorer.metrics), workers
    )
    rows = (
        _baseline_row(name, photos, [point for point in points if point.budget == budget], evaluators)
        for budget in budgets
    )
    return [row for row in rows if row is not None]


def _baseline_points(
    name: str, photos: Sequence[Photo], budgets: Sequence[int], metrics: tuple[str, ...], workers: int | None
) -> list[RDPoint]:
    with start_executor(len(photos), workers) as executor:
        per_photo = executor.map(
            score_in_worker, range(len(photos)), photos, repeat(name), repeat(budgets), repeat(metrics)
        )
        return [point for points in per_photo for point in points]


def _baseline_row(
    name: str, photos: Sequence[Photo], points: Sequence[RDPoint], evaluators: Evaluators
) -> TableRow | None:
    by_metric = [[each for each in points if each.metric == m.name] for m in evaluators.scorer.metrics]
    if any(len(of_metric) < len(photos) for of_metric in by_metric):
        return None
    fmt = image_format(name)
    first = by_metric[0]
    images = [restore(fmt, point.data, p.image.size) for point, p in zip(first, photos, strict=True)]
    return TableRow(
        codec=name,
        tokens=None,
        bytes=fmean(len(point.data) for of_metric in by_metric for point in of_metric),
        photos=len(photos),
        scores=tuple(fmean(point.score for point in of_metric) for of_metric in by_metric),
        top1=_top1(photos, images, evaluators),
    )


def _mean_score(metric: str, photos: Sequence[Photo], images: Sequence[Image.Image], scorer: Scorer) -> float:
    scores: list[float] = []
    for pairs in batches(list(zip(photos, images, strict=True))):
        references = to_tensor([photo.image for photo, _ in pairs])
        scores += scorer.score(metric, references, to_tensor([image for _, image in pairs]))
    return fmean(scores)


def _top1(photos: Sequence[Photo], images: Sequence[Image.Image], evaluators: Evaluators) -> float | None:
    labels = photo_labels(photos, evaluators.labels)
    labelled = [(image, label) for image, label in zip(images, labels, strict=True) if label is not None]
    if evaluators.classifier is None or not labelled:
        return None
    seen = evaluators.classifier.classify([image for image, _ in labelled])
    return fmean(label == guess for (_, label), guess in zip(labelled, seen, strict=True))


def _rfid(photos: Sequence[Photo], images: Sequence[Image.Image], network: nn.Module) -> FidScore:
    fid = ReconstructionFid(network)
    for pairs in batches(list(zip(photos, images, strict=True))):
        fid.update(to_tensor([photo.image for photo, _ in pairs]), to_tensor([image for _, image in pairs]))
    return fid.compute()


def header(metrics: Sequence[Metric]) -> list[str]:
    """Return the columns' titles."""
    arrows = [f"{m.axis_label} {'↑' if m.higher_is_better else '↓'}" for m in metrics]
    return ["codec", "tokens", "bytes", *arrows, "top-1 %", "codes in use %", "rFID"]


def cells(row: TableRow, metrics: Sequence[Metric]) -> list[str]:
    """Return one row's texts, one a column of `header`; what is not known is an en dash."""
    scores = [NONE if v is None else f"{v:.{m.digits}f}" for v, m in zip(row.scores, metrics, strict=True)]
    return [
        row.codec,
        NONE if row.tokens is None else str(row.tokens),
        NONE if isnan(row.bytes) else f"{row.bytes:.0f}",
        *scores,
        _percent(row.top1),
        _percent(row.codes_in_use),
        NONE if row.rfid is None else str(row.rfid),
    ]


def table(rows: Sequence[TableRow], metrics: Sequence[Metric]) -> list[list[str]]:
    """Return the header and all rows, without the columns that nobody filled."""
    lines = [header(metrics), *(cells(row, metrics) for row in rows)]
    filled = [at for at in range(len(lines[0])) if any(line[at] != NONE for line in lines[1:])]
    return [[line[at] for at in filled] for line in lines]


def markdown(rows: Sequence[TableRow], metrics: Sequence[Metric]) -> str:
    """Return a Markdown table."""
    first, *rest = table(rows, metrics)
    rule = ["---"] + ["---:"] * (len(first) - 1)
    return "".join("| " + " | ".join(line) + " |\n" for line in (first, rule, *rest))


def table_json(rows: Sequence[TableRow], metrics: Sequence[Metric]) -> str:
    """Return a JSON list, one object a row, with nulls for what is not known."""
    return json.dumps([_record(row, metrics) for row in rows], indent=2) + "\n"


def _record(row: TableRow, metrics: Sequence[Metric]) -> dict[str, object]:
    return {
        "codec": row.codec,
        "tokens": row.tokens,
        "sharpness": row.sharpness,
        "bytes": None if isnan(row.bytes) else row.bytes,
        "photos": row.photos,
        **{metric.json_key: score for metric, score in zip(metrics, row.scores, strict=True)},
        "top1": row.top1,
        "codes-in-use": row.codes_in_use,
        "rfid": None if row.rfid is None else row.rfid.value,
        "rfid-samples": None if row.rfid is None else row.rfid.samples,
    }


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f}"
