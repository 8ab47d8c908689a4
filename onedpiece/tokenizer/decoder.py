"""Codes to pixels."""

import torch
from torch import Tensor, nn

from onedpiece.tokenizer.config import TokenizerConfig
from onedpiece.tokenizer.layers import build_blocks, truncated_normal
from onedpiece.tokenizer.pixel_heads import LinearHead, PatchHead, VQGANHead

_HEADS: dict[str, type[PatchHead | LinearHead | VQGANHead]] = {
    "patch": PatchHead,
    "shuffle": PatchHead,
    "linear": LinearHead,
    "vqgan": VQGANHead,
}


class Decoder(nn.Module):
    """A ViT over [class, mask tokens, latents] whose mask tokens become the picture.

    The latents that were dropped are absent, not masked out by a learned vector: `k` codes make a sequence
    of 1 + patches + k tokens. With `config.linear_path` each mask token also sees its patch of the linear
    picture, and the head's output is a residual on that picture.

    Source: One-D-Piece (arXiv 2501.10064) §3, after TiTok (arXiv 2406.07550).
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        width, patches = config.width, config.grid**2
        self.grid = config.grid
        self.decoder_embed = nn.Linear(config.code_dim, width)
        self.class_embedding = nn.Parameter(truncated_normal(1, width))
        self.positional_embedding = nn.Parameter(truncated_normal(patches + 1, width))
        self.mask_token = nn.Parameter(truncated_normal(1, 1, width))
        self.latent_token_positional_embedding = nn.Parameter(truncated_normal(config.num_tokens, width))
        self.linear_embed = self._linear_embed(config) if config.linear_path else None
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = build_blocks(width, config.heads, config.decoder_layers)
        self.ln_post = nn.LayerNorm(width)
        self.head = _HEADS[config.pixel_head](config)

    @staticmethod
    def _linear_embed(config: TokenizerConfig) -> nn.Conv2d:
        patch = config.linear_size // config.grid
        return nn.Conv2d(3, config.width, patch, patch)

    def forward(self, codes: Tensor, mask: Tensor | None = None, linear: Tensor | None = None) -> Tensor:
        """Decode.

        Args:
            codes: (B, k, code_dim), 1 <= k <= N.
            mask: (B, k) bool, False for codes past a sample's length; None: all are there.
            linear: (B, 3, linear_size, linear_size), the linear picture; None without a linear path.

        Returns:
            (B, 3, H, W), unbounded: the picture, or with a linear path what to add to it.
        """
        batch, count, _ = codes.shape
        latents = self.decoder_embed(codes) + self.latent_token_positional_embedding[:count]
        masks = self.mask_token.expand(batch, self.grid**2, -1)
        if self.linear_embed is not None:
            masks = masks + self.linear_embed(linear).flatten(2).transpose(1, 2)
        image_tokens = torch.cat([self.class_embedding.expand(batch, -1, -1), masks], dim=1)
        image_tokens = image_tokens + self.positional_embedding
        hidden = self.ln_pre(torch.cat([image_tokens, latents], dim=1))
        key_mask = None if mask is None else self._key_mask(mask, image_tokens.shape[1])
        *blocks, last = self.transformer
        for block in blocks:
            hidden = block(hidden, key_mask)
        features = self.ln_post(last(hidden, key_mask, image_tokens.shape[1])[:, 1:])
        out: Tensor = self.head(features.transpose(1, 2).unflatten(2, (self.grid, self.grid)))
        return out

    @staticmethod
    def _key_mask(mask: Tensor, image_tokens: int) -> Tensor:
        seen = mask.new_ones(mask.shape[0], image_tokens)
        return torch.cat([seen, mask], dim=1)
