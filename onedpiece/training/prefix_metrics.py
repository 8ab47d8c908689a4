"""How good prefixes are, and how much of the codebook is in use, over a validation set."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from onedpiece.tokenizer import Tokenizer, TokenizerConfig

PERFECT_DB = 100.0
"""What an exact reconstruction counts as: infinity would swallow the mean."""


def counts_within(counts: Sequence[int], num_tokens: int) -> tuple[int, ...]:
    """Return the token counts to look at, none above `num_tokens` and none twice."""
    return tuple(sorted({min(count, num_tokens) for count in counts}))


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Return (B,) PSNR in dB of (B, 3, H, W) pictures in [0, 1], both rounded to 8 bits first."""
    levels = [x.clamp(0, 1).mul(255).round().double() for x in (image, target)]
    error = (levels[0] - levels[1]).square().mean(dim=(1, 2, 3))
    return (10 * torch.log10(255.0**2 / error)).clamp(max=PERFECT_DB).float()


def grade_sizes(config: TokenizerConfig) -> tuple[int, ...]:
    """Return how many consecutive tokens share a codebook, from the first token on."""
    if config.quantizer == "vq":
        return (config.num_tokens,)
    return tuple(count for count, _ in config.fsq_grades)


class PrefixMetrics:
    """Running sums over a validation set, for each token count.

    Args:
        config: of the tokenizer that is judged.
        counts: how many tokens to decode.
        device: of the pictures.
        distance: a perceptual distance, (B, 3, H, W) twice → (B,); None: leave it out.
    """

    def __init__(
        self,
        config: TokenizerConfig,
        counts: Sequence[int],
        device: torch.device,
        distance: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.counts = counts_within(counts, config.num_tokens)
        self._grades = grade_sizes(config)
        self._distance = distance
        self.images = torch.zeros((), device=device)
        self.psnr = torch.zeros(len(self.counts), device=device)
        self.lpips = torch.zeros(len(self.counts), device=device)
        self.seen = torch.zeros(len(self._grades), config.codebook_size, device=device)

    @torch.no_grad()
    def update(self, tokenizer: Tokenizer, x: Tensor) -> None:
        """Take pictures x (B, 3, H, W) in [0, 1] in; always in float32."""
        with torch.autocast(x.device.type, enabled=False):
            indices = tokenizer.tokenize(x)
            for i, count in enumerate(self.counts):
                image = tokenizer.detokenize(indices[:, :count])
                self.psnr[i] += psnr(image, x).sum()
                if self._distance is not None:
                    self.lpips[i] += self._distance(image, x).sum()
        self.images += len(x)
        for grade, tokens in enumerate(torch.split(indices, list(self._grades), dim=1)):
            self.seen[grade, tokens.flatten()] = 1.0

    def results(self, total: Callable[[Tensor], Tensor] = lambda x: x) -> dict[str, float]:
        """Return the means by name: `psnr_K`, `lpips_K` and `codes_used`, a share in [0, 1].

        Args:
            total: sums a tensor over all processes.
        """
        images = total(self.images)
        named = {f"psnr_{k}": value for k, value in zip(self.counts, total(self.psnr) / images, strict=True)}
        if self._distance is not None:
            lpips = total(self.lpips) / images
            named |= {f"lpips_{k}": value for k, value in zip(self.counts, lpips, strict=True)}
        used = (total(self.seen) > 0).float().mean()
        return {name: float(value) for name, value in (named | {"codes_used": used}).items()}
