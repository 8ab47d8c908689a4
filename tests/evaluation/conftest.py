"""A comparison that was never run."""

import pytest
from PIL import Image, ImageDraw, ImageFilter

from onedpiece.codec import Codec
from onedpiece.evaluation.photos import Photo, Unreadable
from onedpiece.evaluation.results import OURS, ComparisonResult, RDPoint
from onedpiece.metrics.descriptors import METRICS


@pytest.fixture
def drawing() -> Image.Image:
    """A 128×128 picture of soft shapes, drawn here: what encoders do with it needs no photograph."""
    image = Image.new("RGB", (128, 128), (90, 140, 200))
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 30, 90, 100), fill=(210, 120, 60))
    draw.polygon([(0, 127), (60, 70), (127, 127)], fill=(60, 110, 50))
    draw.rectangle((80, 10, 120, 40), fill=(240, 230, 200))
    return image.filter(ImageFilter.GaussianBlur(1.5))


@pytest.fixture
def result(codec: Codec, photos: list[Photo]) -> ComparisonResult:
    """Budgets 16 and 96; ours always fits, WebP's flat 48-byte file only the larger, JPEG nothing."""
    points = []
    flat = _flat_webp()
    for number, photo in enumerate(photos):
        code = codec.encode(photo.image)
        for budget, tokens in ((16, 4), (96, 16)):
            data = code[:tokens].to_bytes()
            # PSNR 20, 21, 22 and one more at the larger budget; LPIPS 0.5, 0.4.
            points.append(
                RDPoint(number, OURS, budget, "psnr", 20.0 + number + (budget == 96), data, "", tokens)
            )
            points.append(
                RDPoint(number, OURS, budget, "lpips", 0.5 - 0.1 * (budget == 96), data, "", tokens)
            )
        points.append(RDPoint(number, "webp", 96, "psnr", 19.0 + number, flat, "1x1 q0"))
        points.append(RDPoint(number, "webp", 96, "lpips", 0.6, flat, "1x1 q0"))
    return ComparisonResult(
        model="onedpiece tiny",
        side=256,
        photos=photos,
        codecs=(OURS, "webp", "jpeg"),
        budgets=(16, 96),
        metrics=(METRICS["psnr"], METRICS["lpips"]),
        rd_points=points,
        unreadable=(Unreadable("br<oken>.png", "not a picture"),),
    )


def _flat_webp() -> bytes:
    from onedpiece.evaluation.formats import image_format

    return image_format("webp").encode(Image.new("RGB", (1, 1), "teal"), 0)
