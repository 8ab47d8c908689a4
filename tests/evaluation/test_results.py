import dataclasses

import pytest

from onedpiece.evaluation.results import OURS, Shot, Study, curve, deltas, point
from onedpiece.metrics.descriptors import METRICS

PSNR = METRICS["psnr"]


def test_point_is_the_mean_over_the_photos(study: Study) -> None:
    found = point(study, OURS, 96, PSNR)
    assert found is not None
    # (21 + 22 + 23) / 3
    assert found.score == pytest.approx(22)
    assert (found.budget, found.photos, found.tokens) == (96, 3, 16)
    assert found.bytes == len(study.shots_of(OURS, 96, "psnr")[0].data)


def test_codec_that_does_not_fit_has_no_point(study: Study) -> None:
    assert point(study, "jpeg", 96, PSNR) is None
    assert point(study, "webp", 16, PSNR) is None
    assert [p.budget for p in curve(study, "webp", PSNR)] == [96]


def test_fewer_than_95_per_cent_of_the_photos_make_no_point(study: Study) -> None:
    missing_one = [s for s in study.shots if (s.codec, s.photo) != ("webp", study.photos[0].name)]
    assert point(dataclasses.replace(study, shots=missing_one), "webp", 96, PSNR) is None


def test_deltas_say_why_there_are_none(study: Study) -> None:
    assert {(d.codec, d.rate, d.quality) for d in deltas(study, PSNR)} == {
        ("webp", "too few points", "too few points"),
        ("jpeg", "too few points", "too few points"),
    }


def test_deltas_of_a_metric_where_lower_is_better(study: Study) -> None:
    def shots(codec: str, scores: dict[int, float], shrink: int) -> list[Shot]:
        return [
            Shot(p.name, codec, b, "lpips", score, bytes(b // shrink), "")
            for p in study.photos
            for b, score in scores.items()
        ]

    scores = {100: 0.8, 200: 0.7, 400: 0.5}
    twice = dataclasses.replace(
        study,
        budgets=tuple(scores),
        codecs=(OURS, "webp"),
        shots=[*shots(OURS, scores, 2), *shots("webp", scores, 1)],
    )
    (delta,) = deltas(twice, METRICS["lpips"])
    # The same scores at half the bytes: −50 % of the rate, and a lower LPIPS at equal bytes.
    assert delta.rate == pytest.approx(-50)
    assert isinstance(delta.quality, float)
    assert delta.quality < 0


def test_no_overlap_is_said(study: Study) -> None:
    def shots(codec: str, start: float) -> list[Shot]:
        return [
            Shot(p.name, codec, b, "psnr", start + b / 16, bytes(b), "")
            for p in study.photos
            for b in study.budgets
        ]

    apart = dataclasses.replace(study, codecs=(OURS, "webp"), shots=[*shots(OURS, 30), *shots("webp", 10)])
    (delta,) = deltas(apart, PSNR)
    assert delta.rate == "no overlap"
    assert delta.quality == pytest.approx(20)


def test_budgets_above_the_largest_file_count_once(study: Study) -> None:
    def shots(codec: str, sizes: dict[int, int]) -> list[Shot]:
        return [
            Shot(p.name, codec, b, "psnr", 20 + size / 100, bytes(size), "")
            for p in study.photos
            for b, size in sizes.items()
        ]

    saturated = {100: 100, 200: 200, 400: 200}
    both = [*shots(OURS, saturated), *shots("webp", saturated)]
    wide = dataclasses.replace(study, budgets=(100, 200, 400), codecs=(OURS, "webp"), shots=both)
    (delta,) = deltas(wide, PSNR)
    # The same two files; the third point, equal to the second, would leave no inverse.
    assert delta.rate == pytest.approx(0)


def test_curve_that_falls_is_called_so(study: Study) -> None:
    def shots(codec: str, sign: int) -> list[Shot]:
        return [
            Shot(p.name, codec, b, "psnr", 20 + sign * b / 100, bytes(b), "")
            for p in study.photos
            for b in study.budgets
        ]

    falling = dataclasses.replace(study, codecs=(OURS, "webp"), shots=[*shots(OURS, -1), *shots("webp", 1)])
    assert deltas(falling, PSNR)[0].rate == "not monotone"
