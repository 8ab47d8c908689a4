"""The maintainers' tools run, on next to nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copy
from types import ModuleType

import pytest
import torch

from onedpiece.codec import Codec
from onedpiece.evaluation.photos import Photo
from onedpiece.tokenizer import PRESETS, Tokenizer, TokenizerConfig

Load = Callable[[str], ModuleType]


@pytest.fixture
def folder(tmp_path: Path, data: Path, photos: list[Photo]) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    for photo in photos:
        copy(data / photo.name, path)
    return path


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, codec: Codec) -> None:
    monkeypatch.setattr("onedpiece.weights.load", lambda name=None, device="cpu": codec)


def test_evaluate_tokenizer(
    tool: Load, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tool("evaluate_tokenizer")
    monkeypatch.setattr(module, "METRICS", ("psnr",))
    words = ["--data", str(folder), "--tokens", "4,16", "--json", str(tmp_path / "t.json")]
    assert module.main([*words, "--markdown", str(tmp_path / "t.md")]) == 0
    rows = json.loads((tmp_path / "t.json").read_text())
    assert [row["tokens"] for row in rows] == [4, 16]
    assert rows[1]["psnr-rgb"] > rows[0]["psnr-rgb"]
    assert (tmp_path / "t.md").read_text().count("| tiny |") == 2


def test_evaluate_tokenizer_names_what_it_cannot_read(
    tool: Load, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = tool("evaluate_tokenizer")
    monkeypatch.setattr(module, "METRICS", ("psnr",))
    (folder / "broken.png").write_text("not a picture")
    assert module.main(["--data", str(folder), "--tokens", "4"]) == 1
    assert "broken.png: not a picture" in capsys.readouterr().err


def test_rfid_is_refused_before_any_work(tool: Load, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tool("evaluate_tokenizer")
    monkeypatch.setattr(module, "METRICS", ("psnr",))
    with pytest.raises(ValueError, match="rFID of 3 images means nothing; give at least 2000"):
        module.main(["--data", str(folder), "--rfid"])


def test_token_maps(tool: Load, folder: Path, tmp_path: Path) -> None:
    module = tool("token_maps")
    out = tmp_path / "maps"
    assert module.main(["--data", str(folder), "--out", str(out), "--photos", "2", "--clusters", "2"]) == 0
    assert {path.name for path in out.iterdir()} == {
        "contributions.png",
        "gains.png",
        "clusters.png",
        "token_maps.json",
    }
    report = json.loads((out / "token_maps.json").read_text())
    assert report["photos"] == 2
    assert set(report["clusters"]) == {"astronaut.png", "chelsea.png", "coffee.png"}


def test_bench_speed_counts_and_times(
    tool: Load, small_config: Callable[..., TokenizerConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tool("bench_speed")
    small = small_config(patch_size=16, num_tokens=8, fsq_grades=((8, (64, 64)),))
    codec = Codec(Tokenizer(replace(small, sharp_blocks=1)), b"test")
    monkeypatch.setattr(module, "preset", lambda _: small)
    monkeypatch.setattr(module, "load", lambda: codec)
    monkeypatch.setattr(module, "peak_memory_mb", lambda model, sharpness: 100.0 + sharpness)
    monkeypatch.setattr(module, "_SIDE", 64)
    path = tmp_path / "speed.json"
    words = ["--rounds", "2", "--batches", "1,2", "--tokens", "4,8", "--json", str(path), "--only", "network"]
    assert module.main(words) == 0
    report = json.loads(path.read_text())
    decodes = [f"decode {count}, {look}" for count in (4, 8) for look in ("default", "faithful")]
    assert [(row["what"], row["batch"]) for row in report["rows"]] == [
        (what, batch) for batch in (1, 2) for what in ("encode", *decodes)
    ]
    for row in report["rows"]:
        assert row["ratio"] == pytest.approx(row["theirs_ms"] / row["ours_ms"])
        same = row["ours_gflop"] == row["theirs_gflop"] > 0  # the same geometry, but for the sharp network
        assert same == ("default" not in row["what"])
    assert set(report["gflops"]) == {"float32", "float32 by oneDNN", "bfloat16"}
    sizes = report["sizes"]
    sharp = sum(each.numel() for each in codec.tokenizer.sharp.parameters())
    assert sizes["default"]["peak_mib"] == 101
    assert sizes["default"]["weights_mb"] - sizes["faithful"]["weights_mb"] == pytest.approx(2e-6 * sharp)
    assert sizes["faithful"]["weights_mb"] == pytest.approx(sizes["s-256"]["weights_mb"])


def test_bench_speed_counts_a_known_product(tool: Load) -> None:
    module = tool("bench_speed")
    case = module.Case("x", "matmul", 1, lambda: torch.ones(8, 16) @ torch.ones(16, 32))
    module.measure([case], 3, lambda _: None)
    assert case.flops == 2 * 8 * 16 * 32
    assert len(case.seconds) == 3


def test_the_bench_sets_ours_beside_the_published_geometry(tool: Load) -> None:
    module = tool("bench_speed")
    assert PRESETS[module.OURS].pixel_head != PRESETS[module.THEIRS].pixel_head == "vqgan"
