import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.cli import decode as verb
from onedpiece.codec.model import RETIRED
from onedpiece.metrics.pixel import image_psnr
from onedpiece.tokenizer import Tokenizer, TokenizerConfig

CODE = Code(np.arange(16), 4096, bytes.fromhex("0badcafe"), (481, 321))
SQUARE = Code(np.arange(9), 4096, bytes.fromhex("0badcafe"))


make_file = verb._file_of


@pytest.fixture
def codes(tmp_path: Path) -> Path:
    """A folder with two codes of different lengths."""
    folder = tmp_path / "codes"
    folder.mkdir()
    (folder / "a.odp").write_bytes(CODE.to_bytes())
    (folder / "b.odp").write_bytes(SQUARE.to_bytes())
    return folder


def test_a_code_becomes_a_picture_beside_it(cli: Any, codes: Path) -> None:
    result = cli("decode", codes / "a.odp")
    assert result == (0, f"{codes}/a.png: 481x321 from 16 tokens\n".encode(), "")
    assert Image.open(codes / "a.png").size == (481, 321)


def test_json(cli: Any, codes: Path) -> None:
    record = json.loads(cli("decode", codes / "b.odp", "--json", "--tokens", 4).out)
    names = {"file": f"{codes}/b.odp", "out": f"{codes}/b.png"}
    assert record == names | {"tokens": 4, "width": 256, "height": 256}


def test_a_picture_that_may_be_the_original_is_not_replaced(cli: Any, codes: Path) -> None:
    (codes / "a.png").write_bytes(b"the original")
    result = cli("decode", codes / "a.odp")
    assert result.status == 2
    assert result.err == (
        f"onedpiece: {codes}/a.png is already there, perhaps the original; name the output with -o\n"
    )
    assert (codes / "a.png").read_bytes() == b"the original"
    assert cli("decode", codes / "a.odp", "-o", codes / "a.png").status == 0
    assert Image.open(codes / "a.png").size == (481, 321)


