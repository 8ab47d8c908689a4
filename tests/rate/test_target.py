import pytest

from onedpiece.rate import QualityTarget
from onedpiece.rate.target import RateTarget


@pytest.mark.parametrize(
    ("target", "score", "margin"),
    [
        (QualityTarget("psnr", 20), 21.5, 1.5),  # 21.5 - 20
        (QualityTarget("ssim", 0.5), 0.25, -0.25),
        (QualityTarget("lpips", 0.5), 0.25, 0.25),  # less is better
    ],
)
def test_a_margin_is_how_much_better(target: QualityTarget, score: float, margin: float) -> None:
    assert target.margin(score) == margin


@pytest.mark.parametrize(
    ("metric", "value", "message"),
    [
        ("vmaf", 1.0, "no metric 'vmaf' to reach; there are: psnr, ssim, lpips"),
        ("psnr", -1.0, "psnr is -1.0; give 0 to 100 dB"),
        ("psnr", float("nan"), "psnr is nan"),
        ("ssim", 1.1, "ssim is 1.1; give -1 to 1"),
        ("lpips", float("inf"), "lpips is inf"),
    ],
)
def test_targets_that_are_none(metric: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QualityTarget(metric, value)


def test_out_of_reach_is_one_line_with_the_best_there_is() -> None:
    error = QualityTarget("psnr", 40).out_of_reach(21.456, 256)
    assert error.message == "PSNR 40 dB is out of reach: the best is 21.46 dB, with 256 tokens"
    assert str(error) == error.message + "; take that with best_effort=True"
    assert (error.score, error.tokens) == (21.456, 256)


def test_an_aim_is_one_wish() -> None:
    assert RateTarget().quality is None
    assert RateTarget(lpips=0.4).quality == QualityTarget("lpips", 0.4)
    with pytest.raises(ValueError, match="give tokens or psnr, not both"):
        RateTarget(tokens=3, psnr=20)
    with pytest.raises(ValueError, match="give max_bytes or bpp or ssim, not all of them"):
        RateTarget(max_bytes=30, bpp=0.1, ssim=0.4)
    with pytest.raises(ValueError, match="psnr is 900"):
        RateTarget(psnr=900)


def test_bits_a_pixel_are_bytes() -> None:
    # 0.05 bits a pixel of 481×321: 0.05 · 154,401 / 8 = 965.006 bytes
    assert RateTarget(bpp=0.05).bytes_for((481, 321)) == 965
    assert RateTarget(max_bytes=77).bytes_for((481, 321)) == 77
    assert RateTarget().bytes_for((481, 321)) is None
    for bpp in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="bpp is "):
            RateTarget(bpp=bpp)
