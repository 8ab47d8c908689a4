"""The demo page in headless Chromium: what a visitor does, and what it leaves behind."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from onedpiece.codec import Codec
from onedpiece.web import demo

from ..evaluation import browser

pytest.importorskip("gradio", reason="gradio is not here: pip install 'onedpiece[demo]'")

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # gradio's, and those of what it stands on

BYTES = "return document.querySelector('.ours .bytes')?.textContent ?? ''"
SOURCE = "return document.querySelector('.ours img')?.src ?? ''"
SET_TOKENS = """
const box = document.querySelector("#odp-tokens input[type=number]");
box.value = %d;
for (const kind of ["input", "change", "blur"]) box.dispatchEvent(new Event(kind, { bubbles: true }));
"""


@pytest.fixture(scope="module")
def tiny(small_codec: Any) -> Codec:
    codec: Codec = small_codec(b"tiny", image_size=256, patch_size=64, sharp_blocks=1)
    return codec


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def address(tiny: Codec, temporary: Path) -> Iterator[str]:
    """The app behind a server of its own, which ends with the tests."""
    import uvicorn

    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(temporary)
    with demo._listening("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(demo.build_app(tiny), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)
    gc.collect()  # event loops that gradio leaves open would be found in whichever test collects them
    os.environ.pop("GRADIO_TEMP_DIR")
    if before is not None:
        os.environ["GRADIO_TEMP_DIR"] = before


@pytest.fixture
def page(chromium: browser.Browser, address: str) -> browser.Browser:
    chromium.log()
    chromium.open(address)
    wait(chromium, "return !!document.querySelector('#odp-upload input[type=file]')")
    return chromium


def wait(page: browser.Browser, script: str) -> Any:
    """Return what a script says once that is something."""
    for _ in range(300):
        if found := page.run(script):
            return found
        time.sleep(0.1)
    raise TimeoutError(script)


def upload(page: browser.Browser, path: Path) -> None:
    page.upload("#odp-upload input[type=file]", path)


def test_page_loads_without_complaint_or_network(page: browser.Browser, address: str) -> None:
    assert page.complaints() == []
    assert page.run("return document.documentElement.scrollWidth") <= 390
    sent = [e["params"] for e in page.log() if e["method"] == "Network.requestWillBeSent"]
    asked = [s["request"]["url"] for s in sent if s["documentURL"].startswith(address)]
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def test_slider_changes_picture_and_bytes(page: browser.Browser, data: Path, temporary: Path) -> None:
    upload(page, data / "chelsea_451x300.png")
    # header and size, 11 bytes, and 16 tokens of 12 bits, 24 bytes: 35
    assert wait(page, BYTES).startswith("35 bytes, 0.0021 bpp")
    figures = "return [...document.querySelectorAll('.odp-figures figure')].map((each) => each.className)"
    assert page.run(figures) == ["ours", "webp none", "photo"]
    assert page.run("return document.querySelector('.ours .scores').textContent").startswith("PSNR ")
    first = page.run(SOURCE)
    page.run(SET_TOKENS % 4)
    wait(page, "return document.querySelector('.ours .bytes').textContent.startsWith('17 bytes')")
    assert page.run(SOURCE) != first
    link = page.run("return document.querySelector('.odp-file').href")
    assert len(link.split("base64,")[1]) == 24  # 17 bytes
    # gradio leaves the emptied folder, and an empty file, until the verb's own folder goes.
    assert [each for each in temporary.rglob("*") if each.is_file() and each.stat().st_size] == []
    page.click("#odp-animate")
    wait(page, "return document.querySelector('.ours b').textContent.includes(' 4 of 16')")


def test_file_goes_in_again(page: browser.Browser, tiny: Codec, tmp_path: Path) -> None:
    photo = tmp_path / "a b.odp"
    photo.write_bytes(tiny.encode(Image.new("RGB", (90, 60), "teal"))[:3].to_bytes())
    upload(page, photo)
    assert wait(page, BYTES).startswith(f"{photo.stat().st_size} bytes")
    assert page.run("return document.querySelectorAll('.odp-figures figure').length") == 1
    assert page.run("return document.querySelector('.odp-file').download") == "a b.odp"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jpg", b"<script>", "Not a picture that Pillow can read."),
        ("a.odp", b"\xd1\x1d\x10", "The file ends after 3 bytes, inside its header; expected 7 or more."),
    ],
)
def test_bad_upload_is_one_sentence(
    page: browser.Browser, tmp_path: Path, temporary: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    upload(page, tmp_path / name)
    assert wait(page, "return document.querySelector('.odp-problem')?.textContent") == sentence
    assert list(temporary.rglob(name)) == []


def test_too_large_an_upload_is_refused(page: browser.Browser, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(demo.MAX_UPLOAD + 1)
    upload(page, large)
    assert "size" in wait(page, "return document.querySelector('.toast-body')?.textContent").lower()


def test_link_is_the_picture(chromium: browser.Browser, address: str, bundled: Codec, data: Path) -> None:
    from base64 import urlsafe_b64encode

    whole = bundled.encode(data / "chelsea_451x300.png")[:32].to_bytes()
    chromium.complaints()
    chromium.open(f"{address}/prefix.html#{urlsafe_b64encode(whole).decode().rstrip('=')}")
    said = "return document.getElementById('said').textContent"
    assert wait(chromium, said) == f"{len(whole)} bytes, 32 tokens shown, 451×300"
    chromium.run("bytes.value = 20; bytes.dispatchEvent(new Event('input'))")
    assert chromium.run(said).startswith("20 bytes, ")
    chromium.run("location.hash = 'x!'")
    assert wait(chromium, "return document.querySelector('[role=alert]')?.textContent").startswith(
        "No picture"
    )
    assert chromium.run("return document.documentElement.scrollWidth") <= 390
    assert chromium.complaints() == []


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 143)])
def test_a_signal_ends_the_verb_and_it_leaves_nothing(tmp_path: Path, signum: str, status: int) -> None:
    command = [sys.executable, "-m", "onedpiece", "demo", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    assert list(tmp_path.glob("onedpiece-demo-*")) != []
    process.send_signal(getattr(signal, signum))
    assert process.wait(60) == status
    # torchvision, which LPIPS needs, loads torch's compiler, which makes a folder for itself.
    assert [each for each in tmp_path.iterdir() if not each.name.startswith("torchinductor_")] == []
