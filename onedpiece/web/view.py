"""What the demo page shows of one upload: a prefix's picture, WebP's at equal bytes, and what they cost."""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.bitstream.format import MAGIC, MAX_FILE_BYTES
from onedpiece.codec.codec import Codec
from onedpiece.codec.images import read_picture
from onedpiece.codec.tensors import resize, to_tensor
from onedpiece.errors import MissingWeightsError
from onedpiece.metrics.pixel import image_psnr
from onedpiece.metrics.registry import Scorer
from onedpiece.web.placeholder import data_url

MAX_SIDE = 768
"""Pixels of the longer side of what is shown: pages are no wider, and a file's header may say 65,535."""

_WEBP_SIDES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
_COPY_QUALITY = 90  # of the pictures inside the page; scores are of the exact pixels


@dataclass(frozen=True)
class Upload:
    """A photo or a file that was given to the page.

    Attributes:
        code: all tokens; its size is that of the photo.
        photo: RGB, at most MAX_SIDE pixels a side; None where only the file is known.
        name: of the file, without its ending.
    """

    code: Code
    photo: Image.Image | None
    name: str

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height that are shown; None: the model's own."""
        return None if self.code.size is None else bounded(self.code.size)


def bounded(size: tuple[int, int]) -> tuple[int, int]:
    """Return (width, height) in pixels, shrunk so that the longer side has at most MAX_SIDE."""
    ratio = min(1.0, MAX_SIDE / max(size))
    width, height = (max(1, round(ratio * side)) for side in size)
    return width, height


def read_upload(codec: Codec, path: str) -> Upload:
    """Read a photo, and encode it, or an .odp file.

    Raises:
        OnedpieceError: it is neither, or of another model; the message is one sentence.
        OSError: it cannot be opened.
    """
    with Path(path).open("rb") as file:
        start = file.read(MAX_FILE_BYTES + 1)
    name = Path(path).stem
    if not start.startswith(MAGIC):
        photo = read_picture(path)
        return Upload(codec.encode(photo, tokens=codec.num_tokens), resize(photo, bounded(photo.size)), name)
    code = Code.from_bytes(start, codec.tables_of)
    codec.check_code(code)
    if code.tiles:
        raise ValueError("the file is cut into tiles, and this page shows one square; use onedpiece decode")
    return Upload(code, None, name)


class WebP(NamedTuple):
    """The best file within a budget, and its picture at the photo's size."""

    data: bytes
    picture: Image.Image


def best_webp(photo: Image.Image, most: int) -> WebP | None:
    """Return the WebP file of at most `most` bytes with the most PSNR, at any scale; None: none fits.

    Args:
        photo: RGB.
        most: bytes of the whole file.
    """
    found: list[WebP] = []
    for side in _WEBP_SIDES:
        ratio = min(1.0, side / max(photo.size))
        small = resize(photo, (max(1, round(ratio * photo.width)), max(1, round(ratio * photo.height))))
        data = _highest_that_fits(small, most)
        if data is None:
            break  # larger pictures only make larger files
        found.append(WebP(data, resize(Image.open(BytesIO(data)).convert("RGB"), photo.size)))
        if ratio == 1:
            break
    return max(found, key=lambda each: image_psnr(photo, each.picture), default=None)


def _highest_that_fits(image: Image.Image, most: int) -> bytes | None:
    low, high, best = 0, 101, None  # what is below `low` fits, as far as sizes are monotone
    while low < high:
        middle = (low + high) // 2
        file = BytesIO()
        image.save(file, "WEBP", quality=middle, method=4)
        if file.tell() <= most:
            low, best = middle + 1, file.getvalue()
        else:
            high = middle
    return best


def lpips_scorer() -> Scorer | None:
    """Return what measures LPIPS; None where its weights are not on this machine."""
    try:
        return Scorer(["lpips"])
    except MissingWeightsError:
        return None


