"""`onedpiece placeholder` and `onedpiece demo`: what a page shows of a photo, and a page of one's own."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onedpiece.cli.io import DEVICE, MODEL, STREAM, expand, reading, say
from onedpiece.cli.report import Report
from onedpiece.codec.find import ENDINGS

if TYPE_CHECKING:
    from onedpiece.bitstream import Code
    from onedpiece.codec import Codec
    from onedpiece.web.placeholder import Placeholder


FORMATS = ("html", "json", "css")


def placeholder(
    inputs: Annotated[list[str], typer.Argument(metavar="IN", help="Photos, a folder of them, or -.")],
    tokens: Annotated[int, typer.Option(metavar="K", help="1 to 64; 8 are at most 12 bytes.")] = 8,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="F", help="html, json or css; html for one photo, json for several."
        ),
    ] = None,
) -> None:
    """Print placeholders of photos for web pages, in a dozen bytes each.

    html is an <odp-image> element that onedpiece/web/odp.js draws and the photo inside then covers; json
    holds its fields, by the photos' names where there are several; css is a rule for the photo's <img>, and
    needs no script.

    Example: onedpiece placeholder photo.jpg --tokens 8 --format json
    """
    if form not in (None, *FORMATS):
        raise ValueError(f"--format is {form!r}; there are: {', '.join(FORMATS)}")
    if not 1 <= tokens <= 64:
        raise ValueError(f"--tokens is {tokens}; use 1 to 64")
    sources = expand(inputs, ENDINGS)
    single = sources == inputs and len(inputs) == 1
    chosen = form or ("html" if single else "json")
    from onedpiece.weights import load

    codec, found = load(sharp=False), {}
    with Report(sources) as report:
        for source in sources:
            with report.guarding(source):
                code, name = _encode(codec, source, tokens), _name(source, inputs)
                if chosen == "json":
                    found[name] = _made(codec, code)
                    report.advance()
                else:
                    report.done(_line(codec, code, name, chosen), {})
        if found:
            say(_json(found, single=single))


def _encode(codec: "Codec", source: str, tokens: int) -> "Code":
    from onedpiece.codec.images import read_picture

    with reading(source, seekable=True) as file:
        return codec.encode(read_picture(file), tokens=min(tokens, codec.num_tokens))


def _made(codec: "Codec", code: "Code") -> "Placeholder":
    from onedpiece.web.placeholder import make_placeholder

    return make_placeholder(codec, code)


def _name(source: str, inputs: Sequence[str]) -> str:
    """What a page calls the photo: its file's name, or its path as given where names could be alike."""
    return Path(source).name if len(inputs) == 1 else Path(source).as_posix()


def _line(codec: "Codec", code: "Code", name: str, form: str) -> str:
    from onedpiece.web.placeholder import linear_picture, to_css, to_html

    made = _made(codec, code)
    if form == "css":
        return to_css(made, linear_picture(codec, code), name)
    return to_html(made, None if name == STREAM else name)


def _json(found: "dict[str, Placeholder]", *, single: bool) -> str:
    plain = {name: asdict(each) for name, each in found.items()}
    return json.dumps(next(iter(plain.values())) if single else plain, indent=None if single else 1)


HOST = Annotated[
    str, typer.Option(metavar="H", help="Where to listen; another address than this lets others in.")
]
PORT = Annotated[int, typer.Option(metavar="P", min=0, max=65535, help="0 takes a free one.")]


def demo(host: HOST = "127.0.0.1", port: PORT = 7860, model: MODEL = None, device: DEVICE = "cpu") -> None:
    """Serve a page for your browser: drop a photo, and see what its first tokens are, beside WebP.

    It asks no network and keeps no files; needs the extra [demo]. Ctrl-C ends it.

    Example: onedpiece demo --port 7860
    """
    from onedpiece.web.demo import serve
    from onedpiece.weights import load

    serve(lambda: load(model, device), host, port, lambda url: say(f"{url} (Ctrl-C ends it)"))
