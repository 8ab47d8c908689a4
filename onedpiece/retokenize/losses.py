"""What the reducers are fine-tuned with: MCTF's consistency, SiT's feature recalibration."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class ConsistencyLoss(NamedTuple):
    """MCTF's two-branch loss and its parts, scalars.

    Attributes:
        total: student + teacher + weight · consistency.
        student: cross-entropy of the strongly reduced branch.
        teacher: cross-entropy of the lightly reduced branch.
        consistency: mean squared distance of the branches' class features.
    """

    total: Tensor
    student: Tensor
    teacher: Tensor
    consistency: Tensor


class RecalibrationLoss(NamedTuple):
    """SiT's loss and its parts, scalars.

    Attributes:
        total: target + token_weight · tokens + logit_weight · logits.
        target: cross-entropy to the labels.
        tokens: mean squared distance of recovered tokens to the teacher's.
        logits: KL divergence of the student's from the teacher's distribution.
    """

    total: Tensor
    target: Tensor
    tokens: Tensor
    logits: Tensor


def consistency_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    student_features: Tensor,
    teacher_features: Tensor,
    target: Tensor,
    weight: float = 3.0,
    confidence: float = 0.4,
) -> ConsistencyLoss:
    """Train a strongly reduced branch with a lightly reduced one of the same weights.

    logits: (B, classes); features: (B, C), the class tokens; target: (B,) int64, or shares (B, classes) where
    labels were mixed. The teacher's features are constants, and only samples whose student gives the target,
    of a mixture the larger one, more than `confidence` count.

    Reference: arXiv 2403.10030, section 3.5.
    """
    student = F.cross_entropy(student_logits, target)
    teacher = F.cross_entropy(teacher_logits, target)
    label = target if target.ndim == 1 else target.argmax(dim=-1)
    with torch.no_grad():
        sure = student_logits.softmax(dim=-1).gather(1, label[:, None])[:, 0] > confidence
    distance = (student_features - teacher_features.detach()).square().mean(dim=-1)
    consistency = (distance * sure).sum() / sure.sum().clamp_min(1)
    return ConsistencyLoss(student + teacher + weight * consistency, student, teacher, consistency)


def recalibration_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    recovered: Sequence[Tensor],
    teacher_tokens: Sequence[Tensor],
    target: Tensor,
    token_weight: float = 2.0,
    logit_weight: float = 2.0,
) -> RecalibrationLoss:
    """Feature recalibration distillation: make slimmed stages say what an unslimmed twin says.

    logits: (B, classes); recovered, teacher_tokens: a (B, N, C) pair for each slimmed stage; target: (B,)
    int64, or shares (B, classes). Everything of the teacher's is constant.

    Raises:
        ValueError: the two lists differ in length or are empty.

    Reference: arXiv 2111.12624, section 3.3.
    """
    if not recovered or len(recovered) != len(teacher_tokens):
        raise ValueError(
            f"{len(recovered)} recovered and {len(teacher_tokens)} teacher stages; give one pair a stage"
        )
    pairs = zip(recovered, teacher_tokens, strict=True)
    tokens = torch.stack([F.mse_loss(mine, theirs.detach()) for mine, theirs in pairs]).mean()
    logits = F.kl_div(
        student_logits.log_softmax(dim=-1),
        teacher_logits.detach().log_softmax(dim=-1),
        log_target=True,
        reduction="batchmean",
    )
    hard = F.cross_entropy(student_logits, target)
    return RecalibrationLoss(hard + token_weight * tokens + logit_weight * logits, hard, tokens, logits)
