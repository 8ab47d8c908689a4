"""Headless Chromium over WebDriver's HTTP, with nothing but the standard library."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver's own name for an element's id


class WebDriverError(OSError):
    """What chromedriver said went wrong."""


class Browser:
    """One open page."""

    def __init__(self, address: str, session: str) -> None:
        self._session = f"{address}/session/{session}"

    def open(self, page: Path | str) -> None:
        """Load a file from disk, or an address; once more if a busy machine's renderer did not answer."""
        url = page if isinstance(page, str) else page.resolve().as_uri()
        try:
            _request("POST", f"{self._session}/url", {"url": url})
        except WebDriverError:
            _request("POST", f"{self._session}/url", {"url": url})

    def run(self, script: str) -> Any:
        """Run the body of a function in the page and return its result."""
        return _request("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def log(self) -> list[dict[str, Any]]:
        """Return what the browser's console and network events were."""
        return [
            json.loads(entry["message"])["message"]
            for entry in _request("POST", f"{self._session}/se/log", {"type": "performance"})
        ]

    def complaints(self) -> list[str]:
        """Return what the console got of warnings and errors since this was last asked."""
        entries = _request("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def screenshot(self, path: Path) -> None:
        """Write what the viewport shows as a PNG."""
        path.write_bytes(b64decode(_request("GET", f"{self._session}/screenshot")))

    def click(self, selector: str) -> None:
        """Click the first element that a CSS selector finds."""
        _request("POST", f"{self._session}/element/{self._find(selector)}/click", {})

    def upload(self, selector: str, path: Path) -> None:
        """Give a file to the <input type=file> that a CSS selector finds."""
        address = f"{self._session}/element/{self._find(selector)}/value"
        _request("POST", address, {"text": str(path.resolve())})

    def drag(self, selector: str, by: int) -> None:
        """Press the pointer in the middle of an element, move it by so many pixels to the right, let go."""
        origin = {_ELEMENT: self._find(selector)}
        steps = [
            {"type": "pointerMove", "origin": origin, "x": 0, "y": 0},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerMove", "origin": origin, "x": by, "y": 0, "duration": 100},
            {"type": "pointerUp", "button": 0},
        ]
        _request(
            "POST",
            f"{self._session}/actions",
            {"actions": [{"type": "pointer", "id": "p", "actions": steps}]},
        )

    def _find(self, selector: str) -> str:
        found = _request("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])


def installed() -> bool:
    """Return whether Chromium and its driver are on this machine."""
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


@contextmanager
def browsing(profile: Path, width: int, height: int = 900) -> Iterator[Browser]:
    """Start Chromium with a viewport of this size, as a phone of that width has it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address)
        session = _start(address, profile, width, height)
        try:
            yield Browser(address, session)
        finally:
            with suppress(OSError):
                _request("DELETE", f"{address}/session/{session}")
    finally:
        driver.terminate()
        driver.wait(20)


def _start(address: str, profile: Path, width: int, height: int) -> str:
    options = {
        "binary": shutil.which("chromium"),
        "args": [*_FLAGS, f"--user-data-dir={profile}"],
        "mobileEmulation": {
            "deviceMetrics": {"width": width, "height": height, "pixelRatio": 1, "touch": False}
        },
    }
    capabilities = {
        "browserName": "chrome",
        "goog:chromeOptions": options,
        "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
    }
    return str(
        _request("POST", f"{address}/session", {"capabilities": {"alwaysMatch": capabilities}})["sessionId"]
    )


def _wait_for(address: str) -> None:
    for _ in range(150):
        with suppress(OSError):
            if _request("GET", f"{address}/status")["ready"]:
                return
        time.sleep(0.2)
    raise TimeoutError("chromedriver did not start within 30 seconds")


def _request(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=90) as reply:
            return json.load(reply)["value"]
    except urllib.error.HTTPError as error:
        with error:
            raise WebDriverError(error.read().decode(errors="replace")[:500]) from None
