"""The tokenizer: encoder, quantizer and decoder as one module."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece._providers import Pretrained
from onedpiece.tokenizer.config import RANGE_SLACK, TokenizerConfig
from onedpiece.tokenizer.dct_path import SHARP_FLAT_RANGE, LinearPath, activity
from onedpiece.tokenizer.official import check_keys, convert, released_shapes, released_state
from onedpiece.tokenizer.pixel_heads import SharpNetwork, VQGANHead
from onedpiece.tokenizer.quantizer import CosineVQ, Quantized, build_quantizer
from onedpiece.tokenizer.tail_drop import Kept, cut_to_longest, key_mask
from onedpiece.tokenizer.transformer import (
    Decoder,
    Encoder,
    assign_weights,
    no_init_weights,
    truncated_normal,
)

__all__ = ["Quantized", "Reconstruction", "Tokenizer"]


_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64)


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


class Tokenizer(Pretrained, nn.Module):
    """A picture as N ordered tokens, of which any number of leading ones is already a picture.

    >>> tokenizer = Tokenizer.from_pretrained("ti-256")
    >>> tokens = tokenizer.tokenize(torch.rand(2, 3, 256, 256))
    >>> tuple(tokens.shape), tuple(tokenizer.detokenize(tokens[:, :32]).shape)
    ((2, 256), (2, 3, 256, 256))

    Args:
        config: the geometry; with `linear_path` the fresh, untrained module is a (blurry) codec.

    Source: One-D-Piece, arXiv 2501.10064; the linear path is ours.
    """

    def __init__(self, config: TokenizerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TokenizerConfig()
        self.linear_path = LinearPath(config) if config.linear_path else None
        if config.encoder_layers:
            self.latent_tokens = nn.Parameter(truncated_normal(config.num_tokens, config.width))
        self.encoder = Encoder(config) if config.encoder_layers else None
        self.quantizer = build_quantizer(config)
        self.decoder = Decoder(config)
        blocks, growth, fine = config.sharp_blocks, config.sharp_growth, config.sharp_fine
        self.sharp = SharpNetwork(blocks, growth=growth, fine=fine) if blocks else None

    def set_network_dtype(self, dtype: torch.dtype) -> Self:
        """Run the networks in `dtype`, and return the tokenizer; what reads and makes tokens stays float32.

        `to(dtype)`, `bfloat16()` and `half()` do the same. Weights are rounded for good: going back to
        float32 does not restore them.

        Raises:
            ValueError: it is none of float32, bfloat16 and float16.
        """
        if dtype not in _DTYPES:
            raise ValueError(f"dtype is {dtype}; use torch.float32, torch.bfloat16 or torch.float16")
        self._check_dtype()
        return self.to(dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # What every nn.Module is converted and moved by. Lattices and statistics say what tokens mean.
        exact = [part for part in (self.linear_path, self.quantizer) if part is not None]
        kept = {id(each) for each in self.buffers()} | {id(p) for part in exact for p in part.parameters()}

        def convert(tensor: Tensor) -> Tensor:
            made = fn(tensor)
            if id(tensor) in kept and made.is_floating_point() and made.itemsize < tensor.itemsize:
                return tensor.to(made.device)
            return made

        converted: Self = super()._apply(convert, recurse)  # type: ignore[no-untyped-call]
        return converted

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.decoder.parameters()).dtype

    def encode(self, x: Tensor) -> Quantized:
        """Encode x (B, 3, H, W) in [0, 1] to codes, indices and the quantizer's loss; differentiable.

        Raises:
            ValueError: x has another shape, or the weights are float64.
        """
        self._check_pictures(x)
        linear = None if self.linear_path is None else self.linear_path.analyse(x)
        if self.encoder is None:
            assert linear is not None  # the config sees to it
            latents = linear
        else:
            seen = None if linear is None else linear.to(self._dtype)
            latents = self.encoder(x.to(self._dtype), self.latent_tokens, seen).float()
            latents = latents if linear is None else linear + latents
        quantized: Quantized = self.quantizer(latents)
        return quantized

    def decode(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Decode the first k codes; differentiable.

        Args:
            codes: (B, k, code_dim), 1 ≤ k ≤ N.
            lengths: (B,) in 1…k, how many of the codes each sample has; None: all.

        Returns:
            (B, 3, H, W), about [0, 1], not clamped.

        Raises:
            ValueError: the weights are of another type; float64 is for checks of exactness.
        """
        dtype = self._dtype
        if dtype != torch.float64:
            self._check_dtype()
        mask = None if lengths is None else key_mask(lengths, codes.shape[1])
        if self.linear_path is None:
            out: Tensor = self.decoder(codes.to(dtype), mask)
            return out
        with torch.autocast(codes.device.type, enabled=False):
            linear = self.linear_path.synthesise(codes, mask)
        size = self.config.image_size
        base = F.interpolate(linear, size, mode="bicubic", align_corners=False)
        added = self.decoder(codes.to(dtype), mask, linear.to(dtype))
        picture: Tensor = base + activity(linear, size) * added
        return picture

    def code_logits(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Score the pixel codebook of a VQGAN head at each patch; differentiable, and no picture is drawn.

        Args:
            codes: (B, k, code_dim), 1 ≤ k ≤ N.
            lengths: (B,) in 1…k, how many of the codes each sample has; None: all.

        Returns:
            (B, K, grid, grid).

        Raises:
            ValueError: the pixel head is another.
        """
        head = self.decoder.head
        if not isinstance(head, VQGANHead):
            raise ValueError(f"pixel_head is {self.config.pixel_head}; only vqgan has codes to score")
        mask = None if lengths is None else key_mask(lengths, codes.shape[1])
        return head.logits(self.decoder.features(codes, mask))

    def sharpen(self, faithful: Tensor, tokens: Tensor, sharpness: float = 1.0) -> Tensor:
        """Return the sharp picture, or a mixture of both; differentiable in the faithful one.

        Args:
            faithful: (B, 3, S, S) in [0, 1], as `detokenize` gives it, or squares cut from it, S a multiple
                of 8.
            tokens: (B,), how many tokens each was made of.
            sharpness: 0 is the faithful picture, 1 the most natural.

        Returns:
            (B, 3, S, S), about [0, 1], not clamped; flat parts of the faithful picture stay as they are.

        Raises:
            ValueError: the tokenizer has no sharp network.
        """
        if self.sharp is None:
            raise ValueError("this tokenizer has no sharp network (sharp_blocks is 0): sharpness must be 0")
        side = faithful.shape[-1] * self.config.linear_size // self.config.image_size
        small = F.interpolate(faithful, side, mode="area")
        added: Tensor = self.sharp(faithful, tokens) - faithful
        return faithful + sharpness * activity(small, faithful.shape[-1], SHARP_FLAT_RANGE) * added

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
            (B, N) int64, the most important first; at position i from 0 to `config.codes_by_position[i]` − 1.

        Raises:
            ValueError: x has another shape, is not of floats, or has values outside [0, 1].
        """
        self._check_pictures(x)
        _check_values(x)
        with evaluating(self), torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            indices: Tensor = self.encode(x.float().clamp(0, 1)).indices
        return indices

    def detokenize(
        self, indices: Tensor, lengths: Tensor | Sequence[int] | None = None, sharpness: float = 0.0
    ) -> Tensor:
        """Return the pictures of the first k tokens.

        Args:
            indices: (B, k) integers, 1 ≤ k ≤ N.
            lengths: (B,) in 1…k for codes of mixed length in one batch (what stands behind a sample's
                length is ignored); None: all k.
            sharpness: from 0, the faithful picture, to 1, the most natural one (see `sharpen`).

        Returns:
            (B, 3, H, W) in [0, 1].

        Raises:
            ValueError: k, a length, an index or the sharpness is out of range, the indices are no integers,
                or the weights are float64.
        """
        self._check_indices(indices)
        self._check_dtype()
        if not 0 <= sharpness <= 1:
            raise ValueError(f"sharpness is {sharpness}; use 0 (faithful) to 1 (most natural)")
        kept = Kept(indices.long(), None) if lengths is None else cut_to_longest(indices.long(), lengths)
        if not len(indices):
            size = self.config.image_size
            return torch.zeros(0, 3, size, size, device=indices.device)
        self._check_range(kept.indices)
        with evaluating(self), torch.no_grad(), torch.autocast(indices.device.type, enabled=False):
            codes = self.quantizer.codes_from_indices(kept.indices)
            picture = self.decode(codes, kept.lengths).float().clamp_(0, 1)
            if sharpness and self.sharp is not None:
                counts = kept.lengths
                if counts is None:
                    counts = torch.full((len(codes),), codes.shape[1], device=codes.device)
                picture = self.sharpen(picture, counts, sharpness).clamp_(0, 1)
        return picture

    def detokenize_linear(self, indices: Tensor) -> Tensor:
        """Return the linear pictures of the first k tokens; no network runs, and the web page draws the same.

        Args:
            indices: (B, k) integers, 1 ≤ k ≤ N.

        Returns:
            (B, 3, S, S) in [0, 1], S = `config.linear_size`.

        Raises:
            ValueError: the tokenizer has no linear path, k or an index is out of range, or the indices are no
                integers.
        """
        if self.linear_path is None:
            raise ValueError("this tokenizer has no linear path (linear_path is False)")
        self._check_indices(indices)
        self._check_range(indices)
        with torch.no_grad(), torch.autocast(indices.device.type, enabled=False):
            return self.linear_path.synthesise(self.quantizer.codes_from_indices(indices.long())).clamp_(0, 1)

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

    def to_official(self) -> dict[str, Tensor]:
        """Return copies of the weights by their released names; `from_official` reads them back.

        Raises:
            ValueError: the geometry is none that the released code has.
        """
        state = {name: each.detach().clone() for name, each in self.state_dict().items()}
        codebook = (
            self.quantizer.vq.codebook.detach().clone() if isinstance(self.quantizer, CosineVQ) else None
        )
        return released_state(state, self.config, codebook)

    def _check_dtype(self) -> None:
        if self._dtype not in _DTYPES:
            raise ValueError(
                f"the tokenizer's weights are {self._dtype}; its networks work in float32, bfloat16 or "
                "float16: tokenizer.float() brings them back"
            )

    def _check_pictures(self, x: Tensor) -> None:
        self._check_dtype()
        size = self.config.image_size
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, size, size):
            raise ValueError(f"pictures are {tuple(x.shape)}; this tokenizer takes (B, 3, {size}, {size})")

    def _check_indices(self, indices: Tensor) -> None:
        limit = self.config.num_tokens
        if indices.ndim != 2 or not 1 <= indices.shape[1] <= limit:
            raise ValueError(f"indices are {tuple(indices.shape)}; this tokenizer takes (B, 1…{limit})")
        if indices.dtype not in _INTEGERS:
            raise ValueError(f"indices are of {indices.dtype}; this tokenizer takes integers")

    def _check_range(self, indices: Tensor) -> None:
        codes = torch.tensor(self.config.codes_by_position[: indices.shape[1]], device=indices.device)
        outside = (indices < 0) | (indices >= codes)
        if bool(outside.any()):
            row, place = (int(i) for i in outside.nonzero()[0])
            found, most = int(indices[row, place]), int(codes[place]) - 1
            raise ValueError(f"token {place} is {found}; the codebook has 0…{most} there")


def _check_values(x: Tensor) -> None:
    """Raise ValueError unless pictures are floats in [0, 1], but for what resampling leaves."""
    if not x.is_floating_point():
        raise ValueError(f"pictures are of type {x.dtype}; this tokenizer takes floats in [0, 1]")
    if not x.numel():
        return
    low, high = (float(end) for end in x.aminmax())
    if not (low >= -RANGE_SLACK and high <= 1 + RANGE_SLACK):  # also for NaN
        raise ValueError(f"the pictures' values run from {low:.6g} to {high:.6g}; expected [0, 1]")


class evaluating:  # noqa: N801
    """Put a module into evaluation mode for the length of a block, so that a codebook does not move.

    Each part comes back to the mode that was its own: what is frozen stays in evaluation mode.

    Args:
        module: with all that is in it.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.in_training = [each for each in module.modules() if each.training]

    def __enter__(self) -> None:
        if self.in_training:
            self.module.eval()

    def __exit__(self, *_: object) -> None:
        for each in self.in_training:
            each.training = True
