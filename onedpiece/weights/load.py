"""`load`: from a name to a codec."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from onedpiece.errors import WeightsError
from onedpiece.weights.checkpoint import fingerprint, load_tokenizer
from onedpiece.weights.entropy_tables import load_tables

if TYPE_CHECKING:
    from onedpiece.codec import Codec
    from onedpiece.tokenizer import Tokenizer

HERE = Path(__file__).parent
DEFAULT = "ti-256"
UNTRAINED = "ti-256-untrained"
AUTHORS = "turing-motors/"  # their files are not ours to read as a folder
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class ModelName(NamedTuple):
    """A name that `load` takes, and what it stands for."""

    name: str
    note: str


def names() -> tuple[ModelName, ...]:
    """Return the models that `load` knows by name; needs no torch."""
    return (
        ModelName(DEFAULT, "bundled, the default: 256×256, up to 256 tokens of 12 bits"),
        ModelName(UNTRAINED, "bundled: the same network before training, a linear codec"),
        ModelName("turing-motors/One-D-Piece-S-256", "released, 84 M parameters, from the Hugging Face hub"),
        ModelName("turing-motors/One-D-Piece-B-256", "released, 205 M parameters, from the Hugging Face hub"),
        ModelName("turing-motors/One-D-Piece-L-256", "released, 642 M parameters, from the Hugging Face hub"),
    )


def load(name: str | Path | None = None, device: str = "cpu") -> "Codec":
    """Return a codec that is ready to encode and decode.

    Args:
        name: None for the bundled model; a bundled name; a folder written by `save`; or, fetched through
            huggingface_hub (extra `[hub]`), such a folder as OWNER/NAME, or the released
            `turing-motors/One-D-Piece-{S,B,L}-256`.
        device: where the network runs, as torch names it.

    Raises:
        WeightsError: there is no such model, or it is damaged; the message lists the names there are.
    """
    from onedpiece.codec import Codec

    name = str(name) if name is not None else DEFAULT
    folder = _folder(name)
    tokenizer = _without_folder(name) if folder is None else load_tokenizer(folder)
    print_ = fingerprint(tokenizer)
    tables = None if folder is None else load_tables(folder, print_)
    return Codec(tokenizer, print_, device, name, tables)


def _folder(name: str) -> Path | None:
    """The folder of a model that has one."""
    if name == DEFAULT:
        return HERE / DEFAULT
    if Path(name).is_dir():
        return Path(name)
    if HUB_ID.fullmatch(name) and not name.startswith(AUTHORS):
        from onedpiece.weights.hub import fetch_folder

        return fetch_folder(name)
    return None


def _without_folder(name: str) -> "Tokenizer":
    if name == UNTRAINED:
        return untrained("ti-256")
    if name.startswith(AUTHORS):
        from onedpiece.weights.hub import load_official

        return load_official(name)
    known = ", ".join(model.name for model in names())
    raise WeightsError(
        f"no model {name!r}: it is no folder and no OWNER/NAME of the hub, and the names are: {known}"
    )


def untrained(preset_name: str = "ti-256") -> "Tokenizer":
    """Return an untrained tokenizer whose linear path has the statistics of the training photographs.

    The networks are drawn with a fixed seed, so that it has one fingerprint.

    Args:
        preset_name: one with a linear path.

    Raises:
        ValueError: no such preset.
        WeightsError: the preset has no bundled statistics.
    """
    import torch
    from safetensors.torch import load_file

    from onedpiece.tokenizer import Tokenizer, preset

    config = preset(preset_name)
    path = HERE / f"{preset_name}-linear.safetensors"
    if not path.is_file():
        raise WeightsError(f"no statistics are bundled for {preset_name!r}")
    default = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.set_default_dtype(torch.float32)
        torch.manual_seed(0)
        try:
            tokenizer = Tokenizer(config)
        finally:
            torch.set_default_dtype(default)
    assert tokenizer.linear_path is not None
    tokenizer.linear_path.load_state_dict(load_file(path), strict=True)
    return tokenizer.eval()
