"""Token reduction on the command line: what `--retokenize` and `--keep` ask for."""

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from onedpiece.codec import Codec

REDUCERS = ("mctf", "imagepiece", "tome")
DEFAULT_KEEP = 0.5


class TokenReduction(NamedTuple):
    """A reducer's name, and about the share of patches, in (0, 1], that it leaves behind the last layer."""

    name: str
    keep_ratio: float

    def apply_to(self, codec: "Codec") -> None:
        """Let the codec's encoder merge patches; its tokens, and so its files, stay what they are.

        Raises:
            ValueError: the model has an encoder of another make.
        """
        from onedpiece.retokenize import apply

        apply(codec.tokenizer, self.name, keep_ratio=self.keep_ratio)

    def record(self) -> dict[str, Any]:
        """Return what to report of it."""
        return {"retokenize": self.name, "keep": self.keep_ratio}


def token_reduction(name: str | None, keep: float | None) -> TokenReduction | None:
    """Return what the options ask for; None without them.

    Raises:
        ValueError: the name is unknown, the share is out of range, or there is one without a name.
    """
    if name is None:
        if keep is not None:
            raise ValueError(f"--keep {keep:g} needs --retokenize, one of {', '.join(REDUCERS)}")
        return None
    if name not in REDUCERS:
        raise ValueError(f"--retokenize is {name!r}; choose one of {', '.join(REDUCERS)}")
    if keep is not None and not 0 < keep <= 1:
        raise ValueError(f"--keep is {keep:g}; give the share in (0, 1] of the tokens that is to be left")
    return TokenReduction(name, DEFAULT_KEEP if keep is None else keep)
