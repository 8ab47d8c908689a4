"""ImagePiece's local coherence bias: an overlapping stem instead of the patch projection."""

from torch import Tensor, nn


class CoherenceStem(nn.Module):
    """Four overlapping 3×3 convolutions of stride 2 and a 1×1: patches that have seen their neighbours.

    The strides and the widths (doubling up to `embed_dim`) are inferred; the paper gives the kernels only.

    Args:
        embed_dim: channels of a token; divisible by 8.
        in_chans: channels of the picture.

    Raises:
        ValueError: `embed_dim` is not divisible by 8.

    Reference: arXiv 2412.16491, section 3.2.
    """

    def __init__(self, embed_dim: int, in_chans: int = 3) -> None:
        super().__init__()
        if embed_dim % 8:
            raise ValueError(
                f"embed_dim is {embed_dim}; the stem doubles its width thrice, give a multiple of 8"
            )
        widths = [embed_dim // 8, embed_dim // 4, embed_dim // 2, embed_dim]
        layers: list[nn.Module] = []
        for inputs, outputs in zip([in_chans, *widths[:-1]], widths, strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(embed_dim, embed_dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Embed pictures (B, in_chans, H, W) as tokens (B, ⌈H/16⌉·⌈W/16⌉, embed_dim), row by row."""
        out: Tensor = self.layers(x).flatten(2).transpose(1, 2)
        return out


def with_coherence_stem(vit: nn.Module) -> nn.Module:
    """Put a fresh stem in place of a timm ViT's patch projection; the model then needs training.

    Raises:
        ValueError: the model has no patch size of 16, or takes pictures of changing size.
    """
    embed = getattr(vit, "patch_embed", None)
    if tuple(getattr(embed, "patch_size", ())) != (16, 16) or getattr(vit, "dynamic_img_size", False):
        raise ValueError(
            f"{type(vit).__name__} needs patches of side 16 and a fixed picture size for this stem"
        )
    assert embed is not None
    stem = CoherenceStem(int(vit.embed_dim), int(embed.proj.in_channels))  # type: ignore[arg-type]
    vit.patch_embed = stem.to(embed.proj.weight)
    return vit
