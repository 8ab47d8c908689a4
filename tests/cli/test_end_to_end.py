"""The command as a user runs it, with the bundled model: a process each, so few of them."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from shutil import copy

import numpy as np
import pytest
from PIL import Image

from onedpiece.bitstream import Code

COMMAND = [sys.executable, "-m", "onedpiece"]


def onedpiece(*words: object, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *map(str, words)], input=stdin, capture_output=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A 256×256 and a 481×321 photo, each encoded to 64 tokens in one run."""
    folder = tmp_path_factory.mktemp("end_to_end")
    copy(data / "astronaut.png", folder / "square.png")
    Image.open(data / "chelsea_451x300.png").resize((481, 321)).save(folder / "wide.jpg", quality=95)
    done = onedpiece("encode", folder, "--tokens", 64, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    (folder / "records").write_bytes(done.stdout)
    return folder


@pytest.mark.slow
def test_a_photo_of_the_models_size_fits_104_bytes(folder: Path) -> None:
    assert (folder / "square.odp").stat().st_size <= 7 + 96  # less where entropy coding helps


@pytest.mark.slow
def test_a_photo_of_481_by_321_fits_108_bytes(folder: Path) -> None:
    assert (folder / "wide.odp").stat().st_size <= 7 + 4 + 96


@pytest.mark.slow
def test_the_records_are_true(folder: Path) -> None:
    def size_of(name: str) -> int:
        return (folder / f"{name}.odp").stat().st_size

    square, wide = (json.loads(line) for line in (folder / "records").read_text().splitlines())
    assert (square["bytes"], square["tokens"], square["width"]) == (size_of("square"), 64, 256)
    assert (wide["bytes"], wide["width"], wide["height"]) == (size_of("wide"), 481, 321)
    assert square["psnr"] > 17  # the untrained linear codec has 18.8 dB on this photo
    assert wide["psnr"] > 20  # and 21.9 on this one


@pytest.mark.slow
def test_the_start_of_a_file_is_a_whole_picture(folder: Path) -> None:
    start = (folder / "wide.odp").read_bytes()[:60]  # head -c 60
    done = onedpiece("decode", "-", "-o", folder / "b.png", "--sharpness", 0, stdin=start)
    # 49 bytes after the header of 11: 392 bits, 32 tokens; entropy coded, 47 bytes that hold some more
    assert (done.returncode, done.stderr) == (0, b"")
    name, _, tokens = done.stdout.decode().removesuffix(" tokens\n").partition(": 481x321 from ")
    assert name == f"{folder}/b.png"
    assert 32 <= int(tokens) < 64
    picture, photo = (
        np.asarray(Image.open(folder / name).convert("RGB"), float) for name in ("b.png", "wide.jpg")
    )
    assert picture.shape == (321, 481, 3)
    assert 10 * np.log10(255**2 / np.square(picture - photo).mean()) > 18.5


@pytest.mark.slow
def test_truncating_is_encoding_to_fewer(folder: Path) -> None:
    assert onedpiece("truncate", folder / "wide.odp", "--tokens", 16, "-o", folder / "c.odp").returncode == 0
    code = Code.from_bytes((folder / "wide.odp").read_bytes())
    assert Code.from_bytes((folder / "c.odp").read_bytes()) == code[:16]
    assert (folder / "c.odp").stat().st_size <= 7 + 4 + 24


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send")
@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    reason="started in a shell's background, where Ctrl-C is ignored, by children too",
)
def test_ctrl_c_leaves_whole_files_only(folder: Path, tmp_path: Path) -> None:
    for number in range(200):
        copy(folder / "square.png", tmp_path / f"{number:03}.png")
    process = subprocess.Popen(
        [*COMMAND, "encode", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.readline()  # one photo is done, many are not
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors == b""
    written = list(tmp_path.glob("*.odp"))
    assert 0 < len(written) < 200
    assert all(len(Code.from_bytes(path.read_bytes())) == 256 for path in written)
    assert not list(tmp_path.glob(".*"))
