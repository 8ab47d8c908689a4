import io
import json
import subprocess
import sys
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from shutil import copy
from threading import Event
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onedpiece.cli.encode as verb
from onedpiece.bitstream import Code
from onedpiece.cli.io import CHUNK
from onedpiece.codec import Codec
from onedpiece.codec.model import NetworkModel

MODEL = Path(__file__).parents[1] / "data" / "golden" / "model"


def listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_photo_becomes_a_file_beside_it(cli: Any, photos: Path) -> None:
    result = cli("encode", photos / "a.png", "--tokens", 5)
    # 7 bytes of header and 5·12 bits in 8 bytes; 8·15 / 65536 = 0.0018 bits a pixel
    assert result.status == 0
    assert result.err == ""
    assert result.out.decode().startswith(f"{photos}/a.odp: 5 tokens, 15 bytes, 0.0018 bpp, PSNR ")
    assert len(Code.from_bytes((photos / "a.odp").read_bytes())) == 5
    assert listing(photos) == {"a.png", "b.png", "notes.txt", "a.odp"}


def test_json_says_what_the_decoded_file_is_worth(cli: Any, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.odp"
    result = cli("encode", photos / "b.png", "-o", out, "--json")
    record = json.loads(result.out)
    assert result.out.count(b"\n") == 1
    assert cli("decode", out, "-o", tmp_path / "x.png", "--sharpness", 0).status == 0
    photo, decoded = (np.asarray(Image.open(path), float) for path in (photos / "b.png", tmp_path / "x.png"))
    assert record == {
        "file": str(photos / "b.png"),
        "out": str(out),
        "tokens": 16,
        "bytes": out.stat().st_size,
        "bpp": pytest.approx(8 * out.stat().st_size / (451 * 300)),
        "width": 451,
        "height": 300,
        "psnr": pytest.approx(10 * np.log10(255**2 / np.square(photo - decoded).mean())),
        "sharpness": 0.0,
    }


def test_a_perfect_picture_has_no_psnr_in_json(
    cli: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onedpiece.metrics.pixel.image_psnr", lambda *_: float("inf"))
    assert cli("encode", photos / "a.png").out.endswith(b" bpp, lossless\n")
    assert b'"psnr": null,' in cli("encode", photos / "a.png", "--json").out


def test_a_folder_goes_to_a_folder(cli: Any, photos: Path, tmp_path: Path) -> None:
    result = cli("encode", photos, "-o", tmp_path / "new" / "codes", "--json")
    assert result.status == 0
    assert [json.loads(line)["out"] for line in result.out.splitlines()] == [
        str(tmp_path / "new" / "codes" / name) for name in ("a.odp", "b.odp")
    ]
    assert listing(tmp_path / "new" / "codes") == {"a.odp", "b.odp"}


@pytest.mark.slow
def test_more_files_than_go_together(cli: Any, photos: Path) -> None:
    for number in range(9):
        (photos / f"c{number}.png").write_bytes((photos / "a.png").read_bytes())
    result = cli("encode", photos, "--tokens", 2)
    assert len(result.out.splitlines()) == 11
    assert len([name for name in listing(photos) if name.endswith(".odp")]) == 11


def test_failures_are_named_and_the_rest_goes_on(cli: Any, photos: Path) -> None:
    (photos / "a2.png").write_bytes(b"no picture")
    result = cli("encode", photos / "missing.png", photos, "--tokens", 2)
    assert result.status == 1
    assert result.err.splitlines() == [
        f"onedpiece: {photos}/missing.png: No such file or directory",
        f"onedpiece: {photos}/a2.png: not a picture that Pillow can read",
    ]
    assert len(result.out.splitlines()) == 2
    assert {"a.odp", "b.odp"} < listing(photos)
    assert "a2.odp" not in listing(photos)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.png", None, "No such file or directory"),
        ("text.png", b"hello", "not a picture that Pillow can read"),
        ("empty.png", b"", "not a picture that Pillow can read"),
    ],
)
def test_one_bad_file_is_bad_input(cli: Any, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = cli("encode", tmp_path / name)
    assert result == (2, b"", f"onedpiece: {tmp_path}/{name}: {message}\n")


def test_standard_input_to_standard_output(cli: Any, photos: Path) -> None:
    photo = (photos / "b.png").read_bytes()
    result = cli("encode", "-", "-o", "-", "--tokens", 4, stdin=photo)
    assert result.status == 0
    assert result.err.startswith("standard output: 4 tokens, 17 bytes, ")
    assert Code.from_bytes(result.out).size == (451, 300)
    assert cli("encode", "-", "--tokens", 4, stdin=photo).out == result.out
    records = cli("encode", "-", "--tokens", 4, "--json", stdin=photo)
    assert records.out == result.out
    assert json.loads(records.err)["file"] == "-"


def test_standard_input_to_a_file(cli: Any, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.odp"
    result = cli("encode", "-", "-o", out, "--tokens", 4, stdin=(photos / "a.png").read_bytes())
    assert result.out.decode().startswith(f"{out}: 4 tokens, 13 bytes, ")


def test_bytes_are_not_written_to_a_terminal(cli: Any, photos: Path) -> None:
    result = cli("encode", "-", stdin=(photos / "a.png").read_bytes(), terminals="out")
    assert result == (
        2,
        b"",
        "onedpiece: standard input: standard output is a terminal; name a file with -o\n",
    )


def test_max_bytes_keeps_what_fits(cli: Any, photos: Path, tmp_path: Path) -> None:
    result = cli("encode", photos, "-o", tmp_path, "--max-bytes", 20, "--json")
    # a: 13 bytes after the header of 7, 8 tokens in 12; b: 9 after 11, 6 tokens
    assert [json.loads(line)["tokens"] for line in result.out.splitlines()] == [8, 6]
    too_few = cli("encode", photos, "-o", tmp_path, "--max-bytes", 10)  # a: 7 + 2; b: 11 + 2
    assert too_few.status == 1
    assert too_few.out.decode().startswith(f"{tmp_path}/a.odp: 2 tokens, 10 bytes")
    assert "b.png: max_bytes is 10; the file of one token of this code takes 13" in too_few.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tokens", 0), "tokens is 0; tiny takes 1 to 16"),
        (("--tokens", 17), "tokens is 17; tiny takes 1 to 16"),
        (("--tokens", "many"), "Invalid value for '--tokens': "),
        (("--tokens", 3, "--max-bytes", 30), "give tokens or max_bytes, not both"),
        (("--max-bytes", 0), "max_bytes is 0; give the largest size of the file, in bytes"),
        (("--model", "none"), "no model 'none'"),
        (("--device", "abacus"), "device 'abacus' cannot be used: "),
        (("--colour",), "No such option: --colour"),
    ],
)
def test_bad_options(cli: Any, photos: Path, options: tuple[object, ...], message: str) -> None:
    result = cli("encode", photos / "a.png", *options)
    assert (result.status, result.out) == (2, b"")
    assert result.err.startswith(f"onedpiece: {message}")
    assert result.err.count("\n") == 1
    assert "a.odp" not in listing(photos)


