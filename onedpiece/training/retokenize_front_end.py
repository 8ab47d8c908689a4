"""Training a tokenizer whose encoder merges patches."""

from dataclasses import dataclass

from onedpiece.retokenize import apply_share
from onedpiece.tokenizer import Tokenizer


@dataclass(frozen=True)
class FrontEndConfig:
    """What merges patches inside the encoder while it learns; nothing by default.

    Raises:
        ValueError: on construction, the share is out of range.
    """

    name: str | None = (
        None  # mctf, imagepiece, tome, evit: without weights of their own, which no codec loads
    )
    keep: float = 0.5  # about the share of patches behind the encoder's last layer

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"retokenize.keep is {self.keep}; give the share in (0, 1] of patches to leave")
        if self.name == "slimming":
            raise ValueError("retokenize.name is slimming, whose weights no codec would load; choose another")


def merge_patches(tokenizer: Tokenizer, config: FrontEndConfig) -> None:
    """Put the front end into a tokenizer's encoder, if there is one.

    Raises:
        ValueError: the name is unknown.
    """
    if config.name is not None:
        apply_share(tokenizer, config.name, config.keep)
