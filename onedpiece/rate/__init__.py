"""How many tokens: quality targets, the search that meets them, sharing tokens out over tiles."""

from onedpiece.rate.target import METRICS, Target, TargetOutOfReachError

__all__ = ["METRICS", "Target", "TargetOutOfReachError"]