def render(
    codec: Codec, upload: Upload, tokens: int, sharpness: float, scorer: Scorer | None, *, quick: bool = False
) -> str:
    """Return the HTML of one state of the page.

    Args:
        codec: decodes.
        upload: what was given.
        tokens: how many to show; fewer where the file has fewer.
        sharpness: 0 to 1; 0 of a model without a sharp network.
        scorer: of LPIPS, if any.
        quick: leave out WebP and the scores, for an animation.
    """
    code = upload.code[:tokens]
    data = code.to_bytes()
    look = sharpness if codec.tokenizer.sharp is not None else 0.0
    picture = codec.decode(replace(code, size=upload.size), sharpness=look)
    title = f"onedpiece, {len(code)} of {len(upload.code)} tokens"
    scores = "" if quick or upload.photo is None else _scores(upload.photo, picture, scorer)
    width, height = upload.code.size or (codec.image_size, codec.image_size)
    figures = [_figure(picture, title, "ours", _bits(len(data), width * height), scores)]
    if upload.photo is not None:
        if not quick:
            figures.append(_webp_figure(upload.photo, len(data), width * height, scorer))
        figures.append(_figure(upload.photo, "The photo", "photo"))
    return f'<div class="odp-figures">{"".join(figures)}</div>' + ("" if quick else _links(upload, data))


def _bits(size: int, pixels: int) -> str:
    """Return a file's size in bytes, and in bits for each of the photo's own pixels."""
    return f"{size} bytes, {8 * size / pixels:.4f} bpp"


def _webp_figure(photo: Image.Image, most: int, pixels: int, scorer: Scorer | None) -> str:
    webp = best_webp(photo, most)
    if webp is None:
        return f'<figure class="webp none"><p>WebP does not fit {most} bytes</p></figure>'
    scores = _scores(photo, webp.picture, scorer)
    return _figure(webp.picture, "WebP in as many bytes", "webp", _bits(len(webp.data), pixels), scores)


def _scores(photo: Image.Image, picture: Image.Image, scorer: Scorer | None) -> str:
    decibels = image_psnr(photo, picture)
    text = f"PSNR {decibels:.2f} dB" if isfinite(decibels) else "lossless"
    if scorer is None or min(photo.size) < scorer.metrics[0].min_side:
        return text
    (distance,) = scorer.score("lpips", *(to_tensor([each]) for each in (photo, picture)))
    return f"{text}, LPIPS {distance:.3f}"


def _figure(picture: Image.Image, title: str, kind: str, bits: str = "", scores: str = "") -> str:
    address = data_url(picture, _COPY_QUALITY, 2)
    return (
        f'<figure class="{kind}"><img alt="{escape(title)}" src="{address}"><figcaption>'
        f'<b>{escape(title)}</b><span class="bytes">{bits}</span><span class="scores">{scores}</span>'
        "</figcaption></figure>"
    )


def _links(upload: Upload, data: bytes) -> str:
    """Return links to the file, and to a page whose address holds it: cutting one's end cuts the file's."""
    address = f"prefix.html#{urlsafe_b64encode(data).decode().rstrip('=')}"
    name = escape(f"{upload.name}.odp")
    return (
        '<p class="odp-links"><a class="odp-file" download="'
        f'{name}" href="data:application/octet-stream;base64,{b64encode(data).decode()}">Download {name}</a> '
        f'<a class="odp-prefix" target="_blank" href="{address}">A link that is the picture</a>: cut its '
        "end, and it is still one.</p>"
    )


def problem(error: Exception) -> str:
    """Return the HTML of one sentence that says what was wrong with an upload."""
    text = " ".join(str(error).split())
    return f'<p class="odp-problem" role="alert">{escape(text[:1].upper() + text[1:])}.</p>'


def steps(most: int) -> Sequence[int]:
    """Return the token counts that an animation shows, each a quarter more than the one before it."""
    counts = [1]
    while counts[-1] < most:
        counts.append(min(most, max(counts[-1] + 1, counts[-1] * 5 // 4)))
    return counts
