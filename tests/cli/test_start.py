"""What happens before and beside the network's work: imports, and photos that are read ahead."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from shutil import copy
from threading import Event

import pytest

import onedpiece.cli.encode as verb
from onedpiece.cli.io import CHUNK, Job
from onedpiece.cli.main import main
from onedpiece.codec.images import read_picture
from onedpiece.errors import PictureError

NOT_NEEDED = {
    *(
        "torch._dynamo",
        "torch._inductor",
        "sympy",
        "lightning",
        "torchmetrics",
        "torchvision",
        "timm",
        "lpips",
    ),
    *("vector_quantize_pytorch", "einx", "transformers", "huggingface_hub", "matplotlib", "scipy", "rich"),
    "pydantic",
    *("onedpiece.training", "onedpiece.evaluation", "onedpiece.heads", "onedpiece.retokenize"),
    *("onedpiece.bulk", "ray", "pyarrow", "fsspec.implementations.http"),
}
TRACED = """
import sys
from onedpiece.cli.main import main
status = main(sys.argv[2:])
print("loaded:", *sorted(set(sys.argv[1].split()) & set(sys.modules)))
sys.exit(status)
"""


@pytest.mark.slow
def test_encode_and_decode_import_nothing_that_they_do_not_use(data: Path, tmp_path: Path) -> None:
    code, picture = str(tmp_path / "a.odp"), str(tmp_path / "a.png")
    encode = ["encode", str(data / "astronaut.png"), "-o", code]
    for words in (encode, ["decode", code, "-o", picture]):
        command = [sys.executable, "-c", TRACED, " ".join(NOT_NEEDED), *words]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        assert printed.splitlines()[-1] == "loaded:"


@pytest.mark.slow
@pytest.mark.parametrize("words", [("info",), ("predict", "--tokens", "8"), ("encode", "--tokens", "8")])
def test_a_process_ends_without_a_word_on_standard_error(
    words: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    """What libraries hold is collected, or left, so that none of them speaks of leaks."""
    code = tmp_path / "a.odp"
    photo = str(data / "astronaut.png")
    command = [sys.executable, "-m", "onedpiece"]
    if words == ("info",):
        subprocess.run([*command, "encode", photo, "--tokens", "8", "-o", str(code)], check=True)
        photo = str(code)
    out = ["-o", str(code)] if words[0] == "encode" else []
    ended = subprocess.run(
        [*command, words[0], photo, *words[1:], *out], check=False, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout


def test_large_photos_are_read_fewer_at_a_time(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [Job(str(copy(data / "astronaut.png", tmp_path / f"{i}.png")), "-") for i in range(5)]
    size = read_picture(data / "astronaut.png").size
    monkeypatch.setattr(verb, "CHUNK_PIXELS", 2 * size[0] * size[1])
    assert [list(chunk) for chunk in verb.read_ahead(jobs)] == [jobs[:2], jobs[2:4], jobs[4:]]


def test_photos_are_read_ahead_in_their_order(data: Path, tmp_path: Path) -> None:
    for i in range(2 * CHUNK + 1):
        copy(data / "astronaut.png", tmp_path / f"{i}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    jobs = [Job(str(tmp_path / f"{i}.png"), "-") for i in range(2 * CHUNK + 2)]  # the last is not there
    chunks = list(verb.read_ahead(jobs))
    assert [len(chunk) for chunk in chunks] == [CHUNK, CHUNK, 2]
    read = {job: photo for chunk in chunks for job, photo in chunk.items()}
    assert list(read) == jobs
    assert isinstance(read[jobs[3]], PictureError)
    assert isinstance(read[jobs[-1]], FileNotFoundError)
    sound = [photo for photo in read.values() if not isinstance(photo, Exception)]
    assert len(sound) == 2 * CHUNK
    assert {photo.image.size for photo in sound} == {(256, 256)}


def test_the_next_photos_are_read_while_these_are_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Event()

    def read(waiting: Iterator[Job]) -> dict[Job, Exception]:
        jobs = list(islice(waiting, 1))
        if jobs and jobs[0].source == "second":
            second.set()
        return dict.fromkeys(jobs, OSError())

    monkeypatch.setattr(verb, "_read", read)
    chunks = verb.read_ahead([Job("first", "-"), Job("second", "-")])
    assert [job.source for job in next(chunks)] == ["first"]
    assert second.wait(timeout=30)
    assert [[job.source for job in chunk] for chunk in chunks] == [["second"]]


@pytest.mark.parametrize(
    ("words", "sharp"),
    [
        (("encode", "a.png"), False),
        (("encode", "a.png", "--psnr", "20"), False),
        (("encode", "a.png", "--lpips", "0.5"), True),
        (("decode", "a.odp"), True),
        (("decode", "a.odp", "--sharpness", "0"), False),
        (("decode", "a.odp", "--sharpness", "0.5"), True),
        (("placeholder", "a.png"), False),
        (("predict", "a.png"), False),
        (("predict", "a.png", "--overlay", "b.png"), True),
    ],
)
def test_the_sharp_network_is_loaded_where_it_is_used(
    words: tuple[str, ...], sharp: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def load(*_: object, sharp: bool = True) -> None:
        asked.append(sharp)
        raise ValueError("enough")

    monkeypatch.setattr("onedpiece.weights.load", load)
    assert main(words) == 2
    assert asked == [sharp]
