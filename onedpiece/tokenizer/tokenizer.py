"""The tokenizer: encoder, quantizer and decoder as one module."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.tokenizer.config import TokenizerConfig
from onedpiece.tokenizer.dct_path import LinearPath
from onedpiece.tokenizer.decoder import Decoder
from onedpiece.tokenizer.encoder import Encoder
from onedpiece.tokenizer.layers import truncated_normal
from onedpiece.tokenizer.meta_init import assign_weights, no_init_weights
from onedpiece.tokenizer.official import check_keys, convert, released_shapes
from onedpiece.tokenizer.quantizer import CosineVQ, Quantized, build_quantizer
from onedpiece.tokenizer.tail_drop import Kept, cut_to_longest, key_mask

__all__ = ["Quantized", "Reconstruction", "Tokenizer"]


class Reconstruction(NamedTuple):
    """What a training step needs.

    Attributes:
        image: (B, 3, H, W), about [0, 1], not clamped.
        indices: (B, N) int64.
        loss: scalar, the quantizer's own loss.
    """

    image: Tensor
    indices: Tensor
    loss: Tensor


class Tokenizer(nn.Module):
    """A picture as N ordered tokens, of which any number of leading ones is already a picture.

    Args:
        config: the geometry; with `linear_path` the fresh, untrained module is a (blurry) codec.

    Source: One-D-Piece, arXiv 2501.10064; the linear path is ours.
    """

    def __init__(self, config: TokenizerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TokenizerConfig()
        self.latent_tokens = nn.Parameter(truncated_normal(config.num_tokens, config.width))
        self.linear_path = LinearPath(config) if config.linear_path else None
        self.encoder = Encoder(config)
        self.quantizer = build_quantizer(config)
        self.decoder = Decoder(config)

    def encode(self, x: Tensor) -> Quantized:
        """Encode x (B, 3, H, W) in [0, 1] to codes, indices and the quantizer's loss; differentiable.

        Raises:
            ValueError: x has another shape.
        """
        self._check_pictures(x)
        if self.linear_path is None:
            latents = self.encoder(x, self.latent_tokens)
        else:
            linear = self.linear_path.analyse(x)
            latents = linear + self.encoder(x, self.latent_tokens, linear).float()
        quantized: Quantized = self.quantizer(latents)
        return quantized

    def decode(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Decode the first k codes; differentiable.

        Args:
            codes: (B, k, code_dim), 1 ≤ k ≤ N.
            lengths: (B,) in 1…k, how many of the codes each sample has; None: all.

        Returns:
            (B, 3, H, W), about [0, 1], not clamped.
        """
        mask = None if lengths is None else key_mask(lengths, codes.shape[1])
        if self.linear_path is None:
            out: Tensor = self.decoder(codes, mask)
            return out
        with torch.autocast(codes.device.type, enabled=False):
            linear = self.linear_path.synthesise(codes, mask)
        base = F.interpolate(linear, self.config.image_size, mode="bicubic", align_corners=False)
        picture: Tensor = base + self.decoder(codes, mask, linear)
        return picture

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Reconstruction:
        """Encode and decode x (B, 3, H, W) in [0, 1], keeping `lengths` (B,) tokens of each (None: all)."""
        quantized = self.encode(x)
        image = self.decode(quantized.codes, lengths)
        return Reconstruction(image, quantized.indices, quantized.loss)

    def tokenize(self, x: Tensor) -> Tensor:
        """Return the tokens of pictures.

        Args:
            x: (B, 3, H, W) in [0, 1], H = W = `config.image_size`.

        Returns:
            (B, N) int64 in 0…codebook_size − 1, the most important first.

        Raises:
            ValueError: x has another shape.
        """
        with _evaluating(self), torch.inference_mode(), torch.autocast(x.device.type, enabled=False):
            indices = self.encode(x.float()).indices
        return indices.clone()  # an ordinary tensor again, which may take part in training

    def detokenize(self, indices: Tensor, lengths: Tensor | Sequence[int] | None = None) -> Tensor:
        """Return the pictures of the first k tokens.

        Args:
            indices: (B, k) integers, 1 ≤ k ≤ N.
            lengths: (B,) in 1…k for codes of mixed length in one batch (what stands behind a sample's
                length is ignored); None: all k.

        Returns:
            (B, 3, H, W) in [0, 1].

        Raises:
            ValueError: k, a length or an index is out of range.
        """
        limit, size = self.config.num_tokens, self.config.image_size
        if indices.ndim != 2 or not 1 <= indices.shape[1] <= limit:
            raise ValueError(f"indices are {tuple(indices.shape)}; this tokenizer takes (B, 1…{limit})")
        kept = Kept(indices.long(), None) if lengths is None else cut_to_longest(indices.long(), lengths)
        if not len(indices):
            return torch.zeros(0, 3, size, size, device=indices.device)
        self._check_range(kept.indices)
        with _evaluating(self), torch.inference_mode(), torch.autocast(indices.device.type, enabled=False):
            codes = self.quantizer.codes_from_indices(kept.indices)
            picture = self.decode(codes, kept.lengths).float().clamp_(0, 1)
        return picture.clone()

    @classmethod
    def from_official(cls, state_dict: Mapping[str, Tensor], heads: int | None = None) -> Self:
        """Build a tokenizer, in evaluation mode and float32, from a released One-D-Piece state dict.

        Args:
            state_dict: released key names (see `onedpiece.tokenizer.official`); its tensors are copied.
            heads: attention heads, which the shapes do not tell; None: 64 channels each.

        Raises:
            ValueError: keys are missing, unexpected, or of shapes that fit no One-D-Piece.
        """
        config, state, codebook = convert(state_dict, heads)
        with no_init_weights():
            tokenizer = cls(config)
        check_keys(state_dict, released_shapes(tokenizer.state_dict(), config))
        own = {name: tensor.clone() for name, tensor in state.items()}
        assign_weights(tokenizer, tokenizer.state_dict() | own)
        assert isinstance(tokenizer.quantizer, CosineVQ)
        tokenizer.quantizer.load_codebook(codebook)
        return tokenizer.eval()

    def _check_pictures(self, x: Tensor) -> None:
        size = self.config.image_size
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, size, size):
            raise ValueError(f"pictures are {tuple(x.shape)}; this tokenizer takes (B, 3, {size}, {size})")

    def _check_range(self, indices: Tensor) -> None:
        codes = self.config.codebook_size
        if not 0 <= int(indices.min()) <= int(indices.max()) < codes:
            raise ValueError(
                f"indices run from {indices.min()} to {indices.max()}; the codebook has 0…{codes - 1}"
            )


class _evaluating:  # noqa: N801
    """Put a module into evaluation mode for the length of a block, so that a codebook does not move."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.training = module, module.training

    def __enter__(self) -> None:
        if self.training:
            self.module.eval()

    def __exit__(self, *_: object) -> None:
        if self.training:
            self.module.train()
