"""What a run is asked for, and where it works; without torch, which only the actors need."""

from dataclasses import dataclass, field

from onedpiece.bulk.shards import Layout
from onedpiece.rate.target import RateTarget

BATCH = 32  # pictures that go through the network together; a card takes more
SHARD_SIZE = 512  # pictures a shard: seconds of work, which is what a worker that dies loses


@dataclass(frozen=True)
class EncodeOptions:
    """What is asked of every picture.

    Attributes:
        target: how many tokens.
        best_effort: where a quality is out of reach, take the best there is.
        crops: random crops of a picture, each with a row of its own; 0: the whole picture.
        score: "psnr", "ssim" or "lpips" of the faithful picture beside the photo; None: a quality target's.
        layout: what is written.

    Raises:
        ValueError: `crops` is negative.
    """

    target: RateTarget = field(default_factory=RateTarget)
    best_effort: bool = False
    crops: int = 0
    score: str | None = None
    layout: Layout = "parquet"

    def __post_init__(self) -> None:
        if self.crops < 0:
            raise ValueError(f"crops is {self.crops}; give how many a picture, or 0 for the whole picture")


@dataclass(frozen=True)
class DecodeOptions:
    """How rows become pictures.

    Attributes:
        tokens: decode only so many leading ones; None: all there are.
        sharpness: 0, faithful, to 1, most natural; None: what the rows' files ask for.
        ending: of the pictures' files, which says their format.

    Raises:
        ValueError: `tokens` or `sharpness` is out of range.
    """

    tokens: int | None = None
    sharpness: float | None = None
    ending: str = ".png"

    def __post_init__(self) -> None:
        if self.tokens is not None and self.tokens < 1:
            raise ValueError(f"tokens is {self.tokens}; decode 1 or more")
        if self.sharpness is not None and not 0 <= self.sharpness <= 1:
            raise ValueError(f"sharpness is {self.sharpness}; use 0 (faithful) to 1 (most natural)")


@dataclass(frozen=True)
class Cluster:
    """Where the work is done.

    Attributes:
        address: of a Ray cluster, as `ray start` prints it; None: a Ray of its own on this machine.
        concurrency: actors; None: one a core, or as many as there are cards for.
        num_gpus: cards an actor; 0: it works on a core. A half lets two share one.
        batch: pictures that go through the network together.

    Raises:
        ValueError: a number is out of range.
    """

    address: str | None = None
    concurrency: int | None = None
    num_gpus: float = 0.0
    batch: int = BATCH

    def __post_init__(self) -> None:
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"concurrency is {self.concurrency}; give how many actors, 1 or more")
        if self.num_gpus < 0 or self.batch < 1:
            raise ValueError("num_gpus must not be negative, and batch must be 1 or more")

    @property
    def device(self) -> str:
        """Where an actor's network runs, as torch names it."""
        return "cuda" if self.num_gpus else "cpu"
