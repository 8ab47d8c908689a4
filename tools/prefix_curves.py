"""The score of every prefix of a photo's code: what a search for a target is held against."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onedpiece._files import atomic_write
from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.codec.images import read_picture
from onedpiece.codec.quality import FAITHFUL_METRICS, estimate_psnr_curve, estimate_ssim_curve, scorer_beside
from onedpiece.codec.tensors import Photo, to_tensor
from onedpiece.evaluation.photos import batches
from onedpiece.metrics.pixel import image_psnr
from onedpiece.metrics.registry import Scorer
from onedpiece.weights.checkpoint import weights_digest

Curves = dict[str, NDArray[np.float64]]
"""By metric, and what was expected of it, as "psnr forecast", where the model can tell: (N,)."""


def prefix_curves(
    codec: Codec, photo: Image.Image, code: Code, scorer: Scorer, counts: Sequence[int] | None = None
) -> Curves:
    """Return the score of prefixes of a photo's code by each metric of the scorer, and by PSNR.

    PSNR and SSIM are those of the faithful look, as targets of them are; the others those of the default one.

    Args:
        codec: what decodes; one prefix at a time, as a search would, to the same last bit.
        photo: RGB, of any size.
        code: all of its tokens, in one square.
        scorer: of the other metrics.
        counts: tokens of the prefixes; all by default.
    """
    names = [metric.name for metric in scorer.metrics]
    rows: dict[str, list[float]] = {name: [] for name in ("psnr", *names)}
    reference = to_tensor([photo])
    sharp = [name for name in names if name not in FAITHFUL_METRICS]
    for each in batches(range(1, len(code) + 1) if counts is None else counts):
        pictures = [codec.decode(code, tokens, sharpness=0.0) for tokens in each]
        rows["psnr"] += [image_psnr(photo, picture) for picture in pictures]
        for name in set(names) - set(sharp):
            rows[name] += scorer.score(name, reference, to_tensor(pictures))
        if sharp:
            pictures = [codec.decode(code, tokens) for tokens in each]
        for name in sharp:
            rows[name] += scorer.score(name, reference, to_tensor(pictures))
    return {name: np.array(row) for name, row in rows.items()}


def stored_curves(codec: Codec, path: Path, metrics: Sequence[str], folder: Path) -> Curves:
    """Return the curves of a photo's file, and their forecasts; scores from `folder` where a run left them.

    Args:
        codec: whose weights' digest is in the name of what is stored: another decoder, other scores.
        path: of the photo.
        metrics: those wanted beside PSNR.
        folder: of the stored curves; it exists.
    """
    stored = folder / f"{weights_digest(codec.tokenizer)}-{path.stem}.npz"
    photo = read_picture(path)
    code = codec.encode(photo, tiles=False)
    found = dict(np.load(stored)) if stored.exists() else {}
    if not {"psnr", *metrics} <= set(found):
        found = prefix_curves(codec, photo, code, Scorer(metrics))
        with atomic_write(stored) as file:
            np.savez(file, **found)  # type: ignore[arg-type]
    return found | forecasts(codec, photo, code, metrics)


def forecasts(codec: Codec, photo: Image.Image, code: Code, metrics: Sequence[str]) -> Curves:
    """Return what is expected of PSNR and of the others of `metrics` that the model can tell."""
    expected = {"psnr forecast": estimate_psnr_curve(codec.model, Photo(photo), code)}
    decibels = expected["psnr forecast"]
    if decibels is not None and "ssim" in metrics:
        score = scorer_beside("ssim", photo)
        expected["ssim forecast"] = estimate_ssim_curve(codec.model, Photo(photo), code, decibels, score)
    return {name: np.array(curve) for name, curve in expected.items() if curve is not None}