def test_an_older_output_is_replaced(cli: Any, photos: Path) -> None:
    (photos / "a.odp").write_bytes(b"old")
    assert cli("encode", photos / "a.png", "--tokens", 2).status == 0
    assert (photos / "a.odp").stat().st_size == 10


def test_the_input_is_never_replaced(cli: Any, photos: Path) -> None:
    before = (photos / "a.png").read_bytes()
    (photos / "link.odp").symlink_to(photos / "a.png")
    for out in (photos / "a.png", photos / ".." / "photos" / "a.png", photos / "link.odp"):
        result = cli("encode", photos / "a.png", "-o", out)
        assert (result.status, result.out) == (2, b"")
        assert result.err == f"onedpiece: {out} is an input; name another output with -o\n"
    assert (photos / "a.png").read_bytes() == before


def test_a_bar_is_shown_on_a_terminal_only(cli: Any, photos: Path) -> None:
    assert cli("encode", photos).err == ""
    shown = cli("encode", photos, "--json", terminals="err")
    assert "2/2" in shown.err
    assert [json.loads(line)["tokens"] for line in shown.out.splitlines()] == [16, 16]
    assert cli("encode", photos / "a.png", terminals="err").err == ""


def test_large_photos_come_without_pillows_warning(
    cli: Any, photos: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)  # a.png has 65,536, b.png 135,300: more than twice
    assert cli("encode", photos / "a.png").status == 0
    assert not [warning for warning in recwarn if warning.category is Image.DecompressionBombWarning]
    result = cli("encode", photos / "b.png")
    assert result.status == 2
    assert result.err.startswith(f"onedpiece: {photos}/b.png: the picture is too large")


def test_a_16_bit_photo_is_compared_with_its_8_bits(cli: Any, tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65_535, 256).astype(np.uint16), (256, 1))
    file = io.BytesIO()
    Image.fromarray(ramp).save(file, "png")
    (tmp_path / "grey.png").write_bytes(file.getvalue())
    record = json.loads(cli("encode", tmp_path / "grey.png", "--json").out)
    assert record["psnr"] > 15


def test_what_was_converted_is_in_the_record(cli: Any, photos: Path) -> None:
    with Image.open(photos / "a.png") as image:
        exif = Image.Exif()
        exif[0x0112] = 6
        image.convert("RGBA").save(photos / "a.png", exif=exif)
    assert json.loads(cli("encode", photos / "a.png", "--json").out)["converted"] == ["turned upright"]
    assert "converted" not in json.loads(cli("encode", photos / "b.png", "--json").out)


