"""The bundled model, headless Chromium, and a server on this machine that pages are loaded from."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

import onedpiece
from onedpiece.codec import Codec

from ..evaluation import browser

SCRIPT = Path(onedpiece.__file__).parent / "web" / "odp.js"


class Slowly:
    """An answer whose chunks are sent one at a time, whenever `release` is called."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.chunks, self._gate = chunks, threading.Semaphore(0)

    def release(self) -> None:
        """Send the next chunk."""
        self._gate.release()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            if not self._gate.acquire(timeout=60):
                return
            yield chunk


class Site:
    """A web server on 127.0.0.1: an empty page, odp.js, and whatever is put into `answers` by its path."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.answers: dict[str, bytes | Slowly | Iterator[bytes]] = {
            "/": b"<!doctype html><meta charset=utf-8>"
            b"<meta name=viewport content='width=device-width'><link rel=icon href=data:,><body>",
            "/odp.js": SCRIPT.read_bytes(),
        }


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = served.answers.get(self.path)
            self.send_response(404 if answer is None else 200)
            kind = {"/": "text/html", "/odp.js": "text/javascript"}.get(self.path, "application/octet-stream")
            self.send_header("Content-Type", kind)
            self.end_headers()
            try:
                for chunk in [answer or b""] if isinstance(answer, bytes | None) else answer:
                    self.wfile.write(chunk)
                    self.wfile.flush()
            except OSError:  # the page has heard enough
                pass

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served = Site(server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield served
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    if not browser.installed():
        pytest.skip("Chromium is not here: apt-get install chromium chromium-driver")
    with browser.browsing(tmp_path_factory.mktemp("profile"), 390) as opened:
        yield opened


@pytest.fixture
def page(chromium: browser.Browser, site: Site) -> browser.Browser:
    """An empty page that knows `odp`, the module."""
    chromium.open(site.url + "/")
    chromium.complaints()
    chromium.run("return import('/odp.js').then((odp) => { window.odp = odp; })")
    return chromium


@pytest.fixture(scope="session")
def bundled() -> Codec:
    return onedpiece.load()


@pytest.fixture(scope="session")
def pictures(data: Path) -> list[Image.Image]:
    """Crops of photographs, and drawn ones: flat, saturated, and noise."""
    names = ("astronaut.png", "chelsea_451x300.png", "coffee.png", "rocket.png")
    drawn = [
        Image.new("RGB", (300, 200), "white"),
        Image.new("RGB", (256, 256), "red"),
        Image.linear_gradient("L").convert("RGB"),
        Image.effect_noise((256, 256), 120).convert("RGB"),
    ]
    return [Image.open(data / name).convert("RGB") for name in names] + drawn
