"""What a reduced classifier is trained for: labels alone, MCTF's two branches, SiT's recalibration."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.retokenize import reconfigured
from onedpiece.retokenize.losses import consistency_loss, recalibration_loss
from onedpiece.retokenize.slimming import ReverseSlimming


class Step(NamedTuple):
    """The loss of a batch.

    Attributes:
        loss: scalar, with its graph.
        logits: (B, classes) of the reduced model, for the training accuracy.
    """

    loss: Tensor
    logits: Tensor


class LabelObjective(nn.Module):
    """Cross-entropy of the reduced model.

    Args:
        smoothing: label smoothing, in [0, 1).
    """

    def __init__(self, smoothing: float = 0.1) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, vit: nn.Module, x: Tensor, target: Tensor, generator: torch.Generator) -> Step:
        """Score a batch x (B, 3, H, W), target (B,)."""
        logits = vit(x)
        return Step(F.cross_entropy(logits, target, label_smoothing=self.smoothing), logits)


class ConsistencyObjective(nn.Module):
    """MCTF's two branches of one model: a strong reduction learns from a weak, random one.

    Args:
        teacher_r: the weak branch removes U{0, …, teacher_r} tokens a layer.
        weight: of the consistency of class features.
    """

    def __init__(self, teacher_r: int = 7, weight: float = 3.0) -> None:
        super().__init__()
        self.teacher_r, self.weight = teacher_r, weight

    def forward(self, vit: Any, x: Tensor, target: Tensor, generator: torch.Generator) -> Step:
        """Score a batch x (B, 3, H, W), target (B,)."""
        student = vit.forward_features(x)
        weak = int(torch.randint(self.teacher_r + 1, (), generator=generator))
        with reconfigured(vit, r=weak):
            teacher = vit.forward_features(x)
        logits, teacher_logits = vit.forward_head(student), vit.forward_head(teacher)
        losses = consistency_loss(
            logits, teacher_logits, student[:, 0], teacher[:, 0], target, weight=self.weight
        )
        return Step(losses.total, logits)


class RecalibrationObjective(nn.Module):
    """SiT's recalibration: slimmed tokens, unslimmed again, must match the same blocks of a full twin.

    Args:
        teacher: the full twin; frozen, and no part of this module's state.
        kept: tokens behind each of the blocks that are compared.
        ends: which these are, counted from 0; SiT compares behind every one.
        num_tokens: patch tokens of the twin.
    """

    def __init__(
        self, teacher: nn.Module, kept: tuple[int, ...], ends: tuple[int, ...], num_tokens: int
    ) -> None:
        super().__init__()
        self._teacher = (teacher.eval().requires_grad_(False),)
        self.ends = ends
        dim = int(teacher.embed_dim)  # type: ignore[arg-type]
        self.reverse = nn.ModuleList(ReverseSlimming(dim, keep, num_tokens) for keep in kept)

    def forward(self, vit: Any, x: Tensor, target: Tensor, generator: torch.Generator) -> Step:
        """Score a batch x (B, 3, H, W), target (B,)."""
        final, stages = _intermediates(vit, x, self.ends)
        twin: Any = self._teacher[0].to(x.device)
        with torch.no_grad():
            twin_final, twin_stages = _intermediates(twin, x, self.ends)
            twin_logits = twin.forward_head(twin_final)
        recovered = [module(tokens) for module, tokens in zip(self.reverse, stages, strict=True)]
        logits = vit.forward_head(final)
        return Step(recalibration_loss(logits, twin_logits, recovered, twin_stages, target).total, logits)


def _intermediates(vit: Any, x: Tensor, ends: tuple[int, ...]) -> tuple[Tensor, list[Tensor]]:
    """Return the normed last tokens (B, N, C), and the patch tokens behind the given blocks."""
    # The class's own method: that of a reduced model restores the tokens which are to be recovered here.
    final, stages = type(vit).forward_intermediates(vit, x, indices=list(ends), output_fmt="NLC")
    return final, stages
