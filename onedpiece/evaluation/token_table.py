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

from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.codec.tensors import to_tensor
from onedpiece.evaluation.baselines import restore, score_in_worker
from onedpiece.evaluation.classifier import Judge
from onedpiece.evaluation.formats import image_format
from onedpiece.evaluation.photos import Photo, batches
from onedpiece.evaluation.results import Shot
from onedpiece.evaluation.workers import start_executor
from onedpiece.metrics.fid import Features, FidScore, Moments, rfid
from onedpiece.metrics.registry import Metric, Scorer

TOKEN_COUNTS = (8, 16, 32, 64, 128, 256)


NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class Jury:
    """Who judges: the metrics, and where wanted a classifier with its labels and the features of an rFID."""

    scorer: Scorer
    judge: Judge | None = None
    labels: Mapping[str, int] = field(
        default_factory=dict
    )  # by photo name; photos without one are not judged
    features: Features | None = None


@dataclass(frozen=True)
class TableRow:
    """One row; None where nobody was there to judge."""

    codec: str
    tokens: int | None  # None for a classical format and for the originals
    bytes: float  # mean size of the whole files
    photos: int
    scores: tuple[float | None, ...]  # one a metric of the jury's scorer; None for the originals
    top1: float | None = None  # share, 0 to 1
    codes_in_use: float | None = None  # share of the codebook seen anywhere in these tokens, 0 to 1
    rfid: FidScore | None = None


def originals_row(photos: Sequence[Photo], jury: Jury) -> TableRow:
    """Return what the judge says of the photos themselves."""
    blank = tuple(None for _ in jury.scorer.metrics)
    return TableRow(
        "original", None, float("nan"), len(photos), blank, _top1(photos, [p.image for p in photos], jury)
    )


def token_rows(codec: Codec, photos: Sequence[Photo], counts: Iterable[int], jury: Jury) -> list[TableRow]:
    """Return one row a token count, means over the photos.

    Args:
        codec: the model.
        photos: squares of the model's own side, at least one.
        counts: token counts, each in 1 to the model's.
        jury: who judges.
    """
    codes = [each.code for each in codec.encode_batch([photo.image for photo in photos])]
    return [_token_row(codec, photos, [code.first(count) for code in codes], jury) for count in counts]


def _token_row(codec: Codec, photos: Sequence[Photo], codes: Sequence[Code], jury: Jury) -> TableRow:
    images = [image for batch in batches(codes) for image in codec.decode_batch(batch)]
    scores = tuple(_mean_score(metric.name, photos, images, jury.scorer) for metric in jury.scorer.metrics)
    used = np.unique(np.concatenate([code.indices for code in codes]))
    return TableRow(
        codec=codec.name,
        tokens=len(codes[0]),
        bytes=fmean(len(code.to_bytes()) for code in codes),
        photos=len(photos),
        scores=scores,
        top1=_top1(photos, images, jury),
        codes_in_use=len(used) / codes[0].codebook_size,
        rfid=None if jury.features is None else _rfid(photos, images, jury.features),
    )


def classical_rows(
    name: str, photos: Sequence[Photo], budgets: Sequence[int], jury: Jury, workers: int | None = None
) -> list[TableRow]:
    """Return one row a byte budget for a classical format at its best, chosen anew for each metric.

    The judge is shown the files with the best PSNR; a budget that not every photo fits has no row.

    Raises:
        MissingFormatError: the format's library is missing.
    """
    image_format(name)
    shots = _classical_shots(name, photos, budgets, tuple(m.name for m in jury.scorer.metrics), workers)
    rows = (
        _classical_row(name, photos, [s for s in shots if s.budget == budget], jury) for budget in budgets
    )
    return [row for row in rows if row is not None]


def _classical_shots(
    name: str, photos: Sequence[Photo], budgets: Sequence[int], metrics: tuple[str, ...], workers: int | None
) -> list[Shot]:
    with start_executor(len(photos), workers) as executor:
        per_photo = executor.map(score_in_worker, photos, repeat(name), repeat(budgets), repeat(metrics))
        return [shot for shots in per_photo for shot in shots]


def _classical_row(name: str, photos: Sequence[Photo], shots: Sequence[Shot], jury: Jury) -> TableRow | None:
    by_metric = [[s for s in shots if s.metric == metric.name] for metric in jury.scorer.metrics]
    if any(len(of_metric) < len(photos) for of_metric in by_metric):
        return None
    fmt = image_format(name)
    first = by_metric[0]
    images = [restore(fmt, shot.data, p.image.size) for shot, p in zip(first, photos, strict=True)]
    return TableRow(
        codec=name,
        tokens=None,
        bytes=fmean(len(shot.data) for of_metric in by_metric for shot in of_metric),
        photos=len(photos),
        scores=tuple(fmean(shot.score for shot in of_metric) for of_metric in by_metric),
        top1=_top1(photos, images, jury),
    )


def _mean_score(metric: str, photos: Sequence[Photo], images: Sequence[Image.Image], scorer: Scorer) -> float:
    scores: list[float] = []
    for pairs in batches(list(zip(photos, images, strict=True))):
        references = to_tensor([photo.image for photo, _ in pairs])
        scores += scorer.score(metric, references, to_tensor([image for _, image in pairs]))
    return fmean(scores)


def _top1(photos: Sequence[Photo], images: Sequence[Image.Image], jury: Jury) -> float | None:
    judged = [(jury.labels[p.name], i) for p, i in zip(photos, images, strict=True) if p.name in jury.labels]
    if jury.judge is None or not judged:
        return None
    seen = jury.judge.classify([image for _, image in judged])
    return fmean(label == guess for (label, _), guess in zip(judged, seen, strict=True))


def _rfid(photos: Sequence[Photo], images: Sequence[Image.Image], features: Features) -> FidScore:
    originals, reconstructions = Moments(), Moments()
    for pairs in batches(list(zip(photos, images, strict=True))):
        originals.add(features(to_tensor([photo.image for photo, _ in pairs])))
        reconstructions.add(features(to_tensor([image for _, image in pairs])))
    return rfid(originals, reconstructions)


def header(metrics: Sequence[Metric]) -> list[str]:
    """Return the columns' titles."""
    arrows = [f"{m.label} {'↑' if m.higher_is_better else '↓'}" for m in metrics]
    return ["codec", "tokens", "bytes", *arrows, "judge top-1 %", "codes in use %", "rFID"]


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
        "bytes": None if isnan(row.bytes) else row.bytes,
        "photos": row.photos,
        **{metric.json_key: score for metric, score in zip(metrics, row.scores, strict=True)},
        "judge-top1": row.top1,
        "codes-in-use": row.codes_in_use,
        "rfid": None if row.rfid is None else row.rfid.value,
        "rfid-samples": None if row.rfid is None else row.rfid.samples,
    }


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f}"
