import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from onedpiece.codec import Codec
from onedpiece.tokenizer import Tokenizer


@pytest.fixture
def folder(tmp_path: Path, data: Path) -> Path:
    """Two photos."""
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.open(data / "coffee.png").convert("RGB").save(photos / "coffee.jpg")
    Image.open(data / "chelsea_451x300.png").save(photos / "a cat.png")
    return photos


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, tiny: Tokenizer) -> None:
    monkeypatch.setattr("onedpiece.weights.load", lambda: Codec(tiny, bytes.fromhex("0badcafe")))


def test_one_photo_is_an_element(cli: Any, folder: Path) -> None:
    result = cli("placeholder", folder / "coffee.jpg")
    assert result.status == 0
    line = result.out.decode()
    # the tiny model has no entropy coder: 8 tokens of 12 bits are 12 bytes, 16 characters
    assert line.startswith('<odp-image data="~')
    assert line.index('" width="256" height="256"') == len('<odp-image data="~') + 16
    assert line.endswith('<img src="coffee.jpg" alt="" loading="lazy"></odp-image>\n')


def test_a_folder_is_a_map_by_names(cli: Any, folder: Path) -> None:
    found = json.loads(cli("placeholder", folder, "--tokens", 4).out)
    assert sorted(found) == ["a cat.png", "coffee.jpg"]
    cat = found["a cat.png"]
    assert (cat["width"], cat["height"], cat["tokens"], cat["bytes"]) == (451, 300, 4, 6)
    assert cat.keys() == {"data", "width", "height", "colour", "tokens", "bytes"}


def test_a_folder_of_one_photo_is_a_map_too(cli: Any, folder: Path) -> None:
    (folder / "a cat.png").unlink()
    assert list(json.loads(cli("placeholder", folder).out)) == ["coffee.jpg"]


def test_a_model_of_fewer_tokens_gives_all_it_has(cli: Any, folder: Path) -> None:
    made = json.loads(cli("placeholder", folder / "coffee.jpg", "--tokens", 64, "--format", "json").out)
    assert made["tokens"] == 16


def test_several_inputs_keep_their_paths(cli: Any, folder: Path) -> None:
    (folder / "again").mkdir()
    Image.new("RGB", (3, 2)).save(folder / "again" / "coffee.jpg")
    found = json.loads(cli("placeholder", folder, folder / "again").out)
    names = ["a cat.png", "again/coffee.jpg", "coffee.jpg"]
    assert sorted(found) == [f"{folder}/{name}" for name in names]


def test_one_photo_as_json_is_no_map(cli: Any, folder: Path) -> None:
    content = (folder / "coffee.jpg").read_bytes()
    named = json.loads(cli("placeholder", folder / "coffee.jpg", "--format", "json").out)
    assert named == json.loads(cli("placeholder", "-", "--format", "json", stdin=content).out)
    assert named["tokens"] == 8
    assert cli("placeholder", "-", stdin=content).out.endswith(b'"></odp-image>\n')


def test_a_rule_for_each_photo(cli: Any, folder: Path) -> None:
    lines = cli("placeholder", folder, "--format", "css").out.decode().splitlines()
    assert [line.split("{")[0] for line in lines] == ['img[src="a\\20 cat.png"]', 'img[src="coffee.jpg"]']
    assert "aspect-ratio:451/300;" in lines[0]


def test_others_go_on_where_one_is_no_picture(cli: Any, folder: Path) -> None:
    (folder / "no.png").write_bytes(b"text")
    result = cli("placeholder", folder)
    assert result.status == 1
    assert len(json.loads(result.out)) == 2
    assert result.err == f"onedpiece: {folder}/no.png: not a picture that Pillow can read\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tokens", 0], "--tokens is 0; use 1 to 64"),
        (["--tokens", 65], "--tokens is 65; use 1 to 64"),
        (["--format", "xml"], "--format is 'xml'; there are: html, json, css"),
    ],
)
def test_bad_options(cli: Any, folder: Path, words: list[Any], message: str) -> None:
    assert cli("placeholder", folder, *words) == (2, b"", f"onedpiece: {message}\n")
