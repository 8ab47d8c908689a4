"""The page in headless Chromium: it draws, it can be dragged, it fits a phone, and it asks no network."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from onedpiece.evaluation.export import report_html
from onedpiece.evaluation.results import OURS, ComparisonResult, RDPoint

from . import browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not browser.installed(), reason="Chromium is not here: apt-get install chromium chromium-driver"
    ),
]


def _paint(point: RDPoint) -> Image.Image:
    return Image.new("RGB", (256, 256), "red" if point.codec == OURS else "lime")


@pytest.fixture
def page_file(result: ComparisonResult, tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(report_html(result, _paint), encoding="utf-8")
    return path


@pytest.fixture(params=[1280, 390])
def page(request: pytest.FixtureRequest, page_file: Path, tmp_path: Path) -> Iterator[browser.Browser]:
    with browser.browsing(tmp_path / "profile", request.param) as opened:
        opened.open(page_file)
        opened.width = request.param
        yield opened


def test_page_works(page: browser.Browser) -> None:
    # Everything in one visit: starting a browser takes longer than all of it.
    assert page.run("return innerWidth") == page.width
    assert page.run("return document.documentElement.scrollWidth") <= page.width
    _cards_hold_pictures(page)
    _divider_can_be_dragged(page)
    _budget_can_be_chosen(page)
    _small_text_can_be_read(page)
    _network_was_not_asked(page)


def _cards_hold_pictures(page: browser.Browser) -> None:
    assert page.run("return document.querySelectorAll('.card').length") == 3
    drawn = (
        "return [...document.querySelectorAll('.card img')].every(i => i.complete && i.naturalWidth === 256)"
    )
    assert page.run(drawn)
    assert page.run("return document.querySelectorAll('.panels svg').length") == 2
    texts = page.run("return [...document.querySelectorAll('.card figcaption')].map(c => c.textContent)")
    assert texts[0].startswith("onedpiece tiny")
    assert texts[2] == "jpeg\N{EN DASH}"
    assert (
        page.run("return document.querySelector('.card:last-child .none').textContent")
        == "does not fit 96 bytes"
    )


def _divider_can_be_dragged(page: browser.Browser) -> None:
    assert page.run("return getComputedStyle(cards).getPropertyValue('--x')") == "50%"
    page.run("document.querySelector('.card').scrollIntoView({block: 'center'})")
    page.drag(".card input", 60)
    position = page.run("return parseFloat(cards.style.getPropertyValue('--x'))")
    width = page.run("return document.querySelector('.pair').clientWidth")
    # 60 pixels to the right of the middle; the slider's thumb takes a few.
    assert position == pytest.approx(50 + 100 * 60 / width, abs=5)
    # All cards move together.
    assert set(page.run("return [...document.querySelectorAll('.card input')].map(i => i.value)")) == {
        str(position)
    }


def _budget_can_be_chosen(page: browser.Browser) -> None:
    page.click("#budgets button")
    assert page.run("return document.querySelectorAll('.card .none').length") == 2
    pressed = "return [...document.querySelectorAll('#budgets [aria-pressed=true]')].map(b => b.textContent)"
    assert page.run(pressed) == ["16"]
    page.click("#lefts button:last-child")
    assert page.run("return document.querySelector('.tag.l').textContent") == "onedpiece tiny"


def _small_text_can_be_read(page: browser.Browser) -> None:
    sizes = "return [...document.querySelectorAll('p, td, th, figcaption, button')].map(e => "
    assert min(page.run(sizes + "parseFloat(getComputedStyle(e).fontSize))")) >= 12
    touch = (
        "return [...document.querySelectorAll('.choices button')].map(b => b.getBoundingClientRect().height)"
    )
    assert min(page.run(touch)) >= 40


def _network_was_not_asked(page: browser.Browser) -> None:
    sent = [e["params"] for e in page.log() if e["method"] == "Network.requestWillBeSent"]
    # The browser's own start page is none of ours.
    asked = [s["request"]["url"] for s in sent if s["documentURL"].endswith("/report.html")]
    assert asked  # the page itself
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
