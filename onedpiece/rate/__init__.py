"""How many tokens: quality targets, the search that meets them, sharing tokens out over tiles."""

from onedpiece.errors import TargetOutOfReachError
from onedpiece.metrics.descriptors import TARGET_METRICS as METRICS
from onedpiece.rate.target import Target

__all__ = ["METRICS", "Target", "TargetOutOfReachError"]
