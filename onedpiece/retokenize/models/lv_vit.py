"""LV-ViT (arXiv 2104.10858): a convolutional stem, damped branches, and a head for every token.

With SiT's stem (arXiv 2111.12624) and no token head it is the network that SiT slims.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.retokenize.models.blocks import EPSILON, PlainBlock, count_blocks, with_class_token

Stem = Literal["lv", "sit"]


class Size(NamedTuple):
    """One published model.

    Attributes:
        dim, depth, heads: of the blocks.
        skip: λ, what branches are divided by.
        width: of LV-ViT's stem.
        stem: LV-ViT's own, or SiT's.
        image_size: side of the pictures.
    """

    dim: int
    depth: int
    heads: int
    skip: float
    width: int = 64
    stem: Stem = "lv"
    image_size: int = 224


SIZES = {
    "lv_vit_t": Size(240, 12, 4, 1),
    "lv_vit_s": Size(384, 16, 6, 2),
    "lv_vit_m": Size(512, 20, 8, 2),
    "lv_vit_l": Size(768, 24, 12, 3, width=128),
    "sit_t": Size(320, 14, 5, 2, stem="sit"),
    "sit_s": Size(384, 16, 6, 2, stem="sit"),
    "sit_m": Size(512, 20, 8, 2, stem="sit"),
}

# In front of which blocks SiT slims, by half each time: 196 → 98 → 49 → 25 (its code: 24).
SLIMMING_LAYERS = {"sit_t": (1, 2, 3), "sit_xs": (1, 2, 3), "sit_s": (9, 12, 14), "sit_m": (10, 14, 17)}


class Dense(NamedTuple):
    """What both heads say.

    Attributes:
        logits: (B, classes), of the class token.
        tokens: (B, K, classes), of every token that is left.
    """

    logits: Tensor
    tokens: Tensor


class LvStem(nn.Module):
    """Three convolutions at half size, then patches of 8×8: (B, 3, H, W) to (B, dim, H/16, W/16)."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.proj = nn.Conv2d(width, dim, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """Embed pictures."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        out: Tensor = self.proj(F.relu(self.bn3(self.conv3(x))))
        return out


class SitStem(nn.Module):
    """Four convolutions of stride 2, GELUs between: (B, 3, H, W) to (B, dim, H/16, W/16)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        widths = [3, dim // 8, dim // 4, dim // 2, dim]
        for number in range(1, 5):
            self.add_module(
                f"conv{number}", nn.Conv2d(widths[number - 1], widths[number], 3, 2, 1, bias=False)
            )
            self.add_module(f"bn{number}", nn.BatchNorm2d(widths[number]))

    def forward(self, x: Tensor) -> Tensor:
        """Embed pictures."""
        for number in range(1, 5):
            x = F.gelu(x) if number > 1 else x
            x = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(x))
        return x


class LvVit(nn.Module):
    """LV-ViT: (B, 3, S, S) to (B, classes).

    Args:
        size: of the network.
        num_classes: of the heads.
        dense: with a head for every token, whose greatest logits count half (token labeling).
    """

    def __init__(self, size: Size, num_classes: int = 1000, dense: bool = True) -> None:
        super().__init__()
        self.embed_dim = size.dim
        self.num_patches = (size.image_size // 16) ** 2
        self.patch_embed = LvStem(size.dim, size.width) if size.stem == "lv" else SitStem(size.dim)
        shape = (1, self.num_patches + 1, size.dim)
        self.cls_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, size.dim), std=0.02))
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=0.02))
        self.blocks = nn.Sequential(
            *(PlainBlock(size.dim, size.heads, 3, skip=size.skip) for _ in range(size.depth))
        )
        self.norm = nn.LayerNorm(size.dim, EPSILON)
        self.head = nn.Linear(size.dim, num_classes)
        self.aux_head = nn.Linear(size.dim, num_classes) if dense else None

    @classmethod
    def from_released(cls, state: Mapping[str, Tensor], skip: float | None = None) -> Self:
        """Build the model of a released state dict; sizes are read off the shapes.

        skip: λ, of which the file says nothing; that of the published model as wide, where not given. SiT's
        files hold LV-ViT's head for tokens, which SiT never asks; it is left out.

        Raises:
            ValueError: it is of another model, of a width that none was published with, or of a slimmed one,
                whose last stage has 24 tokens where ours has 25.
            RuntimeError: names or shapes differ, as `load_state_dict` says.
        """
        if any(name.startswith("tsm.") for name in state):
            raise ValueError(
                "the state dict is of a slimmed student; give its teacher's, and train slimming anew"
            )
        if "patch_embed.proj.weight" not in state:
            state = {name: tensor for name, tensor in state.items() if not name.startswith("aux_head.")}
        depth = count_blocks(state)
        hidden, dim = state["blocks.0.mlp.fc1.weight"].shape
        published = [size for size in SIZES.values() if size.dim == dim]
        if not published or hidden != 3 * dim:
            raise ValueError(f"no LV-ViT of {dim} channels and an MLP of {hidden} was published")
        size = published[0]._replace(
            depth=depth,
            skip=published[0].skip if skip is None else skip,
            width=len(state["patch_embed.conv1.weight"]),
            stem="lv" if "patch_embed.proj.weight" in state else "sit",
            image_size=16 * int((state["pos_embed"].shape[1] - 1) ** 0.5),
        )
        model = cls(size, len(state["head.weight"]), "aux_head.weight" in state)
        model.load_state_dict(state)
        return model.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Classify pictures; the tokens' greatest logits count half, as published."""
        tokens = self._tokens(x)
        out: Tensor = self.head(tokens[:, 0])
        return out if self.aux_head is None else out + 0.5 * self.aux_head(tokens[:, 1:]).amax(dim=1)

    def forward_dense(self, x: Tensor) -> Dense:
        """Return what both heads say; under a reducer, of the tokens that are left.

        Raises:
            ValueError: there is no head for tokens.
        """
        if self.aux_head is None:
            raise ValueError("this LV-ViT was built without a head for tokens; give dense=True")
        tokens = self._tokens(x)
        return Dense(self.head(tokens[:, 0]), self.aux_head(tokens[:, 1:]))

    def _tokens(self, x: Tensor) -> Tensor:
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        out: Tensor = self.norm(self.blocks(with_class_token(self.cls_token, patches) + self.pos_embed))
        return out


def lv_vit(name: str = "lv_vit_s", num_classes: int = 1000) -> LvVit:
    """Build a published model with fresh weights; those of SiT have no head for tokens.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in SIZES:
        raise ValueError(f"no LV-ViT is called {name!r}; choose one of {', '.join(SIZES)}")
    return LvVit(SIZES[name], num_classes, dense=not name.startswith("sit"))
