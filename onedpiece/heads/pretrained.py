"""What `Head.from_pretrained`, `save_pretrained` and `push_to_hub` do."""

import json
from collections.abc import Mapping
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

from safetensors import SafetensorError
from safetensors.torch import load, save

from onedpiece._files import atomic_write_bytes, atomic_write_text, one_line
from onedpiece._providers import HubOptions
from onedpiece.errors import HeadError
from onedpiece.heads.checkpoint import FORMAT, bundled_head, bundled_tasks, filled, load_head, stored_tensors
from onedpiece.heads.head import Head
from onedpiece.weights.hub import fetch_folder, push_folder
from onedpiece.weights.model_card import model_card
from onedpiece.weights.pretrained import write_card
from onedpiece.weights.writer import WHOLE

__all__ = ["load_pretrained", "push_folder", "save_pretrained"]

CONFIG = "config.json"

TASKS = {
    "classify": "image-classification",
    "segment": "image-segmentation",
    "depth": "depth-estimation",
    "detect": "object-detection",
}
"""What the hub calls a head's task."""


def load_pretrained(name: str, **options: Unpack[HubOptions]) -> Head:
    """Return the head of a folder, of a file, of the hub, or the bundled one for a task.

    Args:
        name: a folder that `save_pretrained` wrote, a file that `save_head` wrote, OWNER/NAME, or a task
            ("classify", "segment", "detect" or "depth").
        options: how the hub is asked.

    Raises:
        HeadError: there is none, it is damaged, or its config is not that of its weights.
        HubError: it could not be had from the hub.
    """
    path = Path(name)
    if name in bundled_tasks():
        return load_head(bundled_head(name)).head
    if path.is_file():
        return load_head(path).head
    return _load(path if path.is_dir() else _fetched(name, options))


def _load(folder: Path) -> Head:
    try:
        stated = json.loads((folder / CONFIG).read_text())
        data = (folder / WHOLE).read_bytes()
    except (OSError, ValueError) as error:
        raise HeadError(f"{folder} is no folder of a head: {one_line(error)}") from None
    try:
        if stated["format"] != FORMAT:
            raise HeadError(f"{folder} has format {stated['format']!r}; this onedpiece reads {FORMAT}")
        if stated["digest"] != _digest(data):
            raise HeadError(f"the weights in {folder} are not those that {CONFIG} was written with")
        head = filled(stated["head"], load(data))
        head.code_space, head.note = bytes.fromhex(stated["code_space"]), str(stated["note"])
    except HeadError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise HeadError(f"the head in {folder} does not load: {one_line(error)}") from error
    return head


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:16]


def _fetched(name: str, options: HubOptions) -> Path:
    if name.count("/") != 1 or name.startswith((".", "/")):
        tasks = ", ".join(bundled_tasks())
        raise HeadError(
            f"no head {name!r}: it is no file, folder or OWNER/NAME of the hub, and bundled are: {tasks}"
        )
    return fetch_folder(name, **options)


def save_pretrained(
    head: Head,
    folder: str | PathLike[str],
    repo_id: str | None = None,
    card: Mapping[str, Any] | None = None,
) -> None:
    """Write a head and a model card.

    Args:
        head: what to write; its parameters are rounded to float16.
        folder: made if it does not exist.
        repo_id: OWNER/NAME, for the card; None: the folder's name.
        card: fields of the model card.

    Raises:
        HeadError: nobody has said whose codes it reads.
        ValueError: a field that no card has.
    """
    if head.code_space is None:
        raise HeadError("whose codes does this head read? Set head.code_space to codec.fingerprint")
    folder, config = Path(folder), head.config
    facts = {
        "task": config.task,
        "classes": ", ".join(config.classes) or "–",
        "tokens": f"1 to {config.num_tokens}",
        "parameters": f"{sum(each.numel() for each in head.parameters()) / 1e6:.1f} M",
        "reads the code space": head.code_space.hex(),
        "note": head.note or "–",
    }
    text = model_card("Head", repo_id or folder.resolve().name, TASKS[config.task], facts, card)
    # One entry of metadata: safetensors writes several in any order, and files would differ.
    data = save(stored_tensors(head), {"format": "pt"})
    stated = {
        "format": FORMAT,
        "code_space": head.code_space.hex(),
        "digest": _digest(data),
        "note": head.note,
        "head": config.to_dict(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(folder / WHOLE, data)
    atomic_write_text(folder / CONFIG, json.dumps(stated, indent=1) + "\n")
    write_card(folder, text)
