"""The front-end benchmark: who is on the front, and what is compared."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

import onedpiece


@pytest.fixture
def bench(tool: Callable[[str], ModuleType]) -> ModuleType:
    return tool("bench_front_end")


def test_the_front_is_starred(bench: ModuleType) -> None:
    def line(label: str, ratio: float, psnr: float) -> object:
        return bench.Line(label, "shipped", 9, 0.012, (20.0, 15.0), (ratio, ratio), (19.0, psnr), (0.7, 0.6))

    lines = [line("whole", 1, 21.4), line("slow", 0.9, 21.4), line("fast", 1.5, 21.3), line("bad", 1.4, 21.2)]
    rows = bench.markdown(lines).splitlines()[2:]
    # slow is behind whole, bad behind fast; neither whole nor fast is behind anyone
    assert [row.endswith("| * |") for row in rows] == [True, False, True, False]
    assert rows[2] == (
        "| fast | shipped | 9 | 1.2% | 20.0 (1.50×) | 15.0 (1.50×) | 19.00 | 0.700 | 21.30 | 0.600 | * |"
    )


def test_equals_do_not_beat_each_other(bench: ModuleType) -> None:
    same = bench.Line("a", "shipped", 9, 0.012, (20.0, 15.0), (1.0, 1.0), (19.0, 21.0), (0.7, 0.6))
    assert not same.beats(same)


def test_what_is_compared(
    bench: ModuleType,
    small_codec: Callable[..., onedpiece.Codec],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "tome-0.5" / "weights").mkdir(parents=True)
    loaded: list[object] = []

    def load(name: object = None) -> onedpiece.Codec:
        loaded.append(name)
        return small_codec(image_size=256, patch_size=16, encoder_layers=4)

    monkeypatch.setattr(bench.onedpiece, "load", load)
    made = bench.codecs("m", [0.5], tmp_path)
    assert list(made) == [
        ("whole encoder", "shipped"),
        ("linear path alone", "shipped"),
        ("mctf 0.5", "shipped"),
        ("imagepiece 0.5", "shipped"),
        ("tome 0.5", "shipped"),
        ("tome 0.5", "fine-tuned"),
    ]
    assert loaded == ["m"] * 5 + [tmp_path / "tome-0.5" / "weights"]
    x = torch.rand(1, 3, 256, 256)
    # of 256 patches; MCTF rounds 128/3 in three layers to 43 each
    assert [bench.patches_left(codec, x) for codec in made.values()] == [256, 0, 127, 128, 128, 128]
