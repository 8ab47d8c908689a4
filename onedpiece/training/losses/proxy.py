"""Stage 1 of the published recipe: cross-entropy to the codes that a VQGAN gives each patch."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from onedpiece.tokenizer import Tokenizer
from onedpiece.tokenizer.pixel_heads import VQGANHead
from onedpiece.tokenizer.vqgan import load_vqgan
from onedpiece.weights.hub import read_state


@dataclass(frozen=True)
class ProxyConfig:
    """Where proxy codes come from; without weights there are none, and pixels are trained on.

    The weights are `fun-research/TiTok/maskgit-vqgan-imagenet-f16-256.bin` of the hub, or others of that
    layout.

    Attributes:
        vqgan: its weights: a file, or OWNER/NAME/FILE of the hub.
    """

    vqgan: str | None = None


class ProxyTerms(NamedTuple):
    """What a step of stage 1 minimises, and how it is doing.

    Attributes:
        proxy: cross-entropy in nats a patch, with its weight of each prefix in it.
        quantizer: the quantizer's own loss.
        accuracy: share of the patches whose likeliest code is the right one, in [0, 1]; of the last prefix.
    """

    proxy: Tensor
    quantizer: Tensor
    accuracy: Tensor

    @property
    def total(self) -> Tensor:
        """The sum, which is what is minimised."""
        return self.proxy + self.quantizer


class ProxyCodes:
    """A frozen VQGAN whose codes a tokenizer learns to say; its decoder and codebook become the pixel head's.

    It is no `nn.Module` on purpose: an attribute of this type stays out of a module's parameters, state dict,
    averages and data-parallel wrapper.

    Args:
        weights: of the VQGAN (see `ProxyConfig`).
        tokenizer: with a VQGAN head of its geometry.

    Raises:
        ValueError: the tokenizer has another head, or the weights do not fit it.
        HubError: there are no such weights.

    Source: TiTok, arXiv 2406.07550 §3.3; One-D-Piece, arXiv 2501.10064.
    """

    def __init__(self, weights: str, tokenizer: Tokenizer) -> None:
        head = tokenizer.decoder.head
        if not isinstance(head, VQGANHead):
            raise ValueError(
                f"model.proxy needs a tokenizer with pixel_head vqgan, as s-256; it is "
                f"{tokenizer.config.pixel_head}"
            )
        self._vqgan = load_vqgan(read_state(weights), tokenizer.config)
        self._device = torch.device("cpu")
        head.pixel_quantize.load_state_dict(self._vqgan.quantize.state_dict())
        head.pixel_decoder.load_state_dict(self._vqgan.decoder.state_dict())
        # They draw what validation looks at, and no gradient reaches them in this stage.
        head.pixel_quantize.requires_grad_(False)
        head.pixel_decoder.requires_grad_(False)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """Return (B, grid, grid) int64 codes of pictures (B, 3, H, W) in [0, 1], in float32."""
        if x.device != self._device:
            self._vqgan.to(x.device)
            self._device = x.device
        with torch.autocast(x.device.type, enabled=False):
            return self._vqgan.codes(x.float())

    @staticmethod
    def loss(logits: Tensor, codes: Tensor) -> Tensor:
        """Return the cross-entropy of logits (B, K, grid, grid) to codes (B, grid, grid), in nats a patch."""
        return F.cross_entropy(logits.float(), codes)
