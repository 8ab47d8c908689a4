"""A tokenizer's geometry and heads small enough to run in milliseconds."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from onedpiece.heads import Head, HeadConfig, build_head
from onedpiece.tokenizer import Tokenizer, TokenizerConfig

GRADES = ((4, (64, 64)), (12, (16, 16, 16)))

TASKS: dict[str, dict[str, Any]] = {
    "classify": {"classes": ("cat", "dog", "house")},
    "segment": {"classes": ("road", "sky"), "grid": 4},
    "depth": {"grid": 4, "linear_picture": True},
    "detect": {"classes": ("person",), "grid": 4, "linear_picture": True},
}


@pytest.fixture(scope="session")
def fsq_tokenizer(small_config: Callable[..., TokenizerConfig]) -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(small_config(width=32, heads=2, fsq_grades=GRADES)).eval()


@pytest.fixture(scope="session")
def vq_tokenizer(small_config: Callable[..., TokenizerConfig]) -> Tokenizer:
    torch.manual_seed(0)
    config = small_config(width=32, heads=2, quantizer="vq", linear_path=False, vq_dim=5)
    return Tokenizer(config).eval()


@pytest.fixture
def make_head(fsq_tokenizer: Tokenizer) -> Callable[..., Head]:
    def make(task: str, tokenizer: Tokenizer = fsq_tokenizer, **options: Any) -> Head:
        torch.manual_seed(1)
        fields = {"width": 32, "heads": 2, "layers": 2, "channels": 8} | TASKS[task] | options
        head = build_head(HeadConfig(task=task, **fields), tokenizer).eval()  # type: ignore[arg-type]
        # Fresh weights are small; a head that says the same of every code would pass any comparison.
        with torch.no_grad():
            for parameter in head.backbone.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(3)
        return head

    return make


@pytest.fixture
def indices() -> torch.Tensor:
    return torch.randint(4096, (5, 16), generator=torch.Generator().manual_seed(2))
