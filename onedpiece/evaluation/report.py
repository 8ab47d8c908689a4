"""A study as one self-contained page: pictures with a divider to drag, curves, tables; it asks no network."""

import base64
import io
import json
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from PIL import Image

from onedpiece.evaluation.comparison import Reconstruct
from onedpiece.evaluation.photos import Photo
from onedpiece.evaluation.plots import caption, panel_svg
from onedpiece.evaluation.results import MIN_SHARE, OURS, Delta, Study, deltas, point
from onedpiece.metrics.descriptors import Metric

MAX_PHOTOS = 6  # each weighs about 10 kB a codec and budget
_COPY_QUALITY = 92


def report_html(study: Study, reconstruct: Reconstruct) -> str:
    """Return the whole page.

    Args:
        study: what was compared, at least one photo.
        reconstruct: draws a shot's file again.
    """
    page = files(__package__).joinpath("report.html").read_text(encoding="utf-8")
    parts = {
        "TITLE": escape(f"{study.model} against {', '.join(c for c in study.codecs if c != OURS)}"),
        "COUNT": _count(len(study.photos), "photo"),
        "SIDE": str(study.side),
        "MIN_SHARE": f"{MIN_SHARE:.0%}",
        "UNREADABLE": _unreadable(study),
        "PANELS": "".join(_panel(study, metric) for metric in study.metrics),
        "TABLES": "".join(_table(study, m) for m in study.metrics) + _delta_table(study),
        "DISPLAY_METRIC": escape(study.display_metric.axis_label),
        "COPY_QUALITY": str(_COPY_QUALITY),
        "DATA": _data(study, reconstruct),
    }
    # In one pass: what is put in may hold an @@ of its own.
    return re.sub("@@([A-Z_]+)@@", lambda found: parts[found[1]], page)


def _unreadable(study: Study) -> str:
    if not study.unreadable:
        return ""
    listed = "; ".join(f"{u.name} ({u.reason})" for u in study.unreadable)
    return f'<p class="warning">Left out, could not be read: {escape(listed)}</p>'


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _panel(study: Study, metric: Metric) -> str:
    label = escape(f"{metric.axis_label} over bytes, one line a codec", quote=True)
    svg = panel_svg(study, metric).replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return f"<figure>{svg}</figure>"


def _table(study: Study, metric: Metric) -> str:
    scores = {c: [_score(study, c, budget, metric) for budget in study.budgets] for c in study.codecs}
    best = [_best(column, metric) for column in zip(*scores.values(), strict=True)]
    rows = "".join(_row(study, codec, scores[codec], best, metric) for codec in study.codecs)
    head = "".join(f"<th scope=col>{budget} B</th>" for budget in study.budgets)
    better = "higher" if metric.higher_is_better else "lower"
    return _scrolling(
        f"{escape(metric.axis_label)} <span>({better} is better)</span>", "<th></th>" + head, rows
    )


def _score(study: Study, codec: str, budget: int, metric: Metric) -> float | None:
    found = point(study, codec, budget, metric)
    return None if found is None else found.score


def _best(column: Sequence[float | None], metric: Metric) -> float | None:
    present = [score for score in column if score is not None]
    if not present:
        return None
    return max(present) if metric.higher_is_better else min(present)


def _row(
    study: Study, codec: str, scores: Sequence[float | None], best: Sequence[float | None], metric: Metric
) -> str:
    cells = ""
    for score, top in zip(scores, best, strict=True):
        mark = ' class="best"' if score is not None and score == top else ""
        cells += f"<td{mark}>{_cell(score, metric)}</td>"
    name = study.model if codec == OURS else codec
    return f"<tr{' class=ours' if codec == OURS else ''}><th scope=row>{escape(name)}</th>{cells}</tr>"


def _cell(score: float | None, metric: Metric) -> str:
    return "&ndash;" if score is None else f"{score:.{metric.digits}f}"


def _delta_table(study: Study) -> str:
    by_metric = [deltas(study, metric) for metric in study.metrics]
    if not by_metric[0]:
        return ""
    rows = ""
    for of_codec in zip(*by_metric, strict=True):
        cells = "".join(_delta_cell(delta) for delta in of_codec)
        rows += f"<tr><th scope=row>{escape(of_codec[0].codec)}</th>{cells}</tr>"
    head = "<th></th>" + "".join(f"<th scope=col>{escape(m.axis_label)}</th>" for m in study.metrics)
    title = (
        "Ours against each <span>(Bj&oslash;ntegaard: bytes at equal score, then score at equal bytes)</span>"
    )
    return f'<div class="whole">{_scrolling(title, head, rows)}</div>'


def _delta_cell(delta: Delta) -> str:
    rate = delta.rate if isinstance(delta.rate, str) else f"{delta.rate:+.0f} %"
    quality = "" if isinstance(delta.quality, str) else f"{delta.quality:+.{delta.metric.digits}f}"
    return f"<td>{escape(rate)}<small>{quality}</small></td>"


def _scrolling(title: str, head: str, rows: str) -> str:
    table = f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _address(image: Image.Image) -> str:
    """Return a picture as a data: address."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_COPY_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _data(study: Study, reconstruct: Reconstruct) -> str:
    data = {
        "budgets": list(study.budgets),
        "codecs": [{"id": c, "name": study.model if c == OURS else c} for c in study.codecs],
        "photos": [_photo_data(study, photo, reconstruct) for photo in shown_photos(study.photos)],
    }
    # "</script>" in a file's name would end the element.
    return json.dumps(data).replace("<", "\\u003c")


def shown_photos(photos: Sequence[Photo]) -> list[Photo]:
    """Return at most MAX_PHOTOS photos, evenly spread."""
    count = min(MAX_PHOTOS, len(photos))
    return [photos[at * len(photos) // count] for at in range(count)]


def _photo_data(study: Study, photo: Photo, reconstruct: Reconstruct) -> dict[str, object]:
    shots: dict[str, list[dict[str, str] | None]] = {}
    for codec in study.codecs:
        of_codec = [study.shot(photo.name, codec, b, study.display_metric.name) for b in study.budgets]
        shots[codec] = [
            {"src": _address(reconstruct(shot)), "caption": caption(study, shot)} if shot else None
            for shot in of_codec
        ]
    return {"name": photo.name, "original": _address(photo.image), "shots": shots}
