from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Load = Callable[[str], ModuleType]


@pytest.fixture
def records() -> list[dict[str, Any]]:
    def record(
        codec: str,
        tokens: int | None,
        size: float | None,
        psnr: float,
        lpips: float,
        top1: float,
        sharpness: float | None = None,
    ) -> dict[str, Any]:
        return {
            "codec": codec,
            "tokens": tokens,
            "bytes": size,
            "psnr-rgb": psnr,
            "lpips-alex": lpips,
            "top1": top1,
            "sharpness": sharpness,
        }

    return [
        record("original", None, None, 0.0, 0.0, 0.9),
        record("tiny", 64, 92.0, 18.5, 0.690, 0.03, 0.0),
        record("tiny", 128, 176.0, 19.4, 0.640, 0.1, 0.0),
        record("tiny", 256, 348.0, 20.0, 0.615, 0.3, 0.0),
        record("tiny", 64, 92.0, 18.0, 0.290, 0.04, 1.0),
        record("tiny", 128, 176.0, 19.0, 0.240, 0.2, 1.0),
        record("tiny", 256, 348.0, 19.5, 0.215, 0.45, 1.0),
        record("webp", None, 82.0, 18.2, 0.844, 0.01),
        record("webp", None, 331.0, 21.5, 0.623, 0.17),
    ]


def test_the_judge_is_compared_with_webp_and_with_the_originals(
    tool: Load, records: list[dict[str, Any]]
) -> None:
    # 5 × 1 % of the WebP files that are no larger than 92 bytes; half of 90 %
    assert tool("card_tables").judge_goals(records) == {64: 5.0, 256: 45.0}


def test_what_meets_its_goal_is_bold(tool: Load, records: list[dict[str, Any]]) -> None:
    lines = tool("card_tables").goals(records).splitlines()
    assert lines[0] == "|  | 64 | 128 | 256 |"
    reached = [line for line in lines if line.startswith("| reached")]
    assert reached == [
        "| reached, sharp | **0.290** | 0.240 | 0.215 |",  # at most .300, .230, .202
        "| reached, faithful | **18.50** | **19.40** | **20.00** |",  # at least 16.58, 17.62, 18.26
        "| reached, faithful | **18.50** | 19.40 | 20.00 |",  # at least 18.0, 19.5, 21.5
        "| reached, sharp | 4.0 | 20.0 | **45.0** |",  # at least 5, nothing, 45
    ]


@pytest.mark.parametrize(("last", "verdict"), [(0.215, "met."), (0.220, "not met.")])
def test_the_tail_is_not_idle(tool: Load, records: list[dict[str, Any]], last: float, verdict: str) -> None:
    for record, lpips in zip(records[1:4], (0.290, 0.247, last), strict=True):
        record["lpips-alex"] = lpips
    records[3]["psnr-rgb"] = 19.91
    lines = tool("card_tables").idle_tail(records).splitlines()
    # 64 tokens more: 19.4 − 18.5 = 0.9 dB, 0.9 / 64 = 0.0141 each; 0.247 − 0.290 = −0.043
    assert lines[2] == "| 64 → 128 | +0.90 | +0.0141 | -0.043 | -0.00067 |"
    # 19.91 − 19.4 = 0.51 dB is too little; 0.247 − 0.215 = 0.032 LPIPS is enough, 0.027 is not
    assert lines[-1].endswith(verdict)
    assert lines[-1].startswith("The last doubling buys 0.51 dB")


def test_the_headline_sets_three_beside_each_other(tool: Load, records: list[dict[str, Any]]) -> None:
    assert tool("card_tables").headline(records, (64, 128, 256)).splitlines() == [
        "|  | 64 tokens, 92 B | 128 tokens, 176 B | 256 tokens, 348 B |",
        "| --- | ---: | ---: | ---: |",
        "| ti-256, sharp (the default) | 18.00 / .290 | 19.00 / .240 | 19.50 / .215 |",
        "| ti-256, faithful | 18.50 / .690 | 19.40 / .640 | 20.00 / .615 |",
        "| WebP | 18.20 / .844 | – | 21.50 / .623 |",  # 82 and 331 bytes; none between 92 and 176
        "| One-D-Piece-S-256, 84 M weights | 16.58 / .300 | 17.62 / .230 | 18.26 / .202 |",
    ]
