import json
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onedpiece.cli.encode as verb
from onedpiece.rate.search import SearchResult
from onedpiece.rate.target import RateTarget


def test_a_psnr_is_reached_by_the_decoded_file(cli: Any, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.odp"
    value = json.loads(cli("encode", photos / "b.png", "-o", out, "--tokens", 5, "--json").out)["psnr"]
    record = json.loads(cli("encode", photos / "b.png", "-o", out, "--psnr", value, "--json").out)
    assert cli("decode", out, "-o", tmp_path / "b.png").status == 0
    photo, decoded = (np.asarray(Image.open(path), float) for path in (photos / "b.png", tmp_path / "b.png"))
    reached = 10 * np.log10(255**2 / np.square(photo - decoded).mean())
    assert record["tokens"] <= 5
    assert reached >= value - 1e-9
    assert record["target"] == {"metric": "psnr", "value": value}
    assert record["reached"] == pytest.approx(reached)
    assert record["met"] is True
    assert record["bytes"] == out.stat().st_size


def test_out_of_reach_is_said_and_nothing_is_written(cli: Any, photos: Path) -> None:
    result = cli("encode", photos / "a.png", "--psnr", 70)
    assert (result.status, result.out) == (1, b"")
    assert result.err.startswith(f"onedpiece: {photos}/a.png: PSNR 70 dB is out of reach: the best is ")
    assert result.err.count("\n") == 1
    assert {path.name for path in photos.iterdir()} == {"a.png", "b.png", "notes.txt"}


def test_best_effort_writes_and_says_what_it_reached(cli: Any, photos: Path) -> None:
    result = cli("encode", photos / "a.png", "--psnr", 70, "--best-effort")
    assert result.status == 0
    assert " falls short of 70\n" in result.out.decode()
    assert (photos / "a.odp").is_file()
    assert (
        json.loads(cli("encode", photos / "a.png", "--psnr", 70, "--best-effort", "--json").out)["met"]
        is False
    )


def test_a_lossless_picture_reached_its_target_without_a_number() -> None:
    """JSON has no infinity."""
    target = RateTarget(psnr=60)
    request = verb._Request(target, None, False, None)
    record = verb._target_record(request, SearchResult(3, inf, True, 2))
    assert record == {"target": {"metric": "psnr", "value": 60}, "reached": None, "met": True}
    assert verb._verdict(record) == "; psnr of a lossless picture reaches 60"


def test_bits_a_pixel_of_each_photo(cli: Any, photos: Path, tmp_path: Path) -> None:
    result = cli("encode", photos, "-o", tmp_path, "--bpp", 0.002, "--json")
    # a: 0.002·65536/8 = 16.4 → 16 bytes, 9 after the header of 7: 6 tokens; b: 33 bytes, 22 after 11: 14
    assert [json.loads(line)["tokens"] for line in result.out.splitlines()] == [6, 14]


def test_one_wish_at_a_time(cli: Any, photos: Path) -> None:
    result = cli("encode", photos / "a.png", "--psnr", 20, "--ssim", 0.5)
    assert result == (2, b"", "onedpiece: give psnr or ssim, not both\n")


def test_tiles_share_one_budget_and_say_so(cli: Any, photos: Path, tmp_path: Path) -> None:
    result = cli("encode", photos / "b.png", "-o", tmp_path / "b.odp", "--tiles", "--max-bytes", 60, "--json")
    record = json.loads(result.out)
    # 451×300: 2 × 2 tiles of 256, each with 1 to 16 tokens; at most 60 bytes, 16 to 18 of them header
    assert 56 <= record["bytes"] == (tmp_path / "b.odp").stat().st_size <= 60
    assert " in 4 tiles, " in cli("info", tmp_path / "b.odp").out.decode()
    assert cli("decode", tmp_path / "b.odp", "-o", tmp_path / "b.png").status == 0
    with Image.open(tmp_path / "b.png") as decoded:
        assert decoded.size == (451, 300)
    cut = cli("truncate", tmp_path / "b.odp", "--tokens", 9, "-o", tmp_path / "c.odp")
    assert cut.status == 0
    assert cli("decode", tmp_path / "c.odp", "-o", tmp_path / "c.png").status == 0


@pytest.mark.slow
def test_a_bar_counts_the_tiles_of_one_photo(cli: Any, photos: Path) -> None:
    assert cli("encode", photos / "b.png", "--tiles").err == ""
    assert "4/4" in cli("encode", photos / "b.png", "--tiles", terminals="err").err


def test_skip_existing_does_what_is_left(cli: Any, photos: Path) -> None:
    assert cli("encode", photos / "a.png", "--tokens", 2).status == 0
    before = (photos / "a.odp").read_bytes()
    result = cli("encode", photos, "--tokens", 4, "--skip-existing")
    assert result.out.decode().startswith(f"{photos}/b.odp: 4 tokens")
    assert (photos / "a.odp").read_bytes() == before
    assert cli("encode", photos, "--skip-existing") == (0, b"", "")
    assert cli("decode", photos, "-o", photos, "--skip-existing").status == 0  # a.png, b.png are there


def test_long_work_off_a_terminal_says_that_it_goes_on(
    cli: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onedpiece.cli.report.SECONDS_A_LINE", 0.0)
    assert cli("encode", photos / "b.png", "--tiles").err == "onedpiece: at work: tiles 4 of 4\n"
    monkeypatch.setattr("onedpiece.cli.report.SECONDS_A_LINE", 600.0)
    assert cli("encode", photos / "b.png", "--tiles").err == ""
