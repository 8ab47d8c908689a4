"""What tells a model's tokens from those of another, read without its networks where it has a folder."""

from pathlib import Path
from typing import NamedTuple

from onedpiece._files import one_line
from onedpiece.errors import WeightsError
from onedpiece.weights.checkpoint import (
    DEFAULT,
    find_folder,
    find_tokenizer,
    fingerprint,
    read_config,
    weights_digest,
)


class ModelIdentity(NamedTuple):
    """Which model made some tokens.

    Attributes:
        name: as `load` takes it; a folder's absolute path.
        fingerprint: 8 hexadecimal digits, the code space.
        digest: of all weights (see `weights_digest`).
        num_tokens: the most tokens of one square.
    """

    name: str
    fingerprint: str
    digest: str
    num_tokens: int


def identify(name: str | None = None) -> ModelIdentity:
    """Return a model's identity; needs torch only for models that have no folder.

    Raises:
        WeightsError: as `load`.
    """
    name = name or DEFAULT
    folder = find_folder(name, {})
    if folder is None:
        tokenizer = find_tokenizer(name).tokenizer
        digest = weights_digest(tokenizer)
        return ModelIdentity(name, fingerprint(tokenizer).hex(), digest, tokenizer.config.num_tokens)
    config = read_config(folder)
    try:
        tokens = int(config["tokenizer"]["num_tokens"])
        known = str(Path(name).resolve()) if Path(name).is_dir() else name
        return ModelIdentity(known, str(config["fingerprint"]), str(config["digest"]), tokens)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder}/config.json is damaged: {one_line(error, named=True)}") from None
