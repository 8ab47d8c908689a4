"""Small timm models of every kind that `apply` promises to work on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onedpiece.retokenize.block import Projected

VARIANTS = {
    "plain": {},
    "layer_scale": {"init_values": 0.1},
    "registers": {"reg_tokens": 4, "no_embed_class": True},
    "no_class": {"class_token": False, "global_pool": "avg"},
    "qk_norm": {"qk_norm": True},
    "drop_path": {"drop_path_rate": 0.2, "proj_drop_rate": 0.1, "attn_drop_rate": 0.1},
}


@dataclass
class Bare:
    """A block of one head whose queries, keys and values are the tokens themselves.

    Without an MLP, and without adding what was attended to, what a reducer makes of tokens can be told by
    hand. The class token 1 looks at a token x with the weight exp x.
    """

    dropout: float = 0.0
    module: Any = field(default_factory=nn.Identity)

    def run(self, x: Tensor, rotation: Tensor | None = None) -> Tensor:
        return x

    def normed(self, x: Tensor) -> Tensor:
        return x

    def project(self, normed: Tensor, rotation: Tensor | None = None) -> Projected:
        return Projected(*[normed[:, None]] * 3)

    def project_queries_keys(self, normed: Tensor, rotation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return normed[:, None], normed[:, None]

    def project_values(self, normed: Tensor) -> Tensor:
        return normed

    def add_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        return x

    def add_mlp(self, x: Tensor) -> Tensor:
        return x

    def attention_dropout(self) -> float:
        return self.dropout


@pytest.fixture
def make_vit() -> Callable[..., nn.Module]:
    """Build a 64-px, 8-px-patch ViT of depth 4: 64 patches and the variant's prefix tokens."""
    timm = pytest.importorskip("timm")

    def build(variant: str = "plain", **options: object) -> nn.Module:
        torch.manual_seed(0)
        vit = timm.models.VisionTransformer(
            img_size=64,
            patch_size=8,
            embed_dim=48,
            depth=4,
            num_heads=3,
            num_classes=10,
            **VARIANTS[variant],
            **options,
        )
        with torch.no_grad():
            for parameter in vit.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return vit.eval()

    return build


@pytest.fixture(params=VARIANTS)
def vit(request: pytest.FixtureRequest, make_vit: Callable[..., nn.Module]) -> nn.Module:
    """One such ViT of each variant."""
    return make_vit(request.param)


@pytest.fixture
def pictures() -> torch.Tensor:
    """Two random 64-px pictures."""
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
