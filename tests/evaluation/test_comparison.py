import pytest
from PIL import Image

from onedpiece.codec import Codec
from onedpiece.codec.tensors import to_tensor
from onedpiece.evaluation.baselines import score_classical
from onedpiece.evaluation.comparison import Plan, compare, reconstructor, score_ours
from onedpiece.evaluation.export import artefacts, curves_json
from onedpiece.evaluation.formats import image_format
from onedpiece.evaluation.photos import Photo, PhotoSet, Unreadable
from onedpiece.evaluation.results import OURS
from onedpiece.metrics.pixel import psnr
from onedpiece.metrics.registry import Scorer


def test_ours_takes_the_most_tokens_that_fit(codec: Codec, photos: list[Photo]) -> None:
    shots = score_ours(codec, photos, (9, 20, 1000), Scorer(["psnr"]))
    code = codec.encode(photos[0].image)
    longest = max(k for k in range(1, 17) if len(code[:k].to_bytes()) <= 20)
    tokens = {(s.photo, s.budget): s.tokens for s in shots}
    assert tokens["astronaut.png", 20] == longest
    assert tokens["astronaut.png", 1000] == 16
    assert all(len(s.data) <= s.budget for s in shots)


def test_ours_says_nothing_where_no_token_fits(codec: Codec, photos: list[Photo]) -> None:
    assert score_ours(codec, photos, (3,), Scorer(["psnr"])) == []


def test_score_is_that_of_the_file(codec: Codec, photos: list[Photo]) -> None:
    scorer = Scorer(["psnr"])
    shots = [
        *score_ours(codec, photos[:1], (96,), scorer),
        *score_classical(photos[0], "webp", (96,), scorer),
    ]
    reconstruct = reconstructor(codec, 256)
    for shot in shots:
        image = to_tensor([reconstruct(shot)])
        assert psnr(to_tensor([photos[0].image]), image).item() == pytest.approx(shot.score, abs=1e-4)


def test_best_file_is_chosen_anew_for_each_metric_and_budget(photos: list[Photo]) -> None:
    shots = score_classical(photos[0], "webp", (96, 384), Scorer(["psnr", "ssim"]))
    assert {(s.budget, s.metric) for s in shots} == {(b, m) for b in (96, 384) for m in ("psnr", "ssim")}
    by_key = {(s.budget, s.metric): s for s in shots}
    assert by_key[384, "psnr"].score > by_key[96, "psnr"].score
    assert all(len(s.data) <= s.budget for s in shots)
    # No other scale and quality that fits is better than the one chosen.
    webp, photo = image_format("webp"), photos[0].image
    for side in (16, 32):
        for quality in (0, 20, 40):
            data = webp.encode(photo.resize((side, side), Image.Resampling.LANCZOS), quality)
            if len(data) <= 384:
                again = to_tensor([webp.decode(data).resize((256, 256), Image.Resampling.BICUBIC)])
                assert psnr(to_tensor([photo]), again).item() <= by_key[384, "psnr"].score + 1e-4


def test_whole_study_with_worker_processes(codec: Codec, photos: list[Photo]) -> None:
    found = PhotoSet(photos[:2], [Unreadable("broken.png", "not a picture")])
    ticks: list[int] = []
    study = compare(
        found, codec, Plan(("webp", "jpeg"), (384, 96), workers=1), Scorer(["psnr"]), ticks.append
    )
    assert study.budgets == (96, 384)
    assert sum(ticks) == 2 * 3
    assert study.codecs == (OURS, "webp", "jpeg")
    assert len(study.shots_of("webp", 96, "psnr")) == 2
    assert study.shots_of("jpeg", 96, "psnr") == []
    files = dict(artefacts(study, reconstructor(codec, 256)))
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
    assert '"psnr-rgb"' in curves_json(study, study.codecs)


def test_plans_that_make_no_sense(codec: Codec, photos: list[Photo]) -> None:
    with pytest.raises(ValueError, match=r"budgets are \[0\]; give at least one"):
        Plan(budgets=(0,))
    with pytest.raises(ValueError, match="no format 'heic'"):
        compare(PhotoSet(photos, []), codec, Plan(("heic",)), Scorer(["psnr"]))
    with pytest.raises(ValueError, match="none of the photos could be read"):
        compare(PhotoSet([], []), codec, Plan(("webp",)), Scorer(["psnr"]))