def test_control_characters_of_a_name_are_escaped(cli: Any, photos: Path) -> None:
    odd = photos / "a\x1b[31m\n.png"
    (photos / "a.png").rename(odd)
    result = cli("encode", odd, "--tokens", 3)
    assert b"\x1b" not in result.out
    assert result.out.count(b"\n") == 1


def test_two_endings_of_one_name_are_two_files(cli: Any, photos: Path, tmp_path: Path) -> None:
    copy(photos / "a.png", photos / "b.jpg")
    out = tmp_path / "out"
    assert cli("encode", photos, "-o", out, "--tokens", 2).status == 0
    assert {path.name for path in out.iterdir()} == {"a.odp", "b.jpg.odp", "b.png.odp"}


def test_bits_a_pixel_that_are_no_byte_are_said(cli: Any, photos: Path) -> None:
    Image.new("RGB", (1, 1)).save(photos / "dot.png")
    result = cli("encode", photos / "dot.png", "--bpp", 0.5)
    assert result.status == 2
    assert "bpp 0.5 of 1x1 pixels is 0 bytes; the file of one token of this code takes" in result.err


CLOSED = "standard output is closed; name a file with -o\n"


def test_without_a_standard_output_a_file_has_to_be_named(
    cli: Any, photos: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from onedpiece.cli.main import main

    monkeypatch.setattr(sys, "stdout", None)
    words = ["encode", str(photos / "a.png"), "--tokens", "8", "-o", "-", "--model", str(MODEL)]
    assert main(words) == 1
    assert capfd.readouterr() == ("", f"onedpiece: {photos}/a.png: {CLOSED}")


@pytest.mark.slow
def test_a_closed_standard_output_is_one_line(photos: Path) -> None:
    words = f"{sys.executable} -m onedpiece encode {photos}/a.png --tokens 8 -o - --model {MODEL} >&-"
    done = subprocess.run(words, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"onedpiece: {photos}/a.png: {CLOSED}")


def test_the_psnr_is_that_of_the_faithful_picture(
    cli: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    detokenize = NetworkModel.detokenize

    def noted(self: NetworkModel, rows: Any, sharpness: float = 0.0) -> Any:
        looks.append(sharpness)
        return detokenize(self, rows, sharpness)

    monkeypatch.setattr(NetworkModel, "detokenize", noted)
    assert cli("encode", photos / "a.png", "-o", tmp_path / "a.odp").status == 0
    assert looks == [0.0]


@pytest.mark.parametrize("tiles", [(), ("--tiles",)])
def test_a_folder_of_many_is_told_in_its_order(cli: Any, tmp_path: Path, tiles: tuple[str, ...]) -> None:
    """Pictures are compared by another thread, while the network has the next ones."""
    colours = np.random.default_rng(0).integers(0, 256, (2 * CHUNK + 1, 3))
    for i, colour in enumerate(colours):
        Image.new("RGB", (300 + i, 40), tuple(map(int, colour))).save(tmp_path / f"{i:02}.png")
    (tmp_path / "03.png").write_bytes(b"no picture")
    result = cli("encode", tmp_path, "--json", "--tokens", 9 if tiles else 3, *tiles)
    records = [json.loads(line) for line in result.out.splitlines()]
    assert [Path(each["file"]).name for each in records] == [f"{i:02}.png" for i in range(17) if i != 3]
    assert [each["width"] for each in records] == [300 + i for i in range(17) if i != 3]
    assert (result.status, result.err.count("\n")) == (1, 1)
    for each in records[::5]:
        alone = json.loads(cli("encode", each["file"], "--json", "--tokens", each["tokens"], *tiles).out)
        assert alone == each


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("out of memory"), 1), (KeyboardInterrupt(), 130)]
)
def test_what_was_written_is_told_though_the_next_photo_fails(
    cli: Any, photos: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    encode, scored = Codec.encode_batch_to, Event()

    def failing(self: Codec, images: Any, *args: Any, **kwargs: Any) -> Any:
        if images[0].size == (451, 300):
            assert scored.wait(30)
            raise error
        return encode(self, images, *args, **kwargs)

    def score(*_: object) -> float:
        scored.set()
        return 20.0

    monkeypatch.setattr(verb, "CHUNK", 1)
    monkeypatch.setattr(verb, "_psnr", score)
    monkeypatch.setattr(Codec, "encode_batch_to", failing)
    result = cli("encode", photos / "a.png", photos / "b.png")
    assert result.out.decode().startswith(f"{photos}/a.odp: 16 tokens")
    assert result.out.count(b"\n") == 1
    assert result.status == status
    assert listing(photos) == {"a.png", "b.png", "notes.txt", "a.odp"}


def test_after_ctrl_c_what_is_not_scored_yet_is_not_waited_for() -> None:
    future: Future[float] = Future()
    assert future.cancel()
    written = deque([verb._Written(verb.Job("a", "b"), (1, 1), (), None, 1, future)])  # type: ignore[arg-type]
    verb._tell(written, 1, None, None)  # type: ignore[arg-type]
    assert not written
