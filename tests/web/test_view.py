"""What the demo page shows, without gradio or a browser."""

from pathlib import Path

import pytest
from PIL import Image

from onedpiece.bitstream import Code, Tiles
from onedpiece.codec import Codec
from onedpiece.metrics.pixel import image_psnr
from onedpiece.web.view import MAX_SIDE, best_webp, bounded, problem, read_upload, render, steps


def test_sizes_are_bounded() -> None:
    assert bounded((451, 300)) == (451, 300)
    assert bounded((2 * MAX_SIDE, 600)) == (MAX_SIDE, 300)
    assert bounded((65_535, 1)) == (MAX_SIDE, 1)


def test_animation_grows_by_a_quarter() -> None:
    assert steps(1) == [1]
    # 8 · 5 / 4 = 10, 10 · 5 / 4 = 12, and so on
    assert steps(17) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 17]


def test_best_webp_fits_and_gains_by_bytes(photo: Image.Image) -> None:
    assert best_webp(photo, 20) is None
    small, large = best_webp(photo, 100), best_webp(photo, 400)
    assert small is not None
    assert large is not None
    assert len(small.data) <= 100 < len(large.data) <= 400
    assert small.picture.size == photo.size
    assert image_psnr(photo, small.picture) < image_psnr(photo, large.picture)


def test_a_header_that_says_much_is_drawn_small(codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / "wide.odp"
    Code([1, 2], 4096, codec.fingerprint, (65_535, 2_700)).save(path)
    upload = read_upload(codec, str(path))
    assert upload.size == (MAX_SIDE, 32)
    html = render(codec, upload, 64, 1.0, None)
    assert "2 of 2 tokens" in html
    assert "WebP" not in html.replace("image/webp", "")


def test_a_photo_keeps_its_size_in_the_file(codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.linear_gradient("L").resize((1000, 500)).save(path)
    upload = read_upload(codec, str(path))
    assert upload.code.size == (1000, 500)
    assert upload.photo is not None
    assert upload.photo.size == upload.size == (MAX_SIDE, 384)
    html = render(codec, upload, 4, 0.0, None)
    assert html.count("<figure") == 3
    assert "PSNR" in html
    size = len(upload.code[:4].to_bytes())
    assert f"{size} bytes, {8 * size / 500_000:.4f} bpp" in html  # of the photo, not of the page's copy
    quick = render(codec, upload, 4, 0.0, None, quick=True)
    assert quick.count("<figure") == 2
    assert "PSNR" not in quick


def test_tiles_are_refused(codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / "tiles.odp"
    Code([0] * 40, 4096, codec.fingerprint, (481, 321), Tiles(256, 16, (10,) * 4)).save(path)
    with pytest.raises(ValueError, match="cut into tiles"):
        read_upload(codec, str(path))


def test_a_problem_is_one_escaped_sentence() -> None:
    said = problem(ValueError("a <b>\n is  wrong"))
    assert said == '<p class="odp-problem" role="alert">A &lt;b&gt; is wrong.</p>'
