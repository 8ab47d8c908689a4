"""How many tokens: quality targets, the search that meets them, allocation over tiles."""

from onedpiece.errors import TargetOutOfReachError
from onedpiece.metrics.descriptors import TARGET_METRICS as METRICS
from onedpiece.rate.target import QualityTarget, RateTarget

__all__ = ["METRICS", "QualityTarget", "RateTarget", "TargetOutOfReachError"]
