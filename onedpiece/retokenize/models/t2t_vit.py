"""T2T-ViT (arXiv 2101.11986): overlapping patches that attend to each other before they become tokens."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.retokenize.models.blocks import EPSILON, Mlp, PlainBlock, count_blocks, with_class_token

TOKEN_DIM = 64
HEAD_DIM = 64  # of every released model
Kind = Literal["performer", "transformer"]


class Size(NamedTuple):
    """One published model: channels, blocks, and the MLP's ratio."""

    dim: int
    depth: int
    mlp_ratio: float
    kind: Kind = "performer"


SIZES = {
    "t2t_vit_7": Size(256, 7, 2),
    "t2t_vit_10": Size(256, 10, 2),
    "t2t_vit_12": Size(256, 12, 2),
    "t2t_vit_14": Size(384, 14, 3),
    "t2t_vit_19": Size(448, 19, 3),
    "t2t_vit_24": Size(512, 24, 3),
    "t2t_vit_t_14": Size(384, 14, 3, "transformer"),
    "t2t_vit_t_19": Size(448, 19, 3, "transformer"),
    "t2t_vit_t_24": Size(512, 24, 3, "transformer"),
}


class _Transformer(nn.Module):
    """One head that narrows the channels; what skips attention is its values: (B, N, C) to (B, N, 64)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, EPSILON)
        self.attn = nn.ModuleDict(
            {"qkv": nn.Linear(dim, 3 * TOKEN_DIM, bias=False), "proj": nn.Linear(TOKEN_DIM, TOKEN_DIM)}
        )
        self.scale = dim**-0.5  # of the width that comes in, as released
        self.norm2 = nn.LayerNorm(TOKEN_DIM, EPSILON)
        self.mlp = Mlp(TOKEN_DIM, TOKEN_DIM, TOKEN_DIM)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attn["qkv"](self.norm1(x)).chunk(3, dim=-1)
        x = v + self.attn["proj"](F.scaled_dot_product_attention(q, k, v, scale=self.scale))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class _Performer(nn.Module):
    """The same with attention by positive random features (Performer, arXiv 2009.14794)."""

    w: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        features = TOKEN_DIM // 2
        self.norm1 = nn.LayerNorm(dim, EPSILON)
        self.kqv = nn.Linear(dim, 3 * TOKEN_DIM)
        self.proj = nn.Linear(TOKEN_DIM, TOKEN_DIM)
        self.norm2 = nn.LayerNorm(TOKEN_DIM, EPSILON)
        self.mlp = nn.Sequential(
            nn.Linear(TOKEN_DIM, TOKEN_DIM), nn.GELU(), nn.Linear(TOKEN_DIM, TOKEN_DIM), nn.Dropout(0.1)
        )
        self.dropout = nn.Dropout(0.1)
        # Drawn once and never trained.
        self.register_buffer("w", nn.init.orthogonal_(torch.empty(features, TOKEN_DIM)) * features**0.5)

    def forward(self, x: Tensor) -> Tensor:
        k, q, v = self.kqv(self.norm1(x)).chunk(3, dim=-1)
        keys, queries = self._features(k), self._features(q)
        mixed = queries @ (keys.transpose(1, 2) @ v.float())
        total = queries @ keys.sum(dim=1)[..., None]
        x = v + self.dropout(self.proj(mixed / (total + 1e-8)))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def _features(self, x: Tensor) -> Tensor:
        """exp(w·x - |x|²/2) / √m, (B, N, m); rows of w are √m long as released (a softmax needs √64)."""
        x = x.float()
        exponent = x @ self.w.T - x.square().sum(dim=-1, keepdim=True) / 2
        features: Tensor = exponent.exp() / float(self.w.shape[0]) ** 0.5
        return features


class TokensToToken(nn.Module):
    """Three splits into overlapping patches, attention between: (B, 3, H, W) to (B, H·W/256, dim)."""

    def __init__(self, dim: int, kind: Kind) -> None:
        super().__init__()
        attention = _Performer if kind == "performer" else _Transformer
        self.attention1 = attention(3 * 7 * 7)
        self.attention2 = attention(TOKEN_DIM * 3 * 3)
        self.project = nn.Linear(TOKEN_DIM * 3 * 3, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed pictures whose sides are multiples of 16."""
        height, width = x.shape[2] // 4, x.shape[3] // 4
        tokens = F.unfold(x, 7, stride=4, padding=2).transpose(1, 2)
        for attention in (self.attention1, self.attention2):
            grid = attention(tokens).transpose(1, 2).unflatten(2, (height, width))
            tokens = F.unfold(grid, 3, stride=2, padding=1).transpose(1, 2)
            height, width = (height + 1) // 2, (width + 1) // 2
        out: Tensor = self.project(tokens)
        return out


class T2tVit(nn.Module):
    """T2T-ViT: (B, 3, S, S) to (B, classes).

    Args:
        size: of the network.
        num_classes: of the head.
        image_size: S, a multiple of 16.
        released_scale: attention of the blocks is scaled by dim^-½, as the released weights were trained,
            in the place of head_dim^-½.
    """

    pos_embed: Tensor

    def __init__(
        self, size: Size, num_classes: int = 1000, image_size: int = 224, released_scale: bool = False
    ) -> None:
        super().__init__()
        self.embed_dim = size.dim
        self.num_patches = (image_size // 16) ** 2
        self.tokens_to_token = TokensToToken(size.dim, size.kind)
        self.cls_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, size.dim), std=0.02))
        self.register_buffer("pos_embed", sinusoids(self.num_patches + 1, size.dim)[None])
        scale = size.dim**-0.5 if released_scale else None
        heads = size.dim // HEAD_DIM
        self.blocks = nn.Sequential(
            *(PlainBlock(size.dim, heads, size.mlp_ratio, scale) for _ in range(size.depth))
        )
        self.norm = nn.LayerNorm(size.dim, EPSILON)
        self.head = nn.Linear(size.dim, num_classes)

    @classmethod
    def from_released(cls, state: Mapping[str, Tensor]) -> Self:
        """Build the model of a released state dict; sizes are read off the shapes.

        Raises:
            ValueError: it is of another model.
            RuntimeError: names or shapes differ, as `load_state_dict` says.
        """
        depth = count_blocks(state)
        hidden, dim = state["blocks.0.mlp.fc1.weight"].shape
        kind: Kind = "performer" if "tokens_to_token.attention1.w" in state else "transformer"
        side = int((state["pos_embed"].shape[1] - 1) ** 0.5)
        model = cls(Size(dim, depth, hidden / dim, kind), len(state["head.weight"]), 16 * side, True)
        model.load_state_dict(state)
        return model.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Classify pictures."""
        tokens = with_class_token(self.cls_token, self.tokens_to_token(x)) + self.pos_embed
        out: Tensor = self.head(self.norm(self.blocks(tokens)[:, 0]))
        return out


def sinusoids(positions: int, dim: int) -> Tensor:
    """Fixed positions, sines and cosines side by side: (positions, dim)."""
    place = torch.arange(positions, dtype=torch.float64)[:, None]
    angle = place / 10000 ** (2 * (torch.arange(dim) // 2) / dim)
    even = torch.arange(dim) % 2 == 0
    return torch.where(even, angle.sin(), angle.cos()).float()


def t2t_vit(name: str = "t2t_vit_14", num_classes: int = 1000) -> T2tVit:
    """Build a published model with fresh weights.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in SIZES:
        raise ValueError(f"no T2T-ViT is called {name!r}; choose one of {', '.join(SIZES)}")
    return T2tVit(SIZES[name], num_classes)
