"""How many tokens: quality targets, the search that meets them, allocation over tiles."""

from onedpiece.errors import TargetOutOfReachError
from onedpiece.rate.target import METRICS, QualityTarget, RateTarget

__all__ = ["METRICS", "QualityTarget", "RateTarget", "TargetOutOfReachError"]
