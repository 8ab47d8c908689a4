"""The page, as text here and in a real browser in test_report_browser.py."""

import dataclasses
import json
import re

import pytest
from PIL import Image

from onedpiece.evaluation.photos import Photo
from onedpiece.evaluation.report import MAX_PHOTOS, report_html, shown_photos
from onedpiece.evaluation.results import OURS, Shot, Study


def _paint(shot: Shot) -> Image.Image:
    return Image.new("RGB", (256, 256), "red" if shot.codec == OURS else "lime")


@pytest.fixture
def page(study: Study) -> str:
    return report_html(study, _paint)


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
    assert "<td>&ndash;</td>" in page
    assert "too few points" in page


def test_names_are_escaped(page: str, study: Study) -> None:
    assert "br&lt;oken&gt;.png (not a picture)" in page
    hostile = dataclasses.replace(study, model="</script><b>")
    data = report_html(hostile, _paint).split('id="data">')[1].split("</script>")[0]
    assert json.loads(data)["codecs"][0]["name"] == "</script><b>"


def test_data_has_every_photo_codec_and_budget(page: str, study: Study) -> None:
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["budgets"] == [16, 96]
    assert [photo["name"] for photo in data["photos"]] == [photo.name for photo in study.photos]
    shots = data["photos"][0]["shots"]
    assert [bool(shot) for shot in shots["webp"]] == [False, True]
    assert [bool(shot) for shot in shots["jpeg"]] == [False, False]
    assert shots[OURS][1]["src"].startswith("data:image/webp;base64,")


def test_a_few_photos_are_shown_evenly_spread() -> None:
    photos = [Photo(str(n), Image.new("RGB", (1, 1))) for n in range(100)]
    assert [photo.name for photo in shown_photos(photos)] == ["0", "16", "33", "50", "66", "83"]
    assert len(shown_photos(photos)) == MAX_PHOTOS
    assert len(shown_photos(photos[:2])) == 2


def test_one_codec_alone_has_no_delta_table(study: Study) -> None:
    alone = dataclasses.replace(study, codecs=(OURS,))
    assert "Ours against each" not in report_html(alone, _paint)
