"""`onedpiece demo` where it cannot start."""

import socket
import sys
from typing import Any

import pytest


def test_without_gradio_it_names_the_extra(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    message = "onedpiece: the demo page needs an extra: pip install 'onedpiece[demo]'\n"
    assert cli("demo", "--port", 0) == (1, b"", message)


def test_a_port_that_is_taken_is_one_line(cli: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = cli("demo", "--port", port)
    assert result == (2, b"", f"onedpiece: 127.0.0.1:{port}: Address already in use\n")
