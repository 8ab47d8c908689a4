"""The fuzzer as CI runs it; `tools/fuzz_pictures.py` says what it throws and what it allows."""

import pytest

from tools.fuzz_pictures import damaged, run, seeds


@pytest.mark.parametrize("count", [30, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_pictures_meet_named_errors_only(count: int) -> None:
    outcomes = run(count, seed=count, workers=0)
    assert [outcome for outcome in outcomes if outcome.failure] == []
    verdicts = {outcome.verdict for outcome in outcomes}
    assert verdicts == {"read RGB", "PictureError"}  # or nothing beyond the first bytes would have been tried


def test_every_usual_format_takes_part() -> None:
    assert {"JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "JPEG2000", "PPM", "TGA", "QOI"} <= set(
        seeds()
    )


def test_an_input_is_the_same_in_every_run() -> None:
    assert damaged(7, 1) == damaged(7, 1)
    assert damaged(7, 1).data != damaged(7, 2).data
