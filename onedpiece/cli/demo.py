"""`onedpiece demo`: a page on this machine to play with."""

from typing import Annotated

import typer

from onedpiece.cli.io import say
from onedpiece.cli.options import DEVICE, MODEL

HOST = Annotated[
    str, typer.Option(metavar="H", help="Where to listen; another address than this lets others in.")
]
PORT = Annotated[int, typer.Option(metavar="P", min=0, max=65535, help="0 takes a free one.")]


def demo(host: HOST = "127.0.0.1", port: PORT = 7860, model: MODEL = None, device: DEVICE = "cpu") -> None:
    """Serve a page for your browser: drop a photo, and see what its first tokens are, beside WebP.

    It asks no network and keeps no files; needs the extra [demo]. Ctrl-C ends it.
    """
    from onedpiece.web.demo import serve
    from onedpiece.weights import load

    serve(lambda: load(model, device), host, port, lambda url: say(f"{url} (Ctrl-C ends it)"))
