"""How many tokens: quality targets, the search that meets them, sharing tokens out over tiles."""

from onedpiece.errors import TargetOutOfReachError
from onedpiece.rate.target import METRICS, Target

__all__ = ["METRICS", "Target", "TargetOutOfReachError"]
