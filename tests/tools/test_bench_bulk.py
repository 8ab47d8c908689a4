"""The bulk benchmark: its pictures, its plain loop and its table; Ray itself is in tests/bulk."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from onedpiece.tokenizer import Tokenizer
from onedpiece.weights import save

Load = Callable[[str], ModuleType]


def test_pictures_are_many_names_of_a_thousand(
    tool: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tool("bench_bulk")
    monkeypatch.setattr(module, "DIFFERENT", 3)
    files = sorted(path.relative_to(tmp_path) for path in module.draw(tmp_path, 7).rglob("*.jpg"))
    names = ["0000/0000", "0000/0001", "0000/0002", "0001/0000", "0001/0001", "0001/0002", "0002/0000"]
    assert [str(file) for file in files] == [f"{name}.jpg" for name in names]
    assert (tmp_path / "0002/0000.jpg").samefile(tmp_path / "0000/0000.jpg")


@pytest.mark.slow
def test_the_plain_loop_tokenizes_every_picture(
    tool: Load, stirred_tokenizer: Callable[..., Tokenizer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    module = tool("bench_bulk")
    monkeypatch.setattr(module, "TOKENS", 5)
    model = save(stirred_tokenizer(), tmp_path / "model")
    paths = sorted(module.draw(tmp_path / "pictures", 37).rglob("*.jpg"))
    timing = module.time_loop(paths, 2, str(model), tmp_path)
    rows = [row for core in (0, 1) for row in parquet.read_table(tmp_path / f"{core}.parquet").to_pylist()]
    assert sorted(row["key"] for row in rows) == list(map(str, paths))
    assert {len(row["tokens"]) for row in rows} == {5}
    assert timing.pictures == 37
    assert 0 < timing.cpu_ms < 1000 * timing.seconds * 2


def test_ratios(tool: Load) -> None:
    module = tool("bench_bulk")
    few, many = module.Timing(100, 1.0, 2.0, 9.0, 300.0, 100.0), module.Timing(1000, 8.0, 21.0)
    loop = module.Timing(1000, 7.2, 20.0)  # 139 a second beside 125: 90 %; 20 ms beside 21: 95 %
    text = module.to_markdown([few, many], [(loop, many)], 2)
    assert "| 100 | 100 | 20.00 | 1.00 | 9 | 300 | 100 |" in text
    assert "| 1,000 | 125 | 21.00 | 1.05 |" in text
    assert "125 pictures a second, the loop 139. That is 90 % of its\nspeed in the median, and 95 %" in text
