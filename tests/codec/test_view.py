"""Views follow from their name and the photo's key."""

import numpy as np
import pytest

from onedpiece.codec.view import MIN_CROP_AREA, PLAIN, View, pixel_box, view_named


def test_plain_and_flip() -> None:
    assert view_named("plain", "a") == PLAIN == View((0, 0, 1, 1), False)
    assert view_named("flip", "a") == View((0, 0, 1, 1), True)


def test_crops_depend_on_the_name_and_the_photo_only() -> None:
    crop = view_named("crop1", "a")
    assert crop == view_named("crop1", "a")
    assert len({crop, view_named("crop2", "a"), view_named("crop1", "b")}) == 3


def test_crops_lie_in_the_photo_and_are_not_too_small() -> None:
    views = [view_named("crop1", str(key)) for key in range(300)]
    for left, top, right, bottom in (view.box for view in views):
        assert 0 <= left < right <= 1 + 1e-9
        assert 0 <= top < bottom <= 1 + 1e-9
        # clipping a side at 1 may cost up to the skew of exp(0.2)
        assert (right - left) * (bottom - top) >= MIN_CROP_AREA / np.exp(0.2)
    assert 100 < sum(view.flip for view in views) < 200


def test_an_unknown_variant_is_named() -> None:
    with pytest.raises(ValueError, match="variants has 'zoom'; use plain, flip, crop1"):
        view_named("zoom", "a")


def test_a_box_in_pixels_is_never_empty() -> None:
    assert pixel_box((0.25, 0.5, 0.75, 1.0), 12, 8) == (3, 4, 9, 8)
    assert pixel_box((0.0, 0.4, 0.1, 0.41), 1, 1) == (0, 0, 1, 1)
