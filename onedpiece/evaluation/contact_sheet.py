"""One picture to look at: the original and every codec's reconstruction, a row a budget."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from onedpiece.evaluation.photos import Photo
from onedpiece.evaluation.reconstruct import Reconstruct
from onedpiece.evaluation.study import OURS, Shot, Study

_GAP = 8
_CAPTION = 38  # two lines of text
_INK, _FAINT, _PAPER = "#1a1a1a", "#666666", "#ffffff"


def contact_sheet(study: Study, photo: Photo, reconstruct: Reconstruct) -> Image.Image:
    """Draw one photo's sheet: columns are the original, ours and the classical formats.

    Args:
        study: what was compared.
        photo: one of its photos.
        reconstruct: draws a shot's file again.
    """
    side = study.side
    rows = [_row(study, photo, budget, reconstruct) for budget in study.budgets]
    cell_width, cell_height = side + _GAP, side + _CAPTION + _GAP
    sheet = Image.new(
        "RGB", (cell_width * (1 + len(study.codecs)) + _GAP, cell_height * len(rows) + _GAP), _PAPER
    )
    for down, row in enumerate(rows):
        for across, (picture, lines) in enumerate(row):
            at = (_GAP + across * cell_width, _GAP + down * cell_height)
            sheet.paste(picture, at)
            _write(sheet, (at[0], at[1] + side + 2), lines)
    return sheet


Cell = tuple[Image.Image, Sequence[str]]


def _row(study: Study, photo: Photo, budget: int, reconstruct: Reconstruct) -> list[Cell]:
    cells: list[Cell] = [(photo.image, (photo.name, f"original, {study.side}x{study.side}"))]
    for codec in study.codecs:
        name = study.model if codec == OURS else codec
        shot = study.shot(photo.name, codec, budget, study.display_metric.name)
        if shot is None:
            cells.append((_empty(study.side), (name, f"does not fit {budget} bytes")))
        else:
            cells.append((reconstruct(shot), (name, caption(study, shot))))
    return cells


def caption(study: Study, shot: Shot) -> str:
    """Return a shot's size and score in a few words."""
    metric = study.display_metric
    tokens = "" if shot.tokens is None else f" ({shot.tokens} tokens)"
    return f"{len(shot.data)} bytes{tokens}, {metric.label} {shot.score:.{metric.digits}f}"


def _empty(side: int) -> Image.Image:
    blank = Image.new("RGB", (side, side), "#f2f2f2")
    ImageDraw.Draw(blank).line((side // 2 - 12, side // 2, side // 2 + 12, side // 2), fill=_FAINT, width=3)
    return blank


def _write(sheet: Image.Image, at: tuple[int, int], lines: Sequence[str]) -> None:
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        font = ImageFont.load_default(14 if number == 0 else 12)
        draw.text((at[0], at[1] + 18 * number), line, font=font, fill=_INK if number == 0 else _FAINT)
