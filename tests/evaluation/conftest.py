"""A study that was never run."""

import pytest
from PIL import Image

from onedpiece.codec import Codec
from onedpiece.evaluation.photos import Photo, Unreadable
from onedpiece.evaluation.results import OURS, Shot, Study
from onedpiece.metrics.descriptors import METRICS


@pytest.fixture
def study(codec: Codec, photos: list[Photo]) -> Study:
    """Budgets 16 and 96; ours always fits, WebP's flat 48-byte file only the larger, JPEG nothing."""
    shots = []
    flat = _flat_webp()
    for number, photo in enumerate(photos):
        code = codec.encode(photo.image)
        for budget, tokens in ((16, 4), (96, 16)):
            data = code[:tokens].to_bytes()
            # PSNR 20, 21, 22 and one more at the larger budget; LPIPS 0.5, 0.4.
            shots.append(
                Shot(photo.name, OURS, budget, "psnr", 20.0 + number + (budget == 96), data, "", tokens)
            )
            shots.append(
                Shot(photo.name, OURS, budget, "lpips", 0.5 - 0.1 * (budget == 96), data, "", tokens)
            )
        shots.append(Shot(photo.name, "webp", 96, "psnr", 19.0 + number, flat, "1x1 q0"))
        shots.append(Shot(photo.name, "webp", 96, "lpips", 0.6, flat, "1x1 q0"))
    return Study(
        model="onedpiece tiny",
        side=256,
        photos=photos,
        codecs=(OURS, "webp", "jpeg"),
        budgets=(16, 96),
        metrics=(METRICS["psnr"], METRICS["lpips"]),
        shots=shots,
        unreadable=(Unreadable("br<oken>.png", "not a picture"),),
    )


def _flat_webp() -> bytes:
    from onedpiece.evaluation.formats import image_format

    return image_format("webp").encode(Image.new("RGB", (1, 1), "teal"), 0)
