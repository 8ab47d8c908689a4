"""The classical baseline is the one that the team measured, not a straw man."""

from pathlib import Path
from statistics import fmean

import pytest
from PIL import Image

from onedpiece.evaluation.classical import score_classical
from onedpiece.evaluation.metrics import Scorer
from onedpiece.evaluation.photos import Photo

BUDGETS = (96, 192, 384)


def _means(folder: Path, every: int, metric: str) -> list[float]:
    paths = sorted(folder.glob("*.png"))[::every]
    scorer = Scorer([metric])
    photos = [Photo(path.name, Image.open(path).convert("RGB")) for path in paths]
    shots = [shot for photo in photos for shot in score_classical(photo, "webp", BUDGETS, scorer)]
    return [fmean(s.score for s in shots if s.budget == budget) for budget in BUDGETS]


def test_webp_psnr_on_all_100_photos(shared: Path) -> None:
    # TRAINING.md's row of WebP over these photos: 18.5, 20.2, 21.9 dB.
    expected = pytest.approx([18.5, 20.2, 21.9], abs=0.3)
    assert _means(shared / "data/eval/imagenet100", 1, "psnr") == expected


@pytest.mark.usefixtures("torch_home")
def test_webp_lpips(shared: Path) -> None:
    # BASELINES.md, LPIPS-Alex, scale chosen for LPIPS: 0.853, 0.753, 0.615 over 60 photos.
    expected = pytest.approx([0.853, 0.753, 0.615], abs=0.03)
    assert _means(shared / "data/eval/imagenet100", 4, "lpips") == expected
