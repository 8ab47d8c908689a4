"""Pictures to look at in rows, each with two lines of text; and a comparison drawn so, a row a budget."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from onedpiece.evaluation.photos import Photo
from onedpiece.evaluation.reconstruct import Reconstruct
from onedpiece.evaluation.study import OURS, Shot, Study

_GAP = 8
_CAPTION = 38  # two lines of text
_INK, _FAINT, _PAPER = "#1a1a1a", "#666666", "#ffffff"


Cell = tuple[Image.Image, Sequence[str]]
"""A square picture, and the two lines below it."""


def sheet(rows: Sequence[Sequence[Cell]], side: int) -> Image.Image:
    """Draw rows of pictures of `side` pixels; the first row is as long as any."""
    width, height = side + _GAP, side + _CAPTION + _GAP
    drawn = Image.new("RGB", (width * len(rows[0]) + _GAP, height * len(rows) + _GAP), _PAPER)
    for down, row in enumerate(rows):
        for across, (picture, lines) in enumerate(row):
            at = (_GAP + across * width, _GAP + down * height)
            drawn.paste(picture, at)
            _write(drawn, (at[0], at[1] + side + 2), lines)
    return drawn


def contact_sheet(study: Study, photo: Photo, reconstruct: Reconstruct) -> Image.Image:
    """Draw one photo's sheet: columns are the original, ours and the classical formats.

    Args:
        study: what was compared.
        photo: one of its photos.
        reconstruct: draws a shot's file again.
    """
    return sheet([_row(study, photo, budget, reconstruct) for budget in study.budgets], study.side)


def _row(study: Study, photo: Photo, budget: int, reconstruct: Reconstruct) -> list[Cell]:
    cells: list[Cell] = [(photo.image, (photo.name, f"original, {study.side}x{study.side}"))]
    for codec in study.codecs:
        name = study.model if codec == OURS else codec
        shot = study.shot(photo.name, codec, budget, study.display_metric.name)
        if shot is None:
            cells.append((no_picture(study.side), (name, f"does not fit {budget} bytes")))
        else:
            cells.append((reconstruct(shot), (name, caption(study, shot))))
    return cells


def caption(study: Study, shot: Shot) -> str:
    """Return a shot's size and score in a few words."""
    metric = study.display_metric
    tokens = "" if shot.tokens is None else f" ({shot.tokens} tokens)"
    return f"{len(shot.data)} bytes{tokens}, {metric.label} {shot.score:.{metric.digits}f}"


def no_picture(side: int) -> Image.Image:
    """Return what stands where a codec has nothing to show."""
    blank = Image.new("RGB", (side, side), "#f2f2f2")
    ImageDraw.Draw(blank).line((side // 2 - 12, side // 2, side // 2 + 12, side // 2), fill=_FAINT, width=3)
    return blank


def _write(on: Image.Image, at: tuple[int, int], lines: Sequence[str]) -> None:
    draw = ImageDraw.Draw(on)
    for number, line in enumerate(lines):
        font = ImageFont.load_default(14 if number == 0 else 12)
        draw.text((at[0], at[1] + 18 * number), line, font=font, fill=_INK if number == 0 else _FAINT)
