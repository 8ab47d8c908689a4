"""Counted GFLOPs (multiply-accumulates) against the published ones."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from onedpiece.retokenize import apply

SMALL, TINY = "deit_small_patch16_224", "deit_tiny_patch16_224"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "name", "options", "published", "tolerance"),
    [
        (SMALL, None, {}, 4.6, 0.05),
        (SMALL, "mctf", {"r": 16, "layers": range(1, 12)}, 2.6, 0.1),
        (SMALL, "mctf", {"r": 0.35, "layers": (3, 6, 9)}, 2.8, 0.1),
        (SMALL, "evit", {"keep_rate": 0.7}, 3.0, 0.1),
        (TINY, None, {}, 1.26, 0.03),
        (TINY, "mctf", {"r": 16, "layers": range(1, 12)}, 0.71, 0.03),
    ],
)
def test_counted_gflops(
    model: str, name: str | None, options: dict[str, Any], published: float, tolerance: float
) -> None:
    timm = pytest.importorskip("timm")
    vit = timm.create_model(model).eval()
    if name is not None:
        apply(vit, name, **options)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        vit(torch.zeros(1, 3, 224, 224))
    assert counter.get_total_flops() / 2e9 == pytest.approx(published, abs=tolerance)
