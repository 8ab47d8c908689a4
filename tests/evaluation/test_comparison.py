from collections.abc import Callable

import pytest
from PIL import Image

from onedpiece.codec import Codec
from onedpiece.codec.tensors import to_tensor
from onedpiece.evaluation.baselines import score_baseline
from onedpiece.evaluation.comparison import ComparisonConfig, compare, reconstructor, score_codec
from onedpiece.evaluation.export import curves_json, export_files
from onedpiece.evaluation.formats import image_format
from onedpiece.evaluation.photos import Photo, PhotoSet, Unreadable
from onedpiece.evaluation.results import FAITHFUL, OURS, OWN
from onedpiece.metrics.pixel import psnr
from onedpiece.metrics.registry import Scorer


def test_ours_takes_the_most_tokens_that_fit(codec: Codec, photos: list[Photo]) -> None:
    points = score_codec(codec, list(enumerate(photos)), (9, 20, 1000), Scorer(["psnr"]))
    code = codec.encode(photos[0].image)
    longest = max(k for k in range(1, 17) if len(code[:k].to_bytes()) <= 20)
    tokens = {(s.photo, s.budget): s.tokens for s in points}
    assert tokens[0, 20] == longest
    assert tokens[0, 1000] == 16
    assert all(len(s.data) <= s.budget for s in points)


def test_both_looks_of_one_file_are_scored(small_codec: Callable[..., Codec], photos: list[Photo]) -> None:
    sharp = small_codec(b"look", image_size=256, patch_size=64, sharp_blocks=1)
    scorer = Scorer(["psnr"])
    points = {s.codec: s for s in score_codec(sharp, [(0, photos[0])], (20,), scorer)}
    assert tuple(points) == OWN
    natural, faithful = points[OURS], points[FAITHFUL]
    assert len(natural.data) == len(faithful.data) <= 20
    assert natural.score != faithful.score
    # Each file decodes, without being asked, to the look that was scored.
    for point in points.values():
        image = to_tensor([reconstructor(sharp, 256)(point)])
        assert psnr(to_tensor([photos[0].image]), image).item() == pytest.approx(point.score, abs=1e-4)


def test_ours_says_nothing_where_no_token_fits(codec: Codec, photos: list[Photo]) -> None:
    assert score_codec(codec, list(enumerate(photos)), (3,), Scorer(["psnr"])) == []


def test_score_is_that_of_the_file(codec: Codec, photos: list[Photo]) -> None:
    scorer = Scorer(["psnr"])
    points = [
        *score_codec(codec, [(0, photos[0])], (96,), scorer),
        *score_baseline(0, photos[0], "webp", (96,), scorer),
    ]
    reconstruct = reconstructor(codec, 256)
    for point in points:
        image = to_tensor([reconstruct(point)])
        assert psnr(to_tensor([photos[0].image]), image).item() == pytest.approx(point.score, abs=1e-4)


@pytest.mark.slow
def test_best_file_is_chosen_anew_for_each_metric_and_budget(photos: list[Photo]) -> None:
    points = score_baseline(0, photos[0], "webp", (96, 384), Scorer(["psnr", "ssim"]))
    assert {(s.budget, s.metric) for s in points} == {(b, m) for b in (96, 384) for m in ("psnr", "ssim")}
    by_key = {(s.budget, s.metric): s for s in points}
    assert by_key[384, "psnr"].score > by_key[96, "psnr"].score
    assert all(len(s.data) <= s.budget for s in points)
    # No other scale and quality that fits is better than the one chosen.
    webp, photo = image_format("webp"), photos[0].image
    for side in (16, 32):
        for quality in (0, 20, 40):
            data = webp.encode(photo.resize((side, side), Image.Resampling.LANCZOS), quality)
            if len(data) <= 384:
                again = to_tensor([webp.decode(data).resize((256, 256), Image.Resampling.BICUBIC)])
                assert psnr(to_tensor([photo]), again).item() <= by_key[384, "psnr"].score + 1e-4


@pytest.mark.slow
def test_whole_study_with_worker_processes(codec: Codec, photos: list[Photo]) -> None:
    found = PhotoSet(photos[:2], [Unreadable("broken.png", "not a picture")])
    ticks: list[tuple[int, int]] = []
    config = ComparisonConfig(("webp", "jpeg"), (384, 96), workers=1)
    result = compare(found, codec, config, Scorer(["psnr"]), lambda *tick: ticks.append(tick))
    assert result.budgets == (96, 384)
    assert ticks[-1] == (2 * 3, 2 * 3)
    assert sorted(ticks) == ticks
    assert result.codecs == (OURS, "webp", "jpeg")
    assert len(result.rd_points_of("webp", 96, "psnr")) == 2
    assert result.rd_points_of("jpeg", 96, "psnr") == []
    files = dict(export_files(result, reconstructor(codec, 256)))
    assert set(files) == {
        "results.csv",
        "curves/onedpiece.json",
        "curves/webp.json",
        "curves/jpeg.json",
        "rd.png",
        "side_by_side.png",
        "report.html",
    }
    assert b"broken.png" in files["report.html"]
    assert '"psnr-rgb"' in curves_json(result, result.codecs)


def test_plans_that_make_no_sense(codec: Codec, photos: list[Photo]) -> None:
    with pytest.raises(ValueError, match=r"budgets are \[0\]; give at least one"):
        ComparisonConfig(budgets=(0,))
    with pytest.raises(ValueError, match="batch_size is 0"):
        ComparisonConfig(batch_size=0)
    with pytest.raises(ValueError, match="no format 'heic'"):
        compare(PhotoSet(photos, []), codec, ComparisonConfig(("heic",)), Scorer(["psnr"]))
    with pytest.raises(ValueError, match="none of the photos could be read"):
        compare(PhotoSet([], []), codec, ComparisonConfig(("webp",)), Scorer(["psnr"]))
