"""The page, as text here and in a real browser in test_report_browser.py."""

import dataclasses
import json
import re

import pytest
from PIL import Image

from onedpiece.evaluation.export import MAX_PHOTOS, report_html, shown_photos
from onedpiece.evaluation.results import OURS, ComparisonResult, RDPoint


def _paint(point: RDPoint) -> Image.Image:
    return Image.new("RGB", (256, 256), "red" if point.codec == OURS else "lime")


@pytest.fixture
def page(result: ComparisonResult) -> str:
    return report_html(result, _paint)


def test_page_is_whole_and_asks_no_network(page: str) -> None:
    assert page.startswith("<!doctype html>")
    assert "@@" not in page
    assert "default-src 'none'" in page
    addresses = re.findall(r"""(?:src|href|action)=["']?([^"'> ]+)|url\(([^)]+)\)""", page)
    outside = [a for pair in addresses for a in pair if a and not a.startswith(("#", "data:"))]
    assert outside == []


def test_tables_hold_the_means_and_mark_the_best(page: str) -> None:
    assert '<td class="best">22.00</td>' in page  # ours at 96 bytes: (21 + 22 + 23) / 3
    assert "<td>20.00</td>" in page  # WebP at 96 bytes: (19 + 20 + 21) / 3
    assert "<td>\N{EN DASH}</td>" in page
    assert "too few points" in page


def test_names_are_escaped(page: str, result: ComparisonResult) -> None:
    assert "br&lt;oken&gt;.png (not a picture)" in page
    hostile = dataclasses.replace(result, model="</script><b>")
    data = report_html(hostile, _paint).split('id="data">')[1].split("</script>")[0]
    assert json.loads(data)["codecs"][0]["name"] == "</script><b>"


def test_data_has_every_photo_codec_and_budget(page: str, result: ComparisonResult) -> None:
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["budgets"] == [16, 96]
    assert [photo["name"] for photo in data["photos"]] == [photo.name for photo in result.photos]
    points = data["photos"][0]["files"]
    assert [bool(point) for point in points["webp"]] == [False, True]
    assert [bool(point) for point in points["jpeg"]] == [False, False]
    assert points[OURS][1]["src"].startswith("data:image/webp;base64,")


def test_a_few_photos_are_shown_evenly_spread() -> None:
    assert shown_photos(100) == [0, 16, 33, 50, 66, 83]
    assert len(shown_photos(100)) == MAX_PHOTOS
    assert shown_photos(2) == [0, 1]


def test_one_codec_alone_has_no_delta_table(result: ComparisonResult) -> None:
    alone = dataclasses.replace(result, codecs=(OURS,))
    assert "Ours against each" not in report_html(alone, _paint)
