"""Pixels to one latent vector a token."""

import torch
from torch import Tensor, nn

from onedpiece.tokenizer.config import TokenizerConfig
from onedpiece.tokenizer.layers import build_blocks, truncated_normal


class Encoder(nn.Module):
    """A ViT over [class, patches, latents] of which only the latents are kept.

    With `config.linear_path` its output is a *residual* on the linear coefficients: the last layer starts
    at zero, and the latents see the coefficients they are about to correct.

    With `config.released_latent_layout` the latents (B, N, W) are read as (B, W, N) *without* a transpose
    before the last projection, as the published code does: "token" n is then a mix of channels of all
    latents. The released weights need it; nothing else should.

    Source: One-D-Piece (arXiv 2501.10064) §3, after TiTok (arXiv 2406.07550).
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.released_latent_layout = config.released_latent_layout
        width, patches = config.width, config.grid**2
        self.patch_embed = nn.Conv2d(3, width, config.patch_size, config.patch_size)
        self.class_embedding = nn.Parameter(truncated_normal(1, width))
        self.positional_embedding = nn.Parameter(truncated_normal(patches + 1, width))
        self.latent_token_positional_embedding = nn.Parameter(truncated_normal(config.num_tokens, width))
        self.linear_embed = nn.Linear(config.code_dim, width) if config.linear_path else None
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = build_blocks(width, config.heads, config.encoder_layers)
        self.ln_post = nn.LayerNorm(width)
        self.conv_out = nn.Conv2d(width, config.code_dim, 1)
        if config.linear_path:
            nn.init.zeros_(self.conv_out.weight)
            assert self.conv_out.bias is not None
            nn.init.zeros_(self.conv_out.bias)

    def forward(self, x: Tensor, latent_tokens: Tensor, linear: Tensor | None = None) -> Tensor:
        """Encode.

        Args:
            x: (B, 3, H, W) in [0, 1], H = W = `image_size`.
            latent_tokens: (N, width), the learned queries.
            linear: (B, N, code_dim), the linear path's coefficients; None without a linear path.

        Returns:
            (B, N, code_dim), unbounded.
        """
        batch = x.shape[0]
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(batch, -1, -1), patches], dim=1)
        tokens = tokens + self.positional_embedding
        latents = (latent_tokens + self.latent_token_positional_embedding).expand(batch, -1, -1)
        if self.linear_embed is not None:
            latents = latents + self.linear_embed(linear)
        hidden = self.ln_pre(torch.cat([tokens, latents], dim=1))
        for block in self.transformer:
            hidden = block(hidden)
        return self._project(self.ln_post(hidden[:, tokens.shape[1] :]))

    def _project(self, latents: Tensor) -> Tensor:
        batch, count, width = latents.shape
        if self.released_latent_layout:
            columns = latents.reshape(batch, width, count, 1)
        else:
            columns = latents.transpose(1, 2).unsqueeze(-1)
        out: Tensor = self.conv_out(columns).squeeze(-1).transpose(1, 2)
        return out
