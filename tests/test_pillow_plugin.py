"""Pillow and .odp files, with a tiny model in the place of the bundled one."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from onedpiece import pillow_plugin
from onedpiece.codec import Codec

PRINT = bytes.fromhex("0badcafe")


@pytest.fixture(scope="module")
def codec(small_codec: Callable[..., Codec]) -> Iterator[Codec]:
    codec = small_codec(PRINT)
    pillow_plugin.register(codec)
    yield codec
    pillow_plugin.register()


def test_save_and_open(codec: Codec, photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "a.odp", tokens=9)
    assert (tmp_path / "a.odp").read_bytes() == codec.encode(photo, tokens=9).to_bytes()
    with Image.open(tmp_path / "a.odp") as opened:
        assert (opened.format, opened.size, opened.mode) == ("ODP", (256, 256), "RGB")
        assert opened.info["fingerprint"] == "0badcafe"
        assert opened.get_format_mimetype() == "image/x-odp"
        assert opened.tobytes() == codec.decode(tmp_path / "a.odp").tobytes()
        assert opened.resize((8, 8)).size == (8, 8)


def test_a_closed_file_is_not_decoded(codec: Codec, photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "a.odp", tokens=9)
    opened = Image.open(tmp_path / "a.odp")
    opened.close()
    with pytest.raises(ValueError, match="closed"):
        opened.load()


def test_opening_reads_the_header_alone(
    codec: Codec, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = BytesIO(codec.encode(photo).to_bytes())
    monkeypatch.setattr(Codec, "decode", lambda *_: pytest.fail("decoded"))
    assert Image.open(file).size == (256, 256)
    assert file.tell() <= 32


def test_save_takes_the_codecs_wishes(codec: Codec, photo: Image.Image) -> None:
    for wish in ({"psnr": 12.0}, {"max_bytes": 20}, {"bpp": 0.003}, {}):
        file = BytesIO()
        photo.save(file, "ODP", **wish)
        assert file.getvalue() == codec.encode(photo, **wish).to_bytes()  # type: ignore[arg-type]
        assert Image.open(file).convert("RGB").size == (256, 256)
    with pytest.raises(OSError, match=r"PSNR 90 dB is out of reach.*best_effort=True"):
        photo.save(BytesIO(), "ODP", psnr=90)
    with pytest.raises(ValueError, match="tokens is 99"):
        photo.save(BytesIO(), "ODP", tokens=99)


def test_one_picture_a_file(codec: Codec, photo: Image.Image) -> None:
    file = BytesIO()
    photo.save(file, "ODP", save_all=True, tokens=4)
    assert file.getvalue() == codec.encode(photo, tokens=4).to_bytes()
    with pytest.raises(OSError, match="holds one picture"):
        photo.save(BytesIO(), "ODP", save_all=True, append_images=[photo])


def test_a_picture_of_the_models_own_size(codec: Codec, photo: Image.Image, tmp_path: Path) -> None:
    photo.resize((32, 32)).convert("RGBA").save(tmp_path / "a.odp")
    assert np.asarray(Image.open(tmp_path / "a.odp")).shape == (32, 32, 3)


def test_a_prefix_of_a_file_opens(codec: Codec, photo: Image.Image) -> None:
    data = codec.encode(photo).to_bytes()
    assert Image.open(BytesIO(data[:14])).convert("L").size == (256, 256)  # 11 bytes of header, 2 tokens


def test_foreign_files_are_left_alone(codec: Codec, data: Path, tmp_path: Path) -> None:
    assert Image.open(data / "coffee.png").format == "PNG"
    for start in (b"", b"\xd1", b"\xd1\x1d", b"\xd1\x1d\x20later version", b"\xd1\x1d\x10sh", b"text"):
        with pytest.raises(UnidentifiedImageError):
            Image.open(BytesIO(start))


def test_damage_and_other_models_are_an_oserror_on_load(codec: Codec, photo: Image.Image) -> None:
    data = bytearray(codec.encode(photo).to_bytes())
    with pytest.raises(OSError, match="before its first token"):
        Image.open(BytesIO(data[:11])).load()
    data[3] ^= 1
    with pytest.raises(OSError, match="made by model 0aadcafe"):
        Image.open(BytesIO(data)).load()


def test_a_decompression_bomb_is_refused_as_pillow_does(codec: Codec) -> None:
    # 20,000 × 8,000 pixels, which the format allows and Pillow warns of at open, in 13 bytes of header
    bomb = b"\xd1\x1d\x11" + PRINT + b"\xa0\x9c\x01" + b"\xc0\x3e" + bytes(3)
    with pytest.warns(Image.DecompressionBombWarning):
        assert Image.open(BytesIO(bomb)).size == (20_000, 8_000)
    absurd = b"\xd1\x1d\x11" + PRINT + b"\xff\xff\x03" + b"\xff\xff\x03" + bytes(3)
    with pytest.raises(UnidentifiedImageError):
        Image.open(BytesIO(absurd))


def test_registering_needs_no_torch() -> None:
    program = "import sys, onedpiece; onedpiece.register_pillow(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
