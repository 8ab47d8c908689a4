"""Curves that searches are held against, and the tool that does so."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from shutil import copy
from types import ModuleType

import numpy as np
import pytest

from onedpiece.codec import Codec
from onedpiece.evaluation.photos import Photo
from onedpiece.metrics.pixel import image_psnr
from onedpiece.metrics.registry import Scorer
from onedpiece.weights.checkpoint import weights_digest
from tools.prefix_curves import prefix_curves, stored_curves


@pytest.mark.slow
def test_every_prefix_has_its_score(codec: Codec, photos: list[Photo]) -> None:
    photo = photos[0].image
    code = codec.encode(photo)
    curves = prefix_curves(codec, photo, code, Scorer(["ssim"]))
    assert {name: len(row) for name, row in curves.items()} == {"psnr": 16, "ssim": 16}
    for tokens in (1, 9, 16):
        assert curves["psnr"][tokens - 1] == image_psnr(photo, codec.decode(code, tokens))


def test_what_was_stored_is_not_decoded_again(
    codec: Codec, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data / "coffee.png"
    first = stored_curves(codec, path, ["ssim"], tmp_path)
    (kept,) = tmp_path.iterdir()
    assert kept.name == f"{weights_digest(codec.tokenizer)}-coffee.npz"
    better = deepcopy(codec)  # which reads the same files
    list(better.tokenizer.decoder.parameters())[-1].data += 0.1
    other = stored_curves(better, path, ["ssim"], tmp_path)
    assert better.fingerprint == codec.fingerprint
    assert not np.array_equal(other["psnr"], first["psnr"])
    monkeypatch.setattr(Codec, "decode", None)
    again = stored_curves(codec, path, [], tmp_path)
    assert set(again) == {"psnr", "ssim", "psnr forecast"}
    np.testing.assert_array_equal(again["psnr"], first["psnr"])


def test_the_tool_ends_well_where_all_promises_hold(
    tool: Callable[[str], ModuleType],
    codec: Codec,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("astronaut.png", "rocket.png"):
        copy(data / name, folder)
    module = tool("check_targets")
    monkeypatch.setattr(module, "load", lambda _: codec)
    words = ["--data", folder, "--trials", 20, "--timings", 1, "--metrics", "psnr", "--timed", "psnr,ssim"]
    words += ["--workers", 1, "--cache", tmp_path / "cache"]
    monkeypatch.setattr("sys.argv", ["check_targets", *map(str, words)])
    assert module.main() == 0
    out = capsys.readouterr().out
    # Two photos of 20 trials each, of two kinds.
    assert "| psnr | 40 | 100.00 % |" in out
    assert "| max-bytes | 40 | 100.00 % | 100.00 % | 0.00 (0, 0) |" in out
    for metric in ("psnr", "ssim"):
        assert f"{metric} target over plain encode + decode, processor time, 2 searches: mean" in out


def test_the_tool_tells_of_a_broken_promise(tool: Callable[[str], ModuleType]) -> None:
    module = tool("check_targets")
    kept, late = module.Trial(1, 4, True), module.Trial(2, 4, True)
    for trial, status in ((kept, 0), (late, 1), (module.Trial(0, 4, False), 1)):
        assert module.report([module.Checked({"psnr": [trial]}, {"psnr": 0.01}, {})]) == status
