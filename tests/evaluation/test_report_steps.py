"""The report's token slider and its blink comparison, as data and in headless Chromium."""

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.evaluation.export import report_html
from onedpiece.evaluation.results import OURS, ComparisonResult, RDPoint

from . import browser

pytestmark = pytest.mark.slow  # starts Chromium

SOURCE = "return document.getElementById('shown').src"
TOLD = "return document.getElementById('told').textContent"


def _paint(point: RDPoint) -> Image.Image:
    if point.codec != OURS:
        return Image.new("RGB", (256, 256), "lime")
    return Image.new("RGB", (256, 256), (len(Code.from_bytes(point.data)) * 10, 0, 0))


def test_steps_are_the_budgets_and_shorter_prefixes(result: ComparisonResult) -> None:
    page = report_html(result, _paint)
    photo = json.loads(page.split('id="data">')[1].split("</script>")[0])["photos"][0]
    # 7 bytes of header and 12 bits a token: 9, 13 and 31; 4 and 16 tokens are those of the budgets.
    sizes = [(step["tokens"], step["bytes"]) for step in photo["steps"]]
    assert sizes == [(1, 9), (4, 13), (16, 31)]
    assert [step.get("budget") for step in photo["steps"]] == [None, 0, 1]
    assert photo["steps"][0]["src"].startswith("data:image/webp;base64,")


def test_no_file_of_ours_no_steps(result: ComparisonResult) -> None:
    others = [point for point in result.rd_points if point.codec != OURS]
    page = report_html(dataclasses.replace(result, rd_points=others), _paint)
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [photo["steps"] for photo in data["photos"]] == [[], [], []]


@pytest.fixture(params=[1280, 390])
def page(
    request: pytest.FixtureRequest, result: ComparisonResult, tmp_path: Path
) -> Iterator[browser.Browser]:
    if not browser.installed():
        pytest.skip("Chromium is not here: apt-get install chromium chromium-driver")
    path = tmp_path / "report.html"
    path.write_text(report_html(result, _paint), encoding="utf-8")
    with browser.browsing(tmp_path / "profile", request.param) as opened:
        opened.open(path)
        yield opened


def _slide(page: browser.Browser, step: int) -> None:
    page.run(f"tokens.value = {step}; tokens.dispatchEvent(new Event('input'))")


def test_slider_and_blink(page: browser.Browser) -> None:
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    assert page.run(TOLD) == "16 tokens, 31 bytes"
    seen = set()
    for step, text in enumerate(("1 token, 9 bytes", "4 tokens, 13 bytes")):
        _slide(page, step)
        assert page.run(TOLD) == text
        seen.add(page.run(SOURCE))
    assert len(seen) == 2
    _blinks(page)
    assert page.complaints() == []


def _wait(page: browser.Browser, script: str) -> None:
    for _ in range(100):
        if page.run(script):
            return
        time.sleep(0.05)
    raise TimeoutError(script)


def _blinks(page: browser.Browser) -> None:
    page.run("document.getElementById('blink').click()")
    # 13 bytes: the next larger budget is 16, which WebP does not fit
    _wait(page, "return lacks.checkVisibility() && lacks.textContent === 'does not fit 16 bytes'")
    _wait(page, "return !lacks.checkVisibility() && shown.checkVisibility()")
    page.run("document.getElementById('blink').click()")
    _slide(page, 2)
    ours = page.run(SOURCE)
    page.run("document.getElementById('blink').click()")
    _wait(page, f"return document.getElementById('shown').src !== {ours!r}")
    _wait(page, "return told.textContent.includes('; WebP: ')")
    page.run("document.getElementById('blink').click()")
    assert page.run(SOURCE) == ours
