import dataclasses
from math import inf

import pytest

from onedpiece.evaluation.external import PublishedCurve
from onedpiece.evaluation.results import OURS, ComparisonResult, RDPoint, curve, curve_point, deltas
from onedpiece.metrics.descriptors import METRICS

PSNR = METRICS["psnr"]


def test_point_is_the_mean_over_the_photos(result: ComparisonResult) -> None:
    found = curve_point(result, OURS, 96, PSNR)
    assert found is not None
    # (21 + 22 + 23) / 3
    assert found.score == pytest.approx(22)
    assert (found.budget, found.photos, found.tokens) == (96, 3, 16)
    assert found.bytes == len(result.rd_points_of(OURS, 96, "psnr")[0].data)


def test_codec_that_does_not_fit_has_no_point(result: ComparisonResult) -> None:
    assert curve_point(result, "jpeg", 96, PSNR) is None
    assert curve_point(result, "webp", 16, PSNR) is None
    assert [p.budget for p in curve(result, "webp", PSNR)] == [96]


def test_a_published_curves_point_is_the_largest_that_fits(result: ComparisonResult) -> None:
    columns = {"bpp": [3 / 256, 1 / 256, 0.0101, 0.02], "psnr-rgb": [24.0, 20.0, 22.0, 30.0]}
    there = dataclasses.replace(result, codecs=(OURS, "x"), published={"x": PublishedCurve("x", "", columns)})
    # Of 65,536 pixels, 8,192 bytes a bit: 32, 82.7 (which 83 allow), 96 and 163.8.
    assert [p.budget for p in curve(there, "x", PSNR)] == [32, 83, 96, 164]
    found = [curve_point(there, "x", budget, PSNR) for budget in (16, 95, 96)]
    assert [p and (p.budget, round(p.bytes), p.score) for p in found] == [None, (95, 83, 22), (96, 96, 24)]


def test_pictures_are_chosen_by_what_is_closest_to_eyes(result: ComparisonResult) -> None:
    assert result.display_metric.name == "lpips"
    assert dataclasses.replace(result, metrics=(METRICS["psnr"],)).display_metric is PSNR


def test_fewer_than_95_per_cent_of_the_photos_make_no_point(result: ComparisonResult) -> None:
    missing_one = [s for s in result.rd_points if (s.codec, s.photo) != ("webp", 0)]
    assert curve_point(dataclasses.replace(result, rd_points=missing_one), "webp", 96, PSNR) is None


def test_deltas_say_why_there_are_none(result: ComparisonResult) -> None:
    assert {(d.codec, d.rate, d.quality) for d in deltas(result, PSNR)} == {
        ("webp", "too few points", "too few points"),
        ("jpeg", "too few points", "too few points"),
    }


def test_deltas_of_a_metric_where_lower_is_better(result: ComparisonResult) -> None:
    def points(codec: str, scores: dict[int, float], shrink: int) -> list[RDPoint]:
        return [
            RDPoint(at, codec, b, "lpips", score, bytes(b // shrink), "")
            for at in range(len(result.photos))
            for b, score in scores.items()
        ]

    scores = {100: 0.8, 200: 0.7, 400: 0.5}
    twice = dataclasses.replace(
        result,
        budgets=tuple(scores),
        codecs=(OURS, "webp"),
        rd_points=[*points(OURS, scores, 2), *points("webp", scores, 1)],
    )
    (delta,) = deltas(twice, METRICS["lpips"])
    # The same scores at half the bytes: −50 % of the rate, and a lower LPIPS at equal bytes.
    assert delta.rate == pytest.approx(-50)
    assert isinstance(delta.quality, float)
    assert delta.quality < 0


def test_no_overlap_is_said(result: ComparisonResult) -> None:
    def points(codec: str, start: float) -> list[RDPoint]:
        return [
            RDPoint(at, codec, b, "psnr", start + b / 16, bytes(b), "")
            for at in range(len(result.photos))
            for b in result.budgets
        ]

    apart = dataclasses.replace(
        result, codecs=(OURS, "webp"), rd_points=[*points(OURS, 30), *points("webp", 10)]
    )
    (delta,) = deltas(apart, PSNR)
    assert delta.rate == "no overlap"
    assert delta.quality == pytest.approx(20)


def test_budgets_above_the_largest_file_count_once(result: ComparisonResult) -> None:
    def points(codec: str, sizes: dict[int, int]) -> list[RDPoint]:
        return [
            RDPoint(at, codec, b, "psnr", 20 + size / 100, bytes(size), "")
            for at in range(len(result.photos))
            for b, size in sizes.items()
        ]

    saturated = {100: 100, 200: 200, 400: 200}
    both = [*points(OURS, saturated), *points("webp", saturated)]
    wide = dataclasses.replace(result, budgets=(100, 200, 400), codecs=(OURS, "webp"), rd_points=both)
    (delta,) = deltas(wide, PSNR)
    # The same two files; the third point, equal to the second, would leave no inverse.
    assert delta.rate == pytest.approx(0)


def test_curve_that_falls_is_called_so(result: ComparisonResult) -> None:
    def points(codec: str, sign: int) -> list[RDPoint]:
        return [
            RDPoint(at, codec, b, "psnr", 20 + sign * b / 100, bytes(b), "")
            for at in range(len(result.photos))
            for b in result.budgets
        ]

    falling = dataclasses.replace(
        result, codecs=(OURS, "webp"), rd_points=[*points(OURS, -1), *points("webp", 1)]
    )
    assert deltas(falling, PSNR)[0].rate == "not monotone"


def test_two_photos_of_one_name_are_two(result: ComparisonResult) -> None:
    twins = [photo._replace(name="x.png") for photo in result.photos]
    same = dataclasses.replace(result, photos=twins)
    # (21 + 22 + 23) / 3; by name, all three would have the last one's score.
    assert [p.score for p in same.rd_points_of(OURS, 96, "psnr")] == [21, 22, 23]


def test_lossless_photos_are_counted_apart(result: ComparisonResult) -> None:
    def perfect(*places: int) -> ComparisonResult:
        exact = [p._replace(score=inf) if p.photo in places else p for p in result.rd_points]
        return dataclasses.replace(result, rd_points=exact)

    some, all_ = (curve_point(perfect(*places), OURS, 96, PSNR) for places in ((2,), (0, 1, 2)))
    assert some is not None
    assert all_ is not None
    # (21 + 22) / 2
    assert (some.score, some.photos, some.lossless) == (21.5, 3, 1)
    assert (all_.score, all_.photos, all_.lossless) == (inf, 3, 3)
    assert [d.rate for d in deltas(perfect(0, 1, 2), PSNR)] == ["too few points"] * 2
