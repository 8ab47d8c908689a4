"""What `Tokenizer.from_pretrained`, `save_pretrained` and `push_to_hub` do."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from onedpiece import _providers
from onedpiece._files import atomic_write_text
from onedpiece._providers import HubOptions
from onedpiece.bitstream.packing import known_tables
from onedpiece.weights.checkpoint import FILE, find_tokenizer, fingerprint, load_tables
from onedpiece.weights.hub import push_folder
from onedpiece.weights.model_card import model_card
from onedpiece.weights.writer import save

if TYPE_CHECKING:
    from onedpiece.tokenizer.tokenizer import Tokenizer

__all__ = ["load_pretrained", "push_folder", "save_pretrained", "write_card"]

CARD = "README.md"


def load_pretrained(name: str, **options: Unpack[HubOptions]) -> "Tokenizer":
    """Return the tokenizer of a folder, of the hub, or of a name that `onedpiece.load` knows.

    This process then knows the entropy coder's tables of its folder, which make its files smaller.

    Args:
        name: as `onedpiece.load` takes it.
        options: how the hub is asked.

    Raises:
        WeightsError: as `onedpiece.load`.
    """
    found = find_tokenizer(name, **options)
    if found.folder is not None:
        print_ = fingerprint(found.tokenizer)
        tables = load_tables(found.folder, print_)
        if tables is not None:
            _providers.entropy_tables[print_] = tables
    return found.tokenizer


def save_pretrained(
    tokenizer: "Tokenizer",
    folder: str | PathLike[str],
    repo_id: str | None = None,
    card: Mapping[str, Any] | None = None,
) -> None:
    """Write a tokenizer, its entropy coder's tables where they are known, and a model card.

    Args:
        tokenizer: what to write; its parameters are rounded to float16.
        folder: made if it does not exist.
        repo_id: OWNER/NAME, for the card; None: the folder's name.
        card: fields of the model card.

    Raises:
        ValueError: a field that no card has.
    """
    config = tokenizer.config
    print_ = fingerprint(tokenizer)
    facts = {
        "pictures": f"{config.image_size}×{config.image_size} pixels",
        "tokens": f"up to {config.num_tokens}, {config.codebook_size} values each",
        "parameters": f"{sum(each.numel() for each in tokenizer.parameters()) / 1e6:.1f} M",
        "code space": print_.hex(),
        "sharp network": "yes" if config.sharp_blocks else "no",
    }
    text = model_card("Tokenizer", repo_id or Path(folder).resolve().name, "image-to-image", facts, card)
    save(tokenizer, Path(folder))
    tables = known_tables(print_)
    if tables is not None:
        stored = tables.to_plain() | {"fingerprint": print_.hex()}
        atomic_write_text(Path(folder) / FILE, json.dumps(stored) + "\n")
    write_card(Path(folder), text)


def write_card(folder: Path, text: str) -> None:
    """Write a model card, unless somebody wrote one."""
    if not (folder / CARD).exists():
        atomic_write_text(folder / CARD, text)
