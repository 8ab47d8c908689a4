"""Other people's codecs: commands, Python objects and published curves, in tables, curves and BD-rate."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from onedpiece.codec import Codec
from onedpiece.errors import ExternalCodecError, MissingFormatError
from onedpiece.evaluation import baselines
from onedpiece.evaluation.baselines import format_of
from onedpiece.evaluation.comparison import ComparisonConfig, compare, reconstructor
from onedpiece.evaluation.export import export_files
from onedpiece.evaluation.external import CommandFormat, PublishedCurve, contender
from onedpiece.evaluation.photos import Photo, PhotoSet
from onedpiece.evaluation.results import OURS, curve, delta_table, score_table
from onedpiece.metrics.descriptors import METRICS
from onedpiece.metrics.registry import Scorer

ENCODER = (
    "import sys; from PIL import Image; "
    "Image.open(sys.argv[1]).save(sys.argv[2], 'JPEG', quality=int(sys.argv[3]))"
)
DECODER = "import sys; from PIL import Image; Image.open(sys.argv[1]).save(sys.argv[2])"
MODULE = """
from io import BytesIO
from PIL import Image

made = []

class Jpeg:
    name = "their jpeg"
    qualities = range(5, 96, 10)
    scales = True
    def __init__(self):
        made.append(self)
    def encode(self, image, quality):
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        return file.getvalue()
    def decode(self, data):
        return Image.open(BytesIO(data))

class Odd(Jpeg):
    def encode(self, image, quality):
        return "text"
    def decode(self, data):
        raise RuntimeError("out of\\nmemory")

class Bare:
    encode = None

def broken():
    raise OSError("no weights")
