"""Draw where the model fails: a face, text, fine texture and flat graphics, beside WebP at equal bytes.

    python tools/failure_gallery.py [--model M] [--out onedpiece/weights/ti-256/failures.png]

Prints the scores as a Markdown table. Everything shown is free: photographs that come with scikit-image (the
astronaut is NASA's, in the public domain; brick and grass are CC0) and two pages that this tool draws itself.
WebP is at its best by PSNR under the same whole-file bytes: every scale, and the highest quality that fits.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from skimage import data

import onedpiece
from onedpiece.codec import Codec
from onedpiece.codec.tensors import to_tensor
from onedpiece.evaluation.baselines import restore, score_classical
from onedpiece.evaluation.formats import image_format
from onedpiece.evaluation.photos import Photo
from onedpiece.evaluation.plots import Cell, no_picture, sheet
from onedpiece.metrics.registry import Scorer

OUT = Path(__file__).resolve().parents[1] / "onedpiece" / "weights" / "ti-256" / "failures.png"
COUNTS = (32, 128, 256)
SIDE = 256
WORDS = (
    "A page of text is the hardest picture for a codec of a few hundred bytes. Each letter is a handful of "
    "sharp strokes, and none of them can be guessed from its neighbours. All 256 tokens are 384 bytes, and "
    "this page alone has more letters than that: it could not be right even if nothing else were in a "
    "picture. "
    "What is left of it here is the grey of the lines, and where a paragraph begins and ends. Send text as "
    "text, and a chart as its numbers."
)


class Shown(NamedTuple):
    """One reconstruction: the size of its file, its picture and its PSNR; no picture where nothing fits."""

    bytes: int
    picture: Image.Image | None
    psnr: float


class Line(NamedTuple):
    """One original with ours and WebP's for each token count."""

    photo: Photo
    ours: list[Shown]
    webp: list[Shown]


def subjects() -> list[Photo]:
    """Return the originals, 256×256 RGB."""
    face = Image.fromarray(data.astronaut()).crop((128, 0, 320, 192))
    fine = [Photo(name, _square(getattr(data, name)())) for name in ("brick", "grass")]
    whole = face.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return [Photo("face", whole), *fine, Photo("text", page()), Photo("chart", chart())]


def _square(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def page() -> Image.Image:
    """Draw black text on white paper."""
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    draw, font, line, down = ImageDraw.Draw(picture), ImageFont.load_default(13), "", 12
    for word in [*WORDS.split(), ""]:
        longer = f"{line} {word}".strip()
        if word and draw.textlength(longer, font) <= SIDE - 24:
            line = longer
            continue
        draw.text((12, down), line, font=font, fill="black")
        line, down = word, down + 18
    return picture


def chart() -> Image.Image:
    """Draw a logo and a bar chart in flat colours."""
    picture = Image.new("RGB", (SIDE, SIDE), "#f6f1e7")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((20, 16, 84, 80), fill="#d1495b")
    draw.polygon([(52, 26), (74, 66), (30, 66)], fill="white")
    draw.text((100, 30), "ACME", font=ImageFont.load_default(36), fill="#2e4057")
    for at, (height, colour) in enumerate(
        zip((50, 96, 72, 124), ("#2e4057", "#edae49", "#66a182", "#d1495b"), strict=True)
    ):
        draw.rectangle((36 + 50 * at, 228 - height, 70 + 50 * at, 228), fill=colour)
    draw.line((20, 228, 240, 228), fill="black", width=2)
    return picture


def draw_line(codec: Codec, photo: Photo, scorer: Scorer) -> Line:
    """Bring one original through the model and WebP."""
    code = codec.encode(photo.image)
    files = [len(code[:count].to_bytes()) for count in COUNTS]
    pictures = [codec.decode(code, count) for count in COUNTS]
    scores = scorer.score("psnr", to_tensor([photo.image]), to_tensor(pictures))
    ours = [Shown(*shown) for shown in zip(files, pictures, scores, strict=True)]
    best = {shot.budget: shot for shot in score_classical(photo, "webp", files, scorer)}
    fmt = image_format("webp")
    webp = [
        Shown(len(best[size].data), restore(fmt, best[size].data, photo.image.size), best[size].score)
        if size in best
        else Shown(size, None, math.nan)
        for size in files
    ]
    return Line(photo, ours, webp)


def cells(line: Line) -> list[Cell]:
    """Return the original, then ours and WebP's in turn."""
    row: list[Cell] = [(line.photo.image, (line.photo.name, "original"))]
    for count, ours, webp in zip(COUNTS, line.ours, line.webp, strict=True):
        for name, shown in ((f"{count} tokens", ours), ("WebP", webp)):
            text = (
                f"{shown.bytes} bytes, {shown.psnr:.1f} dB"
                if shown.picture
                else f"none in {shown.bytes} bytes"
            )
            row.append((shown.picture or no_picture(SIDE), (name, text)))
    return row


def table(lines: Sequence[Line]) -> str:
    """Return the PSNR of both as Markdown."""
    heads = ["PSNR, dB: tokens / WebP", *(f"{count} tokens" for count in COUNTS)]
    rows = [heads, ["---"] + ["---:"] * len(COUNTS)]
    for line in lines:
        pairs = zip(line.ours, line.webp, strict=True)
        rows.append([line.photo.name, *(f"{a.psnr:.1f} / {_number(b.psnr)}" for a, b in pairs)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a name or a folder")
    parser.add_argument("--out", type=Path, default=OUT, help="a PNG")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    codec, scorer = onedpiece.load(args.model), Scorer(["psnr"])
    lines = [draw_line(codec, photo, scorer) for photo in subjects()]
    drawn = sheet([cells(line) for line in lines], SIDE)
    drawn.quantize(256, dither=Image.Dither.NONE).save(args.out, optimize=True)
    print(table(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
