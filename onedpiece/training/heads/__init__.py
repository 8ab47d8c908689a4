"""Training of heads: losses and metrics by task, one Lightning module for all."""

from onedpiece.training.heads.matching import BoxWeights
from onedpiece.training.heads.metrics import HeadMetrics, Score, TaskMetric, evaluate
from onedpiece.training.heads.module import HeadModule
from onedpiece.training.heads.objectives import ObjectiveConfig, head_loss

__all__ = [
    "BoxWeights",
    "HeadMetrics",
    "HeadModule",
    "ObjectiveConfig",
    "Score",
    "TaskMetric",
    "evaluate",
    "head_loss",
]