"""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    contender.cache_clear()
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module beside the user, who is in a folder of their own."""
    (tmp_path / "their_codec.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "their_codec", raising=False)
    return "their_codec"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "curve.json"
    results = {"bpp": [0.02, 0.005, 0.01], "psnr-rgb": [22.0, 18.0, 20.0], "ms-ssim-rgb": [0.7, None, 0.6]}
    path.write_text(json.dumps({"name": "bmshj2018 factorized", "description": "Kodak", "results": results}))
    return path


def python(code: str, *words: str) -> str:
    return shlex.join([sys.executable, "-c", code]) + " " + " ".join(words)


def test_a_template_has_its_parts() -> None:
    found = format_of("mozjpeg=cjpeg -quality {q:1:95:2} -outfile {out.jpg} {in.ppm}")
    assert isinstance(found, CommandFormat)
    assert found.name == "mozjpeg"
    assert found.encoder == ("cjpeg", "-quality", "{q:1:95:2}", "-outfile", "{out.jpg}", "{in.ppm}")
    assert (found.qualities, found.decoder, found.scales) == (range(1, 96, 2), None, True)
    found = format_of("/opt/x265 --qp {q:51:0:-1} {in} {out} :: /opt/dec {in} {out}")
    assert isinstance(found, CommandFormat)
    assert (found.name, found.qualities) == ("x265", range(51, -1, -1))
    assert found.decoder == ("/opt/dec", "{in}", "{out}")
    assert format_of("enc {in} {out}").qualities == (0,)
    assert format_of("enc {in} {out} {q}").qualities == range(101)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cwebp {in}", r"lacks \{out\}"),
        ("a {in} {out} :: b {out}", r"the decoder 'b \{out\}' lacks \{in\}"),
        ("a {in} {out} {q:9:1}", r"\{q:9:1\} in .* has no value"),
        ("nothing", "no format 'nothing'; there are: jpeg, .* module:function"),
        ("nowhere.json", "nowhere.json is no curve of CompressAI's: FileNotFoundError"),
    ],
)
def test_what_means_nothing_is_named(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        contender(spec)


@pytest.mark.slow
def test_a_command_encodes_and_decodes(drawing: Image.Image) -> None:
    with_decoder = format_of(
        f"mine={python(ENCODER, '{in}', '{out}', '{q:1:95}')} :: {python(DECODER, '{in}', '{out}')}"
    )
    plain = format_of(f"plain={python(ENCODER, '{in.ppm}', '{out.jpg}', '{q:1:95}')}")
    data = with_decoder.encode(drawing, 30)
    assert data == plain.encode(drawing, 30)
    assert len(data) < len(plain.encode(drawing, 90))
    for fmt in (with_decoder, plain):
        assert fmt.decode(data).tobytes() == Image.open(_file(data)).convert("RGB").tobytes()


def _file(data: bytes) -> Any:
    from io import BytesIO

    return BytesIO(data)


@pytest.mark.slow
def test_a_command_that_fails_is_named(drawing: Image.Image) -> None:
    failing = python("import sys; print('first', file=sys.stderr); sys.exit('bad input')", "{in}", "{out}")
    with pytest.raises(ExternalCodecError, match=r"^its: .*python.* ended with status 1: bad input$"):
        format_of(f"its={failing}").encode(drawing, 0)
    silent = format_of(f"its={python('pass', '{in}', '{out}')}")
    with pytest.raises(ExternalCodecError, match="ended with status 0"):
        silent.encode(drawing, 0)
    with pytest.raises(ExternalCodecError, match="its: it wrote no picture"):
        silent.decode(b"junk")
    with pytest.raises(MissingFormatError, match="there is no program 'no-such-codec' here"):
        format_of("no-such-codec {in} {out}").encode(drawing, 0)


def test_an_object_is_made_once_and_checked(theirs: str, drawing: Image.Image) -> None:
    found = format_of(f"{theirs}:Jpeg")
    assert (found.name, found.qualities, found.scales) == ("their_jpeg", range(5, 96, 10), True)
    assert format_of(f"{theirs}:Jpeg") is found
    assert len(sys.modules[theirs].made) == 1
    assert found.decode(found.encode(drawing, 55)).size == drawing.size
    odd = format_of(f"odd={theirs}:Odd")
    with pytest.raises(ExternalCodecError, match="odd: encode gave str, expected bytes"):
        odd.encode(drawing, 5)
    with pytest.raises(ExternalCodecError, match="odd: RuntimeError: out of memory"):
        odd.decode(b"")
    for entry, message in (
        ("Bare", "has no encode and no decode"),
        ("broken", "cannot be made: OSError: no weights"),
        ("missing", "cannot be made: AttributeError"),
    ):
        with pytest.raises(ExternalCodecError, match=message):
            format_of(f"{theirs}:{entry}")


def test_a_curve_is_in_bytes_of_our_side(published: Path) -> None:
    found = contender(str(published))
    assert isinstance(found, PublishedCurve)
    assert found.name == "bmshj2018_factorized"
    # 0.01 bits a pixel of 256·256 pixels are 81.92 bytes.
    assert found.points(METRICS["psnr"], 256) == [(40.96, 18.0), (81.92, 20.0), (163.84, 22.0)]
    assert found.points(METRICS["ms-ssim"], 256) == [(81.92, 0.6), (163.84, 0.7)]
    assert found.points(METRICS["lpips"], 256) == []
    with pytest.raises(ValueError, match="is a curve; it encodes nothing"):
        format_of(str(published))
    published.write_text(json.dumps({"results": {"psnr-rgb": [1.0]}}))
    contender.cache_clear()
    with pytest.raises(ValueError, match=r"it needs results\.bpp, and equal columns"):
        contender(str(published))


@pytest.mark.slow
def test_all_of_them_in_one_comparison(
    codec: Codec, photos: list[Photo], theirs: str, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "SCALES", (0.02, 0.05, 1.0))
    command = f"shell={python(ENCODER, '{in}', '{out}', '{q:10:90:80}')}"
    against = (command, f"entry={theirs}:Jpeg", str(published), "webp")
    config = ComparisonConfig(against, (12, 20, 30, 700), workers=1)
    result = compare(PhotoSet(photos[:1], []), codec, config, Scorer(["psnr"]))
    assert result.codecs == (OURS, "shell", "entry", "bmshj2018_factorized", "webp")
    psnr = METRICS["psnr"]
    table = score_table(result, psnr)
    assert [row.name for row in table.rows][1:4] == ["shell", "entry", "bmshj2018_factorized (published)"]
    assert [cell.text for cell in table.rows[3].cells] == ["–", "–", "–", "22.00"]
    assert [cell.text for cell in table.rows[1].cells][:3] == ["–"] * 3  # a JPEG takes more than its tables
    assert float(table.rows[1].cells[3].text) > 10
    assert [point.score for point in curve(result, "bmshj2018_factorized", psnr)] == [18.0, 20.0, 22.0]
    deltas = delta_table(result)
    assert deltas is not None
    assert len(deltas.rows) == 4
    files = dict(export_files(result, reconstructor(codec, 256, against)))
    assert json.loads(files["curves/bmshj2018_factorized.json"]) == json.loads(published.read_text()) | {
        "name": "bmshj2018_factorized"
    }
    assert json.loads(files["curves/shell.json"])["results"]["budget"] == [700]
    page = files["report.html"].decode()
    assert "bmshj2018_factorized (published)" in page
    assert "entry" in page
    assert b"bmshj2018" not in files["results.csv"]


def test_bd_rate_against_a_published_curve(codec: Codec, photos: list[Photo], tmp_path: Path) -> None:
    """Half of our bytes at our own scores is +100 %: they are ours, at 0.5 times our rate."""
    from onedpiece.evaluation.results import deltas

    config = ComparisonConfig((), (12, 16, 22, 30), workers=1)
    ours = compare(PhotoSet(photos, []), codec, config, Scorer(["psnr"]))
    points = curve(ours, OURS, METRICS["psnr"])
    results = {
        "bpp": [8 * p.bytes / 256**2 / 2 for p in points],
        "psnr": [p.score for p in points],
    }
    path = tmp_path / "half.json"
    path.write_text(json.dumps({"name": "half", "results": results}))
    again = compare(
        PhotoSet(photos, []),
        codec,
        ComparisonConfig((str(path),), config.budgets, workers=1),
        Scorer(["psnr"]),
    )
    (delta,) = deltas(again, METRICS["psnr"])
    assert delta.rate == pytest.approx(100.0)


def test_two_of_one_name_are_refused(codec: Codec, photos: list[Photo], published: Path) -> None:
    config = ComparisonConfig(("webp", f"webp={published}"), (30,))
    with pytest.raises(ValueError, match="two codecs are called webp; put NAME= in front of one"):
        compare(PhotoSet(photos, []), codec, config, Scorer(["psnr"]))
