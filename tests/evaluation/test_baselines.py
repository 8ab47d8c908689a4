from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from PIL import Image

from onedpiece.evaluation.baselines import SHARES, candidates, restore
from onedpiece.evaluation.formats import image_format


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


def test_whole_real_files_within_the_budget(photo: Image.Image) -> None:
    webp = image_format("webp")
    found = candidates(photo, webp, [96])
    assert found
    for candidate in found:
        assert len(candidate.data) <= 96
        assert restore(webp, candidate.data, photo.size).size == photo.size


def test_scales_reach_from_one_pixel_to_the_whole_photo() -> None:
    assert SHARES[0] == 1 / 256
    assert SHARES[-1] == 1
    assert list(SHARES) == sorted(SHARES)


def test_restore_leaves_a_full_size_picture_alone() -> None:
    image = restore(Fake(), bytes([64]) + bytes(9), (64, 64))
    assert image.size == (64, 64)
    with pytest.raises(IndexError):
        restore(Fake(), b"", (64, 64))
