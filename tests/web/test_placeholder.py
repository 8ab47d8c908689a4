"""Placeholders: their bytes, their text, and that a page shows what Python says it does."""

import dataclasses
import time
from base64 import b64decode, b64encode
from io import BytesIO

import pytest
from PIL import Image, ImageChops

from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.web.placeholder import (
    Placeholder,
    linear_picture,
    make_placeholder,
    payload_of,
    to_css,
    to_html,
)

from ..evaluation.browser import Browser
from .conftest import Site

READ = """
const { pixels, tokens } = odp.decodeData(%r, 451, 300);
return [tokens, btoa(String.fromCharCode(...pixels))];
"""


@pytest.fixture(scope="module")
def codes(bundled: Codec, pictures: list[Image.Image]) -> list[Code]:
    return [code[:8] for code in bundled.encode_batch(pictures)]


def test_eight_tokens_are_at_most_twelve_bytes(bundled: Codec, codes: list[Code]) -> None:
    made = [make_placeholder(bundled, code) for code in codes]
    assert max(each.bytes for each in made) <= 12
    assert max(each.bytes for each in made[:4]) < 12, "photographs are what the entropy coder knows"
    for each in made:
        text = each.data.removeprefix("~")
        assert len(b64decode(text + "=" * (-len(text) % 4))) == each.bytes


def test_what_the_coder_makes_longer_stays_plain(bundled: Codec) -> None:
    # 63 · 65 − 1 is the most extreme level of both channels, which no photograph has eight times.
    odd = Code([63 * 65 - 1] * 8, 4096, bundled.fingerprint)
    payload, coded = payload_of(odd)
    assert not coded
    assert len(payload) == 12
    assert make_placeholder(bundled, odd).data == "~" + b64encode(payload).decode()


def test_page_shows_what_python_does(page: Browser, bundled: Codec, codes: list[Code]) -> None:
    for code in codes:
        tokens, pixels = page.run(READ % make_placeholder(bundled, code).data)
        assert tokens == 8
        shown = Image.frombytes("RGBA", (64, 64), b64decode(pixels)).convert("RGB")
        difference = ImageChops.difference(shown, linear_picture(bundled, code))
        assert max(high for _, high in difference.getextrema()) <= 1


def test_size_and_mean_colour(bundled: Codec, codes: list[Code]) -> None:
    wide, red = make_placeholder(bundled, codes[1]), make_placeholder(bundled, codes[5])
    assert (wide.width, wide.height) == (451, 300)
    assert (red.width, red.height) == (256, 256)
    # A mean colour with 63 levels of each plane is right to a few of 255.
    assert int(red.colour[1:3], 16) > 245
    assert int(red.colour[3:5], 16) < 12
    with pytest.raises(ValueError, match="at most 64 tokens; found 65"):
        make_placeholder(bundled, dataclasses.replace(codes[0], indices=[0] * 65))


def test_names_cannot_leave_their_quotes() -> None:
    made = Placeholder("AAAA", 3, 2, "#112233", 1, 3)
    hostile = """a"><script>'\\}.jpg"""
    assert "<script>" not in to_html(made, hostile)
    assert 'src="photos/cat%20%231%20100%25.jpg"' in to_html(made, "photos/cat #1 100%.jpg")
    rule = to_css(made, Image.new("RGB", (64, 64)), hostile)
    assert rule.startswith('img[src="a\\22 \\3e \\3c script\\3e \\27 \\5c \\7d .jpg"]{aspect-ratio:3/2;')
    picture = Image.open(BytesIO(b64decode(rule.split("base64,")[1].split(")")[0])))
    assert picture.size == (24, 24)
    assert "<img" not in to_html(made)
    foreign = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")  # Latin-1, as old archives hold it
    assert 'src="caf%E9.jpg"' in to_html(made, foreign)
    assert to_css(made, picture, foreign).startswith('img[src="caf\\25 E9.jpg"]')


def test_element_waits_for_the_photo(
    page: Browser, site: Site, bundled: Codec, codes: list[Code], pictures: list[Image.Image]
) -> None:
    file = BytesIO()
    pictures[1].save(file, "JPEG")
    site.answers["/a%20cat.jpg"] = file.getvalue()
    html = to_html(make_placeholder(bundled, codes[1]), "a cat.jpg")
    page.run(f"document.body.innerHTML = {html!r}")
    size = "const box = document.querySelector('odp-image').getBoundingClientRect(); return [%s]"
    width, height = page.run(size % "box.width, box.height")
    assert width / height == pytest.approx(451 / 300, rel=0.02)
    for _ in range(100):
        if page.run("return document.querySelector('img').complete"):
            break
        time.sleep(0.05)
    assert page.run("return document.querySelector('img').naturalWidth") == 451
    assert page.run("return document.querySelector('img').clientHeight") == pytest.approx(height, abs=1)
    assert page.complaints() == []
