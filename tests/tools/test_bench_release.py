"""Two checkouts in turns; here one beside itself."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_checkout_beside_itself(
    tool: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--threads=1", "--clock=process", "--rounds=2", "--batches=2", "--tokens=8,64"]
    assert tool("bench_release").main([str(ROOT), *words]) == 0
    heads, _, *rows = capsys.readouterr().out.splitlines()
    assert "before, ms" in heads
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    commands = ["`onedpiece encode`", "`onedpiece decode`"]
    assert [row[0] for row in cells] == ["encode 8", "encode 64", "decode 8", "decode 64", *commands]
    assert [row[1] for row in cells] == 4 * ["2"] + 2 * ["1"]
    for _, _, before, now, ratio in cells:
        # Every number is rounded to a tenth: on a fast machine that is much of a millisecond.
        least, most = ((float(before) + by) / (float(now) - by) + by for by in (-0.05, 0.05))
        assert least - 1e-6 <= float(ratio.rstrip("×")) <= most + 1e-6
        assert 0.3 < float(ratio.rstrip("×")) < 3


def test_milliseconds_are_the_median_rounds_a_picture(tool: Callable[[str], ModuleType]) -> None:
    case = tool("bench_release").Case("encode", 2, 8, ([0.2, 0.9, 0.4], [0.1, 0.1, 0.3]))
    assert case.ms == pytest.approx((200.0, 50.0))


def test_a_folder_that_is_no_checkout_is_refused(tool: Callable[[str], ModuleType], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no onedpiece"):
        tool("bench_release").main([str(tmp_path), "--threads=1", "--rounds=1"])


def test_a_process_that_ended_is_said(tool: Callable[[str], ModuleType]) -> None:
    module = tool("bench_release")
    with module.Checkout(ROOT, 1, "process") as checkout:
        checkout._process.stdin.write("no case\n")
        with pytest.raises(RuntimeError, match="process ended"):
            checkout.seconds(module.Case("encode", 1, 8))
