"""Half precision beside float32, on the golden model."""

from collections.abc import Callable
from pathlib import Path
from shutil import copy
from types import ModuleType

import pytest
import torch

import onedpiece
from onedpiece.codec import Codec
from onedpiece.metrics.pixel import image_psnr

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "model"


def test_the_table_says_what_decoding_by_hand_says(
    tool: Callable[[str], ModuleType], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy(data / "astronaut.png", tmp_path)
    words = ["--data", tmp_path, "--tokens", "8", "--dtypes", "bfloat16", "--model", GOLDEN]
    assert tool("check_precision").main([str(word) for word in words]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "bfloat16" in line]
    assert line.split("|")[2].strip() == "faithful"  # the golden model has no sharp network
    plain, half = onedpiece.load(GOLDEN), onedpiece.load(GOLDEN).to(dtype=torch.bfloat16)
    size = plain.image_size, plain.image_size
    photo = onedpiece.codec.images.read_picture(data / "astronaut.png").resize(size)
    code = plain.encode(photo)
    before, change, worst, levels = (float(cell) for cell in line.split("|")[4:8])
    by_hand = [image_psnr(photo, each.decode(code, 8, sharpness=0.0)) for each in (plain, half)]
    assert before == pytest.approx(by_hand[0], abs=0.006)
    assert change == pytest.approx(by_hand[1] - by_hand[0], abs=1e-3)
    assert worst == change
    assert 0 <= levels < 30


def test_a_changed_token_fails(
    tool: Callable[[str], ModuleType], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy(data / "astronaut.png", tmp_path)
    calls: list[object] = []

    def other_each_time(self: Codec, *_: object, **__: object) -> list[object]:
        calls.append(self)
        return [len(calls)]

    monkeypatch.setattr(Codec, "encode_batch", other_each_time)
    module = tool("check_precision")
    monkeypatch.setattr(module, "decoded", lambda *_: torch.zeros(1))
    assert module.main(["--data", str(tmp_path), "--model", str(GOLDEN), "--dtypes", "float16"]) == 1
