"""What a head is made of: frozen dataclasses that YAML and the head's file hold."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self, get_args

from onedpiece.errors import HeadError
from onedpiece.tokenizer import TokenizerConfig

Task = Literal["classify", "segment", "depth", "detect"]
"""What a head predicts: the class of a photo, a class a pixel, a distance a pixel, or boxes with classes."""

DENSE: tuple[Task, ...] = ("segment", "depth", "detect")
"""The tasks whose result is a map, and which so need queries on a grid."""


@dataclass(frozen=True)
class ReducerConfig:
    """Which tokens are merged, so that the transformer has fewer to work on.

    Attributes:
        name: of `onedpiece.retokenize`; in front of the blocks, where no attention is known, tome.
        keep_ratio: part of the tokens that is left; 1 merges none.
        place: where it merges; in front of the blocks saves most.

    Raises:
        HeadError: on construction, a ratio out of range or an unknown place.
    """

    name: str = "tome"
    keep_ratio: float = 1.0
    place: Literal["front", "inside"] = "front"

    def __post_init__(self) -> None:
        if not 0 < self.keep_ratio <= 1:
            raise HeadError(
                f"reducer.keep_ratio is {self.keep_ratio}; give the part in (0, 1] that is to be left"
            )
        if self.place not in ("front", "inside"):
            raise HeadError(f"reducer.place is {self.place!r}; use front or inside")
        if self.place == "front" and self.name != "tome":
            raise HeadError(
                f"reducer {self.name} needs attention, which only blocks have; set reducer.place to inside"
            )


@dataclass(frozen=True)
class HeadConfig:
    """The geometry of one head, and of the tokenizer whose codes it reads.

    Attributes:
        task: what it predicts.
        classes: names in the order of the targets; depth has none.
        tokenizer: the geometry whose codes it reads.
        width: channels; with 4 layers about 1 M parameters, 2 MB in float16.
        layers: transformer blocks.
        heads: of attention; 32 channels each.
        embedding: one projection for each position, or for all.
        group: neighbours in the order, of one band of the spectrum, that make one code token.
        grid: queries along one side for codes of all tokens; 0: none but the class token.
        growth: the side grows with (k / N) ** growth, and the cost with it; 0: it is always `grid`.
        linear_picture: grid queries also see the linear picture, through two convolutions.
        stem_blocks: residual blocks of two convolutions behind those; they learn from fewer photos.
        codes: code tokens join; False: the linear picture alone, whose cost is that of the grid.
        upsample: of the grid, by convolutions, for masks and depth.
        channels: of those convolutions.
        reducer: what merges code tokens on the way.

    Raises:
        HeadError: on construction, naming the field that does not fit and the fix.
    """

    task: Task = "classify"
    classes: tuple[str, ...] = ()
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    width: int = 128
    layers: int = 4
    heads: int = 4
    embedding: Literal["position", "shared"] = "position"
    group: int = 1
    grid: int = 0
    growth: float = 0.0
    linear_picture: bool = False
    stem_blocks: int = 0
    codes: bool = True
    upsample: int = 4
    channels: int = 32
    reducer: ReducerConfig = field(default_factory=ReducerConfig)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        self._check_task()
        if self.group < 1 or self.num_tokens % self.group:
            raise HeadError(f"group is {self.group}; use a divisor of the {self.num_tokens} tokens")
        if not 0 <= self.growth <= 1:
            raise HeadError(f"growth is {self.growth}; use a power in [0, 1], as 0.5 for a cell a token")
        if self.width % self.heads:
            raise HeadError(f"width {self.width} is not a multiple of heads {self.heads}; change one")
        if self.linear_picture:
            self._check_linear_picture()
        elif not self.codes:
            raise HeadError(
                "a head reads code tokens, the linear picture or both; set codes or linear_picture"
            )

    def _check_task(self) -> None:
        if self.task not in get_args(Task):
            raise HeadError(f"task is {self.task!r}; use one of {', '.join(get_args(Task))}")
        if self.task in DENSE and self.grid < 1:
            raise HeadError(f"task {self.task} needs queries on a grid; set grid to 1 or more, as 16")

    def _check_linear_picture(self) -> None:
        if not self.tokenizer.linear_path:
            raise HeadError(
                "linear_picture needs a tokenizer with a linear path; set linear_picture to false"
            )
        if not self.grid:
            raise HeadError("linear_picture needs queries on a grid; set grid to 1 or more, as 8")

    def side(self, count: int) -> int:
        """Return how many queries stand along one side for codes of `count` tokens."""
        return max(min(2, self.grid), round(self.grid * math.pow(count / self.num_tokens, self.growth)))

    @property
    def num_tokens(self) -> int:
        """The longest code that the head reads, N."""
        return self.tokenizer.num_tokens

    @property
    def code_dim(self) -> int:
        """Channels of one code vector."""
        return self.tokenizer.code_dim

    @property
    def input_size(self) -> int:
        """Side in pixels of the square picture that the codes stand for, and of dense results."""
        return self.tokenizer.image_size

    def to_dict(self) -> dict[str, Any]:
        """Return a mapping of plain values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build a config from such a mapping.

        Raises:
            ValueError: an unknown name, or a value that does not fit.
        """
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise HeadError(f"unknown field(s) {', '.join(unknown)} in the head's config")
        nested = {
            "tokenizer": TokenizerConfig.from_dict(values.get("tokenizer", {})),
            "reducer": ReducerConfig(**values.get("reducer", {})),
        }
        return cls(**(values | nested))
