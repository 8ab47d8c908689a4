"""<odp-image> in headless Chromium: prefixes, then better pictures, and an event for what fails."""

import time
from base64 import b64encode
from collections.abc import Iterator
from itertools import pairwise, repeat
from typing import Any

import pytest
from PIL import Image

from onedpiece.bitstream.packing import known_tables, pack, pack_entropy
from onedpiece.codec import Codec

from ..evaluation.browser import Browser
from .conftest import Site, Slowly

pytestmark = pytest.mark.slow  # starts Chromium

MAKE = """
window.seen = [];
document.body.replaceChildren();
const made = document.createElement("odp-image");
for (const kind of ["progress", "load", "error"]) {
  made.addEventListener(kind, (event) => {
    const { tokens, shown } = event.detail ?? {};
    seen.push([kind, event.message ?? "", tokens, shown, hash(made)]);
  });
}
function hash(element) {
  return element.shadowRoot.querySelector("canvas").toDataURL();
}
for (const [name, value] of Object.entries(%s)) made.setAttribute(name, value);
document.body.append(made);
"""

Events = list[list[Any]]


def show(page: Browser, **attributes: object) -> None:
    page.run(MAKE % attributes)


def wait_for(page: Browser, count: int, kind: str = "") -> Events:
    """Return the events once there are so many of a kind."""
    for _ in range(200):
        seen: Events = page.run("return seen")
        if sum(event[0].startswith(kind) for event in seen) >= count:
            return seen
        time.sleep(0.05)
    raise TimeoutError(f"expected {count} {kind} events, saw {seen}")


@pytest.fixture(scope="module")
def whole(bundled: Codec, pictures: list[Image.Image]) -> bytes:
    """A 451×300 picture, 256 tokens, entropy coded."""
    return bundled.encode(pictures[1]).to_bytes()


def test_prefix_then_better_from_a_slow_server(page: Browser, site: Site, whole: bytes) -> None:
    ends = [0, 16, 24, 45, 90, len(whole)]  # 13 bytes of header, and 3 of tokens
    slow = Slowly([whole[start:end] for start, end in pairwise(ends)])
    site.answers["/slow.odp"] = slow
    show(page, src="/slow.odp", alt="a cat")
    for count in range(1, 5):
        slow.release()
        events = wait_for(page, count)
        assert [event[0] for event in events] == ["progress"] * count
    slow.release()
    events = wait_for(page, 1, "load")
    tokens = [event[2] for event in events]
    assert tokens[0] >= 1
    assert tokens == sorted(tokens)
    assert events[-1][2:4] == [64, 64]
    assert len({event[4] for event in events[:4]}) == 4, "every chunk draws another picture"
    box = "const { width, height } = document.querySelector('odp-image').getBoundingClientRect();"
    width, height = page.run(box + "return [width, height]")
    assert width / height == pytest.approx(451 / 300, rel=0.01)
    assert width <= 390, "a picture wider than the page shrinks"
    label = "return document.querySelector('odp-image').shadowRoot.querySelector('canvas').ariaLabel"
    assert page.run(label) == "a cat"
    assert page.complaints() == []


def test_data_first_then_the_file(
    page: Browser, site: Site, bundled: Codec, pictures: list[Image.Image], whole: bytes
) -> None:
    indices = bundled.encode(pictures[1]).indices[:8]
    tables = known_tables(bundled.fingerprint)
    assert tables is not None
    coded = pack_entropy(indices.tolist(), tables)
    assert coded is not None
    slow = Slowly([whole])
    site.answers["/late.odp"] = slow
    data = b64encode(coded).decode().rstrip("=")
    show(page, data=data, src="/late.odp", width=90, height=60)
    first = wait_for(page, 1)
    assert [event[:4] for event in first] == [["progress", "", 8, 8]]
    slow.release()
    events = wait_for(page, 1, "load")
    assert events[-1][3] == 64
    # the same tokens without the entropy coder are the same picture
    show(page, data="~" + b64encode(pack(indices, 4096)).decode(), width=90, height=60)
    events = wait_for(page, 1, "load")
    assert events[0][4] == first[0][4]
    assert page.run("return document.querySelector('odp-image').getBoundingClientRect().height") == 60


def test_image_inside_lies_on_top(page: Browser, site: Site, whole: bytes) -> None:
    site.answers["/a.odp"] = whole
    show(page, src="/a.odp", width=90, height=60)
    wait_for(page, 1, "load")
    page.run("const image = new Image(); image.alt = ''; document.querySelector('odp-image').append(image)")
    on_top = "return document.elementFromPoint(40, 40)?.tagName"
    assert page.run(on_top) == "IMG"


def test_new_address_is_a_new_picture(
    page: Browser, site: Site, bundled: Codec, pictures: list[Image.Image], whole: bytes
) -> None:
    never = Slowly([whole])
    site.answers |= {"/never.odp": never, "/red.odp": bundled.encode(pictures[5])[:2].to_bytes()}
    show(page, src="/never.odp")
    page.run("document.querySelector('odp-image').src = 1; seen.length = 0")
    page.run("document.querySelector('odp-image').setAttribute('src', '/red.odp')")
    events = wait_for(page, 1, "load")
    never.release()
    assert [event[0] for event in events] == ["progress", "load"]
    assert events[-1][2] == 2


def endless(start: bytes) -> Iterator[bytes]:
    yield start
    yield from repeat(bytes(1 << 16))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"\xff\xd8\xff\xe0" + bytes(100_000), "not an .odp file"),
        (b"", "the file ends inside its header"),
        (b"\xd1\x1d\x10\x18\x47\x75\x5d", "the file ends inside its first token"),
        (None, "/bad.odp: 404 Not Found"),
        ("endless", "/bad.odp is longer than any file of this model"),
    ],
)
def test_bad_file_is_one_error_event(page: Browser, site: Site, answer: Any, message: str) -> None:
    site.answers.pop("/bad.odp", None)
    if answer is not None:
        site.answers["/bad.odp"] = (
            endless(b"\xd1\x1d\x14\x18\x47\x75\x5d\xa1\x51") if answer == "endless" else answer
        )
    show(page, src="/bad.odp")
    events = wait_for(page, 1, "error")
    assert [event[:2] for event in events if event[0] != "progress"] == [["error", message]]


def test_bad_data_are_one_error_event(page: Browser) -> None:
    for data in ("\N{SNOWMAN}", "", "~//", "A" * 10_000):
        show(page, data=data, width=3, height=2)
        events = wait_for(page, 1)
        assert [event[0] for event in events] == ["error"], data
