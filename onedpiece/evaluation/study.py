"""A rate–distortion study: every photo, by every codec, at every byte budget, judged by every metric."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from onedpiece.evaluation.metrics import Metric
from onedpiece.evaluation.photos import Photo, Unreadable

OURS = "onedpiece"


class Shot(NamedTuple):
    """The best file of one photo by one codec within one budget, as one metric sees it.

    Attributes:
        photo: the photo's name.
        codec: OURS or a classical format's name.
        budget: bytes allowed for the whole file.
        metric: the metric's name.
        score: its value.
        data: the whole file, at most `budget` bytes.
        setting: how it was made, for people.
        tokens: how many it holds; None for a classical format.
    """

    photo: str
    codec: str
    budget: int
    metric: str
    score: float
    data: bytes
    setting: str
    tokens: int | None = None


@dataclass(frozen=True)
class Study:
    """Everything that a comparison found; a shot that is not there did not fit its budget."""

    model: str  # what stands behind OURS
    side: int  # pixels; every picture was compared as a square of this side
    photos: Sequence[Photo]
    codecs: Sequence[str]  # OURS first
    budgets: Sequence[int]  # ascending
    metrics: Sequence[Metric]
    shots: Sequence[Shot]
    unreadable: Sequence[Unreadable] = field(default=())

    @cached_property
    def _by_key(self) -> dict[tuple[str, str, int, str], Shot]:
        return {(s.photo, s.codec, s.budget, s.metric): s for s in self.shots}

    def shot(self, photo: str, codec: str, budget: int, metric: str) -> Shot | None:
        """Return the shot of one photo, or None where nothing fitted."""
        return self._by_key.get((photo, codec, budget, metric))

    def shots_of(self, codec: str, budget: int, metric: str) -> list[Shot]:
        """Return the shots of all photos that fitted, in the photos' order."""
        found = (self.shot(photo.name, codec, budget, metric) for photo in self.photos)
        return [shot for shot in found if shot is not None]

    @property
    def display_metric(self) -> Metric:
        """The metric that chooses the pictures to look at: of those measured, the closest to eyes."""
        closest = ("lpips", "lpips-squeeze", "ms-ssim", "ssim", "psnr")
        return min(self.metrics, key=lambda m: closest.index(m.name))
