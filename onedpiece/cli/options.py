"""The options that several verbs share, and those of token reduction in the encoder."""

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from onedpiece.codec import Codec

OUT = Annotated[
    str | None,
    typer.Option("-o", "--out", metavar="OUT", help="File, folder for many, or - for standard output."),
]
MODEL = Annotated[
    str | None, typer.Option(metavar="M", help="A model's name or folder; the bundled one by default.")
]
TABLES = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="M", help="The folder of the model that made it; bundled models need none."
    ),
]
DEVICE = Annotated[str, typer.Option(help="Where the network runs, as torch names it: cpu, cuda, mps.")]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
SKIP_EXISTING = Annotated[
    bool, typer.Option("--skip-existing", help="Leave out inputs whose output is already there.")
]
CHUNK = 8  # files that go through the network together: more gain little and hold more pixels


NAMES = ("mctf", "imagepiece", "tome")
DEFAULT_KEEP = 0.5

RETOKENIZE = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Merge patches inside the encoder, which is faster: mctf, imagepiece or tome."
    ),
]
KEEP = Annotated[
    float | None,
    typer.Option(metavar="R", help=f"The share of patches that --retokenize leaves; {DEFAULT_KEEP} of them."),
]


class FrontEnd(NamedTuple):
    """A re-tokenizer and about the share of patches, in (0, 1], that it leaves behind the last layer."""

    name: str
    keep_ratio: float

    def put_into(self, codec: "Codec") -> None:
        """Let the codec's encoder merge patches; its tokens, and so its files, stay what they are.

        Raises:
            ValueError: the model has an encoder of another make.
        """
        from onedpiece.retokenize import apply

        apply(codec.tokenizer, self.name, keep_ratio=self.keep_ratio)

    def record(self) -> dict[str, Any]:
        """What to report of it."""
        return {"retokenize": self.name, "keep": self.keep_ratio}


def front_end(name: str | None, keep: float | None) -> FrontEnd | None:
    """Return what the options ask for; None without them.

    Raises:
        ValueError: the name is unknown, the share is out of range, or there is one without a name.
    """
    if name is None:
        if keep is not None:
            raise ValueError(f"--keep {keep:g} needs --retokenize, one of {', '.join(NAMES)}")
        return None
    if name not in NAMES:
        raise ValueError(f"--retokenize is {name!r}; choose one of {', '.join(NAMES)}")
    if keep is not None and not 0 < keep <= 1:
        raise ValueError(f"--keep is {keep:g}; give the share in (0, 1] of the patches that is to be left")
    return FrontEnd(name, DEFAULT_KEEP if keep is None else keep)
