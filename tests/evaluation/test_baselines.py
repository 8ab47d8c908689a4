from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from PIL import Image

from onedpiece.errors import ExternalCodecError
from onedpiece.evaluation import baselines
from onedpiece.evaluation.baselines import SCALES, Candidate, candidates, restore
from onedpiece.evaluation.formats import image_format
from onedpiece.metrics.descriptors import METRICS


@dataclass
class Fake:
    """Writes side · quality bytes, so that what fits can be worked out by hand."""

    name: str = "fake"
    qualities: Sequence[int] = range(1, 11)
    scales: bool = True
    calls: list[tuple[int, int]] = field(default_factory=list)

    def encode(self, image: Image.Image, quality: int) -> bytes:
        self.calls.append((image.width, quality))
        return bytes([image.width]) + bytes(image.width * quality - 1)

    def decode(self, data: bytes) -> Image.Image:
        return Image.new("RGB", (data[0], data[0]))


def test_highest_quality_that_fits_at_each_scale() -> None:
    image = Image.new("RGB", (64, 64))
    found = {c.setting: len(c.data) for c in candidates(image, Fake(), [100])}
    # Side 8: 8·q ≤ 100 allows all ten qualities, 80 bytes; side 16: q 6, 96 bytes; 32: q 3; 64: q 1.
    assert found["8x8 q10"] == 80
    assert found["16x16 q6"] == 96
    assert found["32x32 q3"] == 96
    assert found["64x64 q1"] == 64
    assert all(size <= 100 for size in found.values())


def test_every_budget_gets_its_own_and_none_comes_twice() -> None:
    image = Image.new("RGB", (64, 64))
    settings = [c.setting for c in candidates(image, Fake(), [64, 100])]
    assert {"16x16 q4", "16x16 q6", "64x64 q1"} <= set(settings)
    assert len(settings) == len(set(settings))


def test_search_stops_at_the_scale_that_fits_nothing() -> None:
    fake = Fake()
    candidates(Image.new("RGB", (256, 256)), fake, [20])
    # Side 24 at quality 1 is 24 bytes and fits nothing: it is looked at, side 28 is not.
    assert max(side for side, _ in fake.calls) == 24


def test_nothing_fits() -> None:
    assert candidates(Image.new("RGB", (8, 8)), image_format("jpeg"), [100]) == []


def test_sizes_that_are_not_monotone_are_looked_past() -> None:
    class Bumpy(Fake):
        def encode(self, image: Image.Image, quality: int) -> bytes:
            # Quality 5 is larger than 6: bisection alone would stop at 4.
            return bytes({5: 70}.get(quality, quality * 10))

    found = candidates(Image.new("RGB", (8, 8)), Bumpy(scales=False), [65])
    assert [c.setting for c in found] == ["8x8 q6"]


@pytest.mark.parametrize(("bump", "found"), [(1, 8), (2, 8), (3, 5)])
def test_look_ahead_reaches_past_a_bump_where_bisection_looks(bump: int, found: int) -> None:
    class Bumpy(Fake):
        def encode(self, image: Image.Image, quality: int) -> bytes:
            # Quality 6, where bisection looks first, and the next ones overshoot.
            return bytes(70 if 6 <= quality < 6 + bump else 6 * quality)

    # Bisection ends at 5; the three settings behind it are tried too, of which 7 and 8 may fit.
    settings = [c.setting for c in candidates(Image.new("RGB", (8, 8)), Bumpy(scales=False), [65])]
    assert settings == [f"8x8 q{found}"]


def test_webp_is_hardly_ever_given_less_than_the_best_that_fits(drawing: Image.Image) -> None:
    webp = image_format("webp")
    sizes = [len(webp.encode(drawing, quality)) for quality in webp.qualities]
    # Where a higher quality makes a smaller file, a search that stops at the first that is too large loses.
    dips = [quality for quality in webp.qualities if sizes[quality] < max(sizes[: quality + 1])]
    assert len(dips) > 10  # or this test would tell nothing
    reached = 0
    for quality in dips:
        found = baselines._highest_that_fit(webp, drawing, [sizes[quality]])
        reached += found[0][1] >= quality
    assert reached > 0.8 * len(dips)


def test_whole_real_files_within_the_budget(photo: Image.Image) -> None:
    webp = image_format("webp")
    found = candidates(photo, webp, [96])
    assert found
    for candidate in found:
        assert len(candidate.data) <= 96
        assert restore(webp, candidate.data, photo.size).size == photo.size


def test_scales_reach_from_one_pixel_to_the_whole_photo() -> None:
    assert SCALES[0] == 1 / 256
    assert SCALES[-1] == 1
    assert list(SCALES) == sorted(SCALES)


def test_restore_leaves_a_full_size_picture_alone() -> None:
    image = restore(Fake(), bytes([64]) + bytes(9), (64, 64))
    assert image.size == (64, 64)
    with pytest.raises(IndexError):
        restore(Fake(), b"", (64, 64))


def test_a_small_picture_comes_back_smooth() -> None:
    class Edge(Fake):
        def decode(self, data: bytes) -> Image.Image:
            edge = Image.new("RGB", (2, 1))
            edge.putpixel((1, 0), (255, 255, 255))
            return edge

    assert len(restore(Edge(), b"", (16, 1)).getcolors()) > 4


def test_the_best_of_what_fits_is_each_metrics_own() -> None:
    files = [Candidate(bytes(size), "") for size in (10, 20, 30)]
    assert baselines._best(files, [0.5, 0.2, 0.1], 20, METRICS["lpips"]) == 1  # the third is too large
    assert baselines._best(files, [31.0, 30.0, 40.0], 20, METRICS["psnr"]) == 0
    assert baselines._best(files, [31.0, 30.0, 40.0], 9, METRICS["psnr"]) is None


@pytest.mark.parametrize("smallest", [16, 65])
def test_a_codec_may_refuse_small_pictures_and_not_the_photo(smallest: int) -> None:
    class Choosy(Fake):
        def encode(self, image: Image.Image, quality: int) -> bytes:
            if image.width < smallest:
                raise ExternalCodecError("too small")
            return super().encode(image, quality)

    image = Image.new("RGB", (64, 64))
    if smallest > 64:
        with pytest.raises(ExternalCodecError, match="too small"):
            candidates(image, Choosy(), [100])
    else:
        assert min(len(c.data) for c in candidates(image, Choosy(), [100])) >= 16
