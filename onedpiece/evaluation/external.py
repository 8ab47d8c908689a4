"""Other people's codecs in a comparison: a command, a Python object, or a published curve.

"cwebp -quiet -q {q} {in} -o {out}"              a command; Pillow reads what it writes
"mine=enc {in.ppm} {out} {q:1:51} :: dec {in} {out}"   with a decoder, a name, and its own range of qualities
"package.module:codec"                           an object with `encode` and `decode`, or what makes one
"bmshj2018.json"                                 a curve in the schema of CompressAI's results
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from onedpiece._files import one_line
from onedpiece.errors import ExternalCodecError, MissingFormatError
from onedpiece.evaluation.formats import FORMATS
from onedpiece.metrics.descriptors import Metric

TIMEOUT = 600
"""Seconds for one picture, after which a command is taken to hang."""

_NAMED = re.compile(r"([A-Za-z][\w.+-]*)=(.+)", re.DOTALL)
_ENTRY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_PLACE = re.compile(r"\{(in|out)(\.\w+)?\}")
_QUALITY = re.compile(r"\{q(?::(-?\d+):(-?\d+)(?::(-?\d+))?)?\}")


@dataclass(frozen=True)
class CommandFormat:
    """A codec that is a program: no shell runs, and every word stays a word.

    Attributes:
        name: in tables and curves.
        encoder: its words, with {in}, a PNG (or {in.ppm} and so on), {out} (or {out.webp}) and {q}.
        decoder: the same from the file to a PNG; None: Pillow reads the file.
        qualities: from the smallest file to the largest.
        scales: the picture may be shrunk first, as the built-in formats do at small sizes.
    """

    name: str
    encoder: tuple[str, ...]
    decoder: tuple[str, ...] | None
    qualities: Sequence[int]
    scales: bool = True

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """Return the whole file that the program makes of an RGB picture.

        Raises:
            ExternalCodecError: it failed.
            MissingFormatError: there is no such program.
        """
        return _run(self.name, self.encoder, image.save, ".png", ".bin", quality)

    def decode(self, data: bytes) -> Image.Image:
        """Return the RGB picture of a file.

        Raises:
            ExternalCodecError, MissingFormatError: as `encode`; or the result is no picture.
        """
        if self.decoder is not None:
            data = _run(self.name, self.decoder, lambda path: path.write_bytes(data), ".bin", ".png")
        try:
            return Image.open(BytesIO(data)).convert("RGB")
        except OSError as error:
            raise ExternalCodecError(f"{self.name}: it wrote no picture: {one_line(error)}") from error


def _run(
    name: str,
    words: Sequence[str],
    write: Callable[[Path], Any],
    source_ending: str,
    result_ending: str,
    quality: int | None = None,
) -> bytes:
    """Write the input, run the program on it, and return what it wrote."""
    with TemporaryDirectory() as folder:
        paths = {"in": Path(folder) / f"in{source_ending}", "out": Path(folder) / f"out{result_ending}"}

        def fill(place: re.Match[str]) -> str:
            if place[2]:
                paths[place[1]] = Path(folder) / f"{place[1]}{place[2]}"
            return str(paths[place[1]])

        filled = [_QUALITY.sub(str(quality), _PLACE.sub(fill, word)) for word in words]
        write(paths["in"])
        try:
            done = subprocess.run(filled, capture_output=True, timeout=TIMEOUT, check=False)
        except FileNotFoundError as error:
            raise MissingFormatError(f"{name}: there is no program {filled[0]!r} here") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExternalCodecError(f"{name}: {one_line(error)}") from error
        if done.returncode or not paths["out"].is_file():
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            said = f": {lines[-1][:200]}" if lines else ""
            raise ExternalCodecError(f"{name}: {filled[0]} ended with status {done.returncode}{said}")
        return paths["out"].read_bytes()


@dataclass(frozen=True)
class ObjectFormat:
    """A codec that is a Python object with `encode(image, quality) -> bytes` and `decode(data) -> image`.

    It may have `qualities`, from the smallest file to the largest (else there is one, 0), and `scales`,
    whether the picture may be shrunk first (else it may not).
    """

    name: str
    codec: Any

    @property
    def qualities(self) -> Sequence[int]:
        """The settings of its knob."""
        found: Sequence[int] = getattr(self.codec, "qualities", (0,))
        return found

    @property
    def scales(self) -> bool:
        """Whether the picture may be shrunk first."""
        return bool(getattr(self.codec, "scales", False))

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """Return the whole file of an RGB picture.

        Raises:
            ExternalCodecError: it failed, or gave something else than bytes.
        """
        return bytes(self._asked(bytes, self.codec.encode, image, quality))

    def decode(self, data: bytes) -> Image.Image:
        """Return the RGB picture of a file.

        Raises:
            ExternalCodecError: it failed, or gave something else than a PIL image.
        """
        picture: Image.Image = self._asked(Image.Image, self.codec.decode, data)
        return picture.convert("RGB")

    def _asked(self, kind: type, work: Callable[..., Any], *args: Any) -> Any:
        try:
            found = work(*args)
        except Exception as error:  # of as many types as there are codecs
            raise ExternalCodecError(f"{self.name}: {one_line(error, named=True)}") from error
        if not isinstance(found, kind):
            expected = f"{self.name}: {work.__name__} gave {type(found).__name__}, expected {kind.__name__}"
            raise ExternalCodecError(expected)
        return found


@dataclass(frozen=True)
class PublishedCurve:
    """A curve that somebody measured, on photographs of their own.

    Attributes:
        name: in tables and curves.
        description: theirs.
        results: columns of equal length by CompressAI's names: "bpp", "psnr-rgb", "ms-ssim-rgb" …
    """

    name: str
    description: str
    results: Mapping[str, Sequence[float | None]]

    def points(self, metric: Metric, side: int) -> list[tuple[float, float]]:
        """Return (bytes of a square of `side` pixels, score), by rising bytes; empty without this metric."""
        scores = next((self.results[key] for key in _keys(metric) if key in self.results), ())
        pairs = zip(self.results["bpp"], scores, strict=False)
        return sorted(
            (bpp * side**2 / 8, score) for bpp, score in pairs if bpp is not None and score is not None
        )


def _keys(metric: Metric) -> tuple[str, ...]:
    """The names of a metric's column, CompressAI's older ones too."""
    return metric.json_key, metric.name, metric.json_key.removesuffix("-rgb")


@cache
def contender(spec: str) -> CommandFormat | ObjectFormat | PublishedCurve:
    """Return what a word that is no built-in format means; once a process, as a network takes long to load.

    Raises:
        ValueError: it is none of what this module's text lists.
        MissingFormatError: the library or the program is missing.
        ExternalCodecError: the object cannot be made, or is no codec.
    """
    named = _NAMED.fullmatch(spec.strip())
    name, rest = (named[1], named[2].strip()) if named else (None, spec.strip())
    if "{in" in rest:
        return _command(name, rest)
    if rest.endswith(".json"):
        return _curve(name, Path(rest))
    if _ENTRY.fullmatch(rest):
        return _object(name, rest)
    known = ", ".join(FORMATS)
    raise ValueError(
        f"no format {spec!r}; there are: {known}; or give a command with {{in}} and {{out}}, a "
        "module:function, or a .json of CompressAI's"
    )


def _command(name: str | None, template: str) -> CommandFormat:
    encoder, _, decoder = template.partition(" :: ")
    words = tuple(shlex.split(encoder))
    for text, what in ((encoder, "the command"), (decoder or encoder, "the decoder")):
        missing = {"in", "out"} - {place[1] for place in _PLACE.finditer(text)}
        if missing:
            raise ValueError(
                f"{what} {text!r} lacks {' and '.join(f'{{{each}}}' for each in sorted(missing))}"
            )
    knob = _QUALITY.search(encoder)
    qualities: Sequence[int] = (0,)
    if knob:
        ends = zip(knob.groups(), (0, 100, 1), strict=True)
        first, last, step = (int(value) if value else usual for value, usual in ends)
        qualities = range(first, last + (1 if step > 0 else -1), step or 1)
        if not qualities:
            raise ValueError(f"{knob[0]} in {template!r} has no value; give {{q:FIRST:LAST:STEP}}")
    return CommandFormat(
        name or _safe(Path(words[0]).stem), words, tuple(shlex.split(decoder)) or None, qualities
    )


def _safe(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name) or "codec"


def _object(name: str | None, entry: str) -> ObjectFormat:
    module, _, attribute = entry.partition(":")
    # A script's path has no current folder, where a researcher's file is.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        if isinstance(found, type) or not hasattr(found, "encode"):
            found = found()
    except Exception as error:  # whatever their module raises
        raise ExternalCodecError(f"{entry} cannot be made: {one_line(error, named=True)}") from error
    lacking = [each for each in ("encode", "decode") if not callable(getattr(found, each, None))]
    if lacking:
        raise ExternalCodecError(f"{entry} has no {' and no '.join(lacking)}; see {__name__}.ObjectFormat")
    return ObjectFormat(name or _safe(str(getattr(found, "name", attribute))), found)


def _curve(name: str | None, path: Path) -> PublishedCurve:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        results = {
            str(key): [None if v is None else float(v) for v in values]
            for key, values in stored["results"].items()
        }
        lengths = {len(values) for values in results.values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no curve of CompressAI's: {one_line(error, named=True)}") from error
    if "bpp" not in results or len(lengths) != 1:
        raise ValueError(f"{path} is no curve of CompressAI's: it needs results.bpp, and equal columns")
    return PublishedCurve(
        name or _safe(str(stored.get("name") or path.stem)), str(stored.get("description", "")), results
    )
