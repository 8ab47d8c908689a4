"""ToMe against its authors' code."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from onedpiece.retokenize import tome
from onedpiece.retokenize.groups import unmerge


@pytest.mark.parametrize(
    ("case", "r", "num_protected"),
    [("r8_cls", 8, 1), ("r16_cls", 16, 1), ("r100_cls", 100, 1), ("r7_nocls", 7, 0)],
)
def test_matches_the_authors_code(data: Path, case: str, r: int, num_protected: int) -> None:
    vectors = load_file(data / "tome_ops.safetensors")
    x, metric, size = (vectors[f"{case}.{name}"] for name in ("x", "metric", "size"))
    merged = tome.merge(x, metric, size, r=r, num_protected=num_protected)
    torch.testing.assert_close(merged.x, vectors[f"{case}.y"], atol=1e-5, rtol=0)
    assert torch.equal(merged.size, vectors[f"{case}.size_out"])
    torch.testing.assert_close(
        unmerge(merged.x, merged.source), vectors[f"{case}.unmerged"], atol=1e-5, rtol=0
    )
