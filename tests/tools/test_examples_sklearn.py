"""The example with scikit-learn, on a tiny folder of photos."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("sklearn")


@pytest.mark.slow
def test_a_linear_model_tells_shapes_apart(
    shape: Callable[[str, int], Any], tool: Callable[[str], ModuleType], tmp_path: Path, capsys: Any
) -> None:
    for kind in ("disc", "square"):
        (tmp_path / kind).mkdir()
        for i in range(12):
            shape(kind, i).image.save(tmp_path / kind / f"{i}.png")
    score = tool("examples.tokens_sklearn").main([str(tmp_path), "--tokens", "16"])
    assert score >= 5 / 6  # a guess is right half of the time, and six were held out
    assert capsys.readouterr().out.startswith("18 pictures of 16 tokens: ")


def test_it_is_a_page() -> None:
    path = Path(__file__).parents[2] / "tools" / "examples" / "tokens_sklearn.py"
    assert len(path.read_text().splitlines()) <= 60