def test_a_picture_that_cannot_be_stored_is_named_and_the_others_are_written(
    cli: Any, codes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def large_fails(picture: Any, size: tuple[int, int], file_format: str) -> bytes:
        if size == (481, 321):
            raise ValueError("too large for this format")
        return make_file(picture, size, file_format)

    monkeypatch.setattr(verb, "_file_of", large_fails)
    result = cli("decode", codes, "-o", tmp_path / "out")
    assert result == (
        1,
        f"{tmp_path}/out/b.png: 256x256 from 9 tokens\n".encode(),
        f"onedpiece: {codes}/a.odp: too large for this format\n",
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]


def test_after_ctrl_c_what_is_drawn_is_not_waited_for(
    cli: Any, codes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two of ten files are in the second pass, whose network is interrupted: eight pictures are whole."""
    for i in range(8):
        (codes / f"{i}.odp").write_bytes(SQUARE.to_bytes())
    draw = verb._draw

    def interrupted(codec: Any, codes: dict[Any, Any], *rest: Any) -> list[Any]:
        if len(codes) < 8:
            raise KeyboardInterrupt
        return draw(codec, codes, *rest)

    monkeypatch.setattr(verb, "_draw", interrupted)
    result = cli("decode", codes, "-o", tmp_path / "out")
    assert result.status == 130
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert result.out.count(b"\n") == len(written) <= 8
    assert all(Image.open(tmp_path / "out" / name).size == (256, 256) for name in written)


def test_the_start_of_a_file_is_a_picture(cli: Any, codes: Path) -> None:
    result = cli("decode", "-", "-o", codes / "c.png", stdin=CODE.to_bytes()[:20])
    # 9 bytes after the header of 11: 72 bits, 6 tokens
    assert result.out == f"{codes}/c.png: 481x321 from 6 tokens\n".encode()
    assert cli("decode", codes / "a.odp", "-o", codes / "d.png", "--tokens", 6).status == 0
    assert (codes / "c.png").read_bytes() == (codes / "d.png").read_bytes()


def test_standard_output_is_png(cli: Any, codes: Path) -> None:
    result = cli("decode", codes / "b.odp", "-o", "-")
    assert (result.status, result.err) == (0, "standard output: 256x256 from 9 tokens\n")
    assert Image.open(BytesIO(result.out)).format == "PNG"


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_name_of_standard_output_is_it(cli: Any, codes: Path, name: str) -> None:
    assert cli("decode", codes / "b.odp", "-o", name) == cli("decode", codes / "b.odp", "-o", "-")


def test_a_picture_too_long_for_its_format_is_one_line(cli: Any, codes: Path) -> None:
    (codes / "long.odp").write_bytes(replace(CODE, size=(65_501, 1)).to_bytes())
    result = cli("decode", codes / "long.odp", "-o", codes / "long.jpg")
    said = "a JPEG has sides of at most 65500 pixels, the picture has 65501; use .png"
    assert (result.status, result.err) == (2, f"onedpiece: {codes}/long.odp: {said}\n")
    assert not (codes / "long.jpg").exists()


def test_many_files_of_mixed_lengths(cli: Any, codes: Path, tmp_path: Path) -> None:
    result = cli("decode", codes, "-o", tmp_path / "pictures")
    assert result.status == 0
    assert [Image.open(tmp_path / "pictures" / f"{name}.png").size for name in "ab"] == [
        (481, 321),
        (256, 256),
    ]


@pytest.mark.parametrize(
    ("suffix", "file_format"), [(".jpg", "JPEG"), (".WEBP", "WEBP"), ("", "PNG"), (".ppm", "PPM")]
)
def test_the_ending_says_the_format(cli: Any, codes: Path, suffix: str, file_format: str) -> None:
    out = codes / f"x{suffix}"
    assert cli("decode", codes / "b.odp", "-o", out).status == 0
    picture: Any = Image.open(out)
    assert picture.format == file_format
    if file_format == "JPEG":  # at quality 95 a step of 16 is one of (16·10 + 50)/100 = 2
        assert picture.quantization[0][0] == 2


def test_an_unknown_ending_is_refused_at_once(cli: Any, codes: Path) -> None:
    result = cli("decode", codes / "b.odp", "-o", codes / "x.txt", "--model", "none")
    assert result == (
        2,
        b"",
        "onedpiece: cannot write pictures that end in .txt; use .png, .jpg, .webp or .avif\n",
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"\xd0" + data[1:], "not an .odp file: it starts with d0 1d"),
        (lambda data: data[:1] + b"\x1c" + data[2:], "not an .odp file: it starts with d1 1c"),
        (lambda data: b"", "the file is empty"),
        (lambda data: b"hello, I am a text\n", "not an .odp file: it starts with 68 65 ('hello, I')"),
        (lambda data: data[:5], "the file ends after 5 bytes, inside its header"),
        (lambda data: data[:8], "the file ends after 8 bytes, inside the picture's width"),
        (lambda data: data[:11], "the file ends after 11 bytes, before its first token"),
        (
            lambda data: data[:2] + b"\x21" + data[3:],
            "the file is .odp version 2; this onedpiece reads version 1",
        ),
        (
            lambda data: data[:2] + b"\x15" + data[3:],
            "the file is entropy coded; it takes the tables (entropy.json) of model",
        ),
        (lambda data: data + bytes(3), "the file has 18 tokens; tiny makes at most 16"),
        (lambda data: data + bytes(10**6), "found "),
    ],
)
@pytest.mark.parametrize("source", ["file", "-"])
def test_damaged_files_have_one_clear_line(
    cli: Any, tmp_path: Path, damage: Any, message: str, source: str
) -> None:
    data = damage(CODE.to_bytes())
    (tmp_path / "bad.odp").write_bytes(data)
    name = "-" if source == "-" else tmp_path / "bad.odp"
    result = cli("decode", name, "-o", tmp_path / "out.png", stdin=data)
    assert (result.status, result.out) == (2, b"")
    assert result.err.startswith(f"onedpiece: {'standard input' if source == '-' else name}: {message}")
    assert result.err.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


class TestSharpness:
    """A model with a sharp network in the place of the tiny one."""

    @pytest.fixture
    def tiny(self, small_config: Callable[..., TokenizerConfig]) -> Tokenizer:
        torch.manual_seed(0)
        return Tokenizer(small_config(image_size=256, patch_size=64, sharp_blocks=1))

    def picture(self, cli: Any, path: Path, *words: object) -> bytes:
        assert cli("decode", path, "-o", path.with_suffix(".ppm"), *words) == (0, ANY, "")
        return path.with_suffix(".ppm").read_bytes()

    def test_it_is_the_files_unless_it_is_asked_for(self, cli: Any, codes: Path) -> None:
        (codes / "f.odp").write_bytes(replace(SQUARE, faithful=True).to_bytes())
        faithful, half, sharp = (
            self.picture(cli, codes / "b.odp", "--sharpness", value) for value in ("0", "0.5", "1")
        )
        assert len({faithful, half, sharp}) == 3
        assert self.picture(cli, codes / "b.odp") == sharp
        assert self.picture(cli, codes / "f.odp") == faithful
        assert self.picture(cli, codes / "f.odp", "--sharpness", "1") == sharp

    def test_a_psnr_that_was_asked_for_is_decoded(self, cli: Any, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / "a.odp"
        record = json.loads(cli("encode", photos / "a.png", "-o", out, "--psnr", 11, "--json").out)
        assert record["met"]
        assert record["psnr"] == pytest.approx(record["reached"])
        decoded = Image.open(BytesIO(self.picture(cli, out)))
        assert image_psnr(Image.open(photos / "a.png").convert("RGB"), decoded) >= 11


@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan"])
def test_a_sharpness_out_of_range_is_refused_at_once(cli: Any, codes: Path, value: str) -> None:
    result = cli("decode", codes / "b.odp", "--sharpness", value, "--model", "none")
    assert result == (
        2,
        b"",
        f"onedpiece: --sharpness is {float(value)}; use 0 (faithful) to 1 (most natural)\n",
    )


def test_a_model_without_a_sharp_network_has_one_look(cli: Any, codes: Path) -> None:
    assert cli("decode", codes / "b.odp", "--sharpness", 0).status == 0
    result = cli("decode", codes / "b.odp", "-o", codes / "c.png", "--sharpness", 0.5)
    assert result == (2, b"", "onedpiece: sharpness is 0.5, but tiny has no sharp network; use 0\n")
    assert not (codes / "c.png").exists()


@pytest.mark.parametrize("fingerprint", RETIRED)
def test_files_of_the_models_of_0_1_0_are_named(cli: Any, tmp_path: Path, fingerprint: str) -> None:
    (tmp_path / "old.odp").write_bytes(replace(SQUARE, fingerprint=bytes.fromhex(fingerprint)).to_bytes())
    result = cli("decode", tmp_path / "old.odp")
    assert result == (
        2,
        b"",
        f"onedpiece: {tmp_path}/old.odp: the file was made by the model of onedpiece 0.1.0, whose tokens are "
        "not read any more; decode it with onedpiece 0.1.0\n",
    )
    assert cli("info", tmp_path / "old.odp").status == 0  # which asks for no model


def test_the_wrong_model_is_named(cli: Any, codes: Path) -> None:
    result = cli("decode", codes / "a.odp", "--model", "other")
    assert result.status == 2
    assert result.err == (
        f"onedpiece: {codes}/a.odp: the file was made by model 0badcafe, this is feedbeef (other); "
        "decode it with the model that made it\n"
    )


def test_more_tokens_than_there_are(cli: Any, codes: Path, tmp_path: Path) -> None:
    result = cli("decode", codes, "-o", tmp_path / "p", "--tokens", 12)
    assert result.status == 1
    assert result.err == f"onedpiece: {codes}/b.odp: tokens is 12; this code has 1 to 9\n"
    assert (tmp_path / "p" / "a.png").exists()


def test_a_folder_without_codes(cli: Any, tmp_path: Path) -> None:
    result = cli("decode", tmp_path)
    assert result == (2, b"", f"onedpiece: {tmp_path} holds no file that ends in .odp\n")
