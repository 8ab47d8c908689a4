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
        """Embed pictures (B, in_chans, H, W) as a map (B, embed_dim, ⌈H/16⌉, ⌈W/16⌉)."""
        out: Tensor = self.layers(x)
        return out


def with_coherence_stem(vit: nn.Module) -> nn.Module:
    """Put a fresh stem in place of a timm ViT's patch projection; the model then needs training.

    Raises:
        ValueError: the model has no patch projection of size 16.
    """
    embed = getattr(vit, "patch_embed", None)
    projection = getattr(embed, "proj", None)
    if embed is None or not isinstance(projection, nn.Conv2d) or projection.kernel_size != (16, 16):
        raise ValueError(f"{type(vit).__name__} has no patch projection of size 16 to replace")
    stem = CoherenceStem(projection.out_channels, projection.in_channels)
    embed.proj = stem.to(projection.weight)
    return vit
