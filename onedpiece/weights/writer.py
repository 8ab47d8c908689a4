"""A tokenizer to a folder of safetensors files that Hugging Face's tools read too."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from onedpiece._files import atomic_write_bytes, atomic_write_text
from onedpiece.weights.checkpoint import FILE, FORMAT, fingerprint, stored_tensors, weights_digest

if TYPE_CHECKING:
    from torch import Tensor

    from onedpiece.tokenizer.tokenizer import Tokenizer

SHARD_BYTES = 16 * 2**20
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""As Hugging Face names the weights in one file, and the index of several."""

NOTICE = "LICENSE-Real-ESRGAN.txt"


def save(tokenizer: "Tokenizer", folder: str | Path, shard_bytes: int = SHARD_BYTES) -> Path:
    """Write a tokenizer to a folder, replacing an older one there.

    >>> from onedpiece import TokenizerConfig, Tokenizer, load
    >>> save(Tokenizer(TokenizerConfig(encoder_layers=0, decoder_layers=1)), "mine").name
    'mine'
    >>> load("mine").name
    'mine'

    Args:
        tokenizer: what to write; its parameters are rounded to float16.
        folder: made if it does not exist.
        shard_bytes: the most that one weight file holds (a single larger tensor gets its own file).

    Returns:
        The folder.
    """
    from safetensors.torch import save as to_bytes

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shards = _shards(stored_tensors(tokenizer), shard_bytes)
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    names = names if len(shards) > 1 else [WHOLE]
    for name, tensors in zip(names, shards, strict=True):
        atomic_write_bytes(folder / name, to_bytes(tensors, {"format": "pt"}))
    written = set(names)
    if len(shards) > 1:
        atomic_write_text(folder / INDEX, weights_index(dict(zip(names, shards, strict=True))))
        written.add(INDEX)
    print_ = fingerprint(tokenizer).hex()
    card = {
        "format": FORMAT,
        "fingerprint": print_,
        "digest": weights_digest(tokenizer),
        "files": names,
        "tokenizer": tokenizer.config.to_dict(),
    }
    atomic_write_text(folder / "config.json", json.dumps(card, indent=1) + "\n")
    for old in {*folder.glob("model-*.safetensors"), folder / WHOLE, folder / INDEX}:
        if old.name not in written:
            old.unlink(missing_ok=True)
    _drop_others_tables(folder / FILE, print_)
    if tokenizer.sharp is not None:
        write_notice(folder)
    return folder


def write_notice(folder: Path) -> None:
    """Put the notice of what our sharp networks started from beside weights that hold one."""
    own = Path(__file__).parent / "ti-256" / NOTICE
    if own.parent.resolve() != folder.resolve():
        atomic_write_text(folder / NOTICE, own.read_text(encoding="utf-8"))


def _drop_others_tables(path: Path, print_: str) -> None:
    """Remove an older model's entropy tables, unless they are of the same code space."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))["fingerprint"] == print_
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, KeyError):
        kept = False
    if not kept:
        path.unlink()


def weights_index(shards: "Mapping[str, Mapping[str, Tensor]]") -> str:
    """Return Hugging Face's index of a model in several files: which tensor lies in which file.

    Args:
        shards: tensors by name, by file.
    """
    total = sum(tensor.nbytes for tensors in shards.values() for tensor in tensors.values())
    places = {name: file for file, tensors in shards.items() for name in tensors}
    return json.dumps({"metadata": {"total_size": total}, "weight_map": places}, indent=1) + "\n"


def _shards(tensors: "dict[str, Tensor]", limit: int) -> "list[dict[str, Tensor]]":
    shards: list[dict[str, Tensor]] = [{}]
    room = limit
    for name, tensor in sorted(tensors.items()):
        if tensor.nbytes > room and shards[-1]:
            shards.append({})
            room = limit
        shards[-1][name] = tensor
        room -= tensor.nbytes
    return shards
