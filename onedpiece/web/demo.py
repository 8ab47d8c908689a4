"""The demo page: a gradio app for this machine, which asks no network and leaves no files behind."""

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

from onedpiece.codec.codec import Codec
from onedpiece.errors import MissingExtraError, OnedpieceError
from onedpiece.metrics.registry import Scorer
from onedpiece.web.view import Upload, lpips_scorer, problem, read_upload, render, steps

MAX_UPLOAD = 32 << 20  # bytes; what cameras write as JPEG
STATE_SECONDS = 3600  # after which an idle visitor's photo is forgotten
_START = 64  # tokens

_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)
_INTRO = """# A picture in a few hundred bytes
Drop a photo, or an .odp file. Every prefix of the file is a picture: fewer tokens, fewer bytes. It stays on
this machine."""


class Style(TypedDict):
    """What gradio wants to know of a page's look where it is mounted."""

    theme: Any
    css: str
    footer_links: list[str]


@dataclass(frozen=True)
class _Handlers:
    """What the page does at its events; tokens and sharpness are the sliders' positions."""

    codec: Codec
    scorer: Scorer | None

    def show(self, upload: Upload | None, tokens: float, sharpness: float) -> str:
        """Return the HTML of an upload; none while there is no upload."""
        if upload is None:
            return ""
        return render(self.codec, upload, int(tokens), float(sharpness), self.scorer)

    def take(self, path: str, tokens: float, sharpness: float) -> tuple[Upload | None, str, None]:
        """Read a visitor's file and remove it; return the upload, its HTML, and an empty file field."""
        try:
            upload = read_upload(self.codec, path)
            return upload, self.show(upload, tokens, sharpness), None
        except (OnedpieceError, ValueError, OSError) as error:
            return None, problem(_without_path(error)), None
        finally:
            Path(path).unlink(missing_ok=True)

    def animate(self, upload: Upload | None, tokens: float, sharpness: float) -> Iterator[str]:
        """Yield the HTML of more and more tokens."""
        if upload is None:
            return
        for count in steps(min(int(tokens), len(upload.code))):
            yield render(self.codec, upload, count, 0.0, self.scorer, quick=True)
        yield self.show(upload, tokens, sharpness)


def build_page(codec: Codec) -> Any:
    """Return the page as gradio Blocks.

    Raises:
        MissingExtraError: gradio is not installed.
    """
    gr, on = _gradio(), _Handlers(codec, lpips_scorer())
    most, sharp = codec.num_tokens, codec.tokenizer.sharp is not None
    default = codec.tokenizer.config.default_sharpness if sharp else 0.0
    with gr.Blocks(title="onedpiece", analytics_enabled=False, delete_cache=(600, 600)) as page:
        gr.Markdown(_INTRO)
        state = gr.State(None, time_to_live=STATE_SECONDS)
        file = gr.File(label="A photo or an .odp file", elem_id="odp-upload", height=140)
        with gr.Row():
            tokens = gr.Slider(
                1, most, min(_START, most), step=1, label="Tokens", min_width=240, elem_id="odp-tokens"
            )
            dial = gr.Slider(
                0,
                1,
                default,
                step=0.05,
                label="Sharpness: 0 faithful, 1 most natural",
                min_width=240,
                elem_id="odp-sharpness",
                interactive=sharp,
            )
        button = gr.Button("Token by token", elem_id="odp-animate")
        view = gr.HTML(elem_id="odp-view")
        alone = {"api_visibility": "private", "concurrency_id": "codec", "concurrency_limit": 1}
        file.upload(on.take, [file, tokens, dial], [state, view, file], **alone)
        # The last position counts: what the slider passes over while a picture is made is left out.
        last = {"trigger_mode": "always_last", "show_progress": "hidden"} | alone
        gr.on([tokens.change, dial.change], on.show, [state, tokens, dial], view, **last)
        button.click(on.animate, [state, tokens, dial], view, show_progress="hidden", **alone)
    return page


def _file(name: str) -> bytes:
    return resources.files(__package__).joinpath(name).read_bytes()


def _without_path(error: Exception) -> Exception:
    """Return an error that names no place on this machine."""
    return OSError(error.strerror or "the file cannot be read") if isinstance(error, OSError) else error


def _gradio() -> Any:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise MissingExtraError("the demo page needs an extra: pip install 'onedpiece[demo]'") from error
    return gradio


def _style(gr: Any) -> Style:
    # gradio's own theme takes its letters from Google.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return Style(theme=theme, css=_file("demo.css").decode(), footer_links=[])


def build_app(codec: Codec) -> Any:
    """Return the ASGI app: the page, prefix.html and odp.js.

    Raises:
        MissingExtraError: gradio is not installed.
    """
    gr = _gradio()
    from fastapi import FastAPI, Request, Response

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def add_file(name: str, kind: str) -> None:
        content = _file(name)
        app.get(f"/{name}")(lambda: Response(content, media_type=kind))

    add_file("odp.js", "text/javascript")
    add_file("prefix.html", "text/html")

    async def add_policy(request: Request, call_next: Callable[..., Any]) -> Any:
        answer = await call_next(request)
        answer.headers["Content-Security-Policy"] = _POLICY
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    app.middleware("http")(add_policy)
    return gr.mount_gradio_app(
        app,
        build_page(codec),
        "/",
        max_file_size=MAX_UPLOAD,
        ssr_mode=False,
        enable_monitoring=False,
        **_style(gr),
    )


def serve(
    load: Callable[[], Codec], host: str, port: int, ready: Callable[[str], None] = lambda _: None
) -> None:
    """Serve the page until Ctrl-C; every file that it makes is removed at the end.

    Args:
        load: gives the codec.
        host: the address to listen at.
        port: 0 takes a free one.
        ready: told the page's address.

    Raises:
        MissingExtraError: gradio is not installed.
        OSError: the port is taken, or there is no such address here.
    """
    with TemporaryDirectory(prefix="onedpiece-demo-") as folder, _listening(host, port) as listening:
        os.environ["GRADIO_TEMP_DIR"] = folder
        _gradio()
        import uvicorn

        name, number = listening.getsockname()[:2]
        url = f"http://{f'[{name}]' if ':' in name else name}:{number}"
        unsaid = [url]

        async def announce() -> None:  # from the running server: the page answers, and Ctrl-C is heard
            while unsaid:
                ready(unsaid.pop())

        config = uvicorn.Config(build_app(load()), log_level="warning", callback_notify=announce)
        uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from error
    return listening
