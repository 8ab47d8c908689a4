"""A tokenizer as a folder: `config.json` and float16 safetensors in shards, saved and loaded strictly."""

import json
import struct
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onedpiece._files import atomic_write_bytes, atomic_write_text, one_line
from onedpiece.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, dtype

    from onedpiece.tokenizer import Tokenizer

FORMAT = 1
SHARD_BYTES = 16 * 2**20


def fingerprint(tokenizer: "Tokenizer") -> bytes:
    """Return the 4 bytes that tie a file to the weights that can decode it.

    The first bytes of a SHA-256 over the configuration and every tensor, parameters rounded to float16, so
    that saving and loading does not change it.
    """
    digest = sha256(json.dumps(tokenizer.config.to_dict(), sort_keys=True).encode())
    for name, tensor in sorted(_stored(tokenizer).items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().data.cast("B"))
    return digest.digest()[:4]


def _stored(tokenizer: "Tokenizer", precision: "dtype | None" = None) -> "dict[str, Tensor]":
    """Return what is written: parameters at `precision` (float16), buffers as they are."""
    import torch

    parameters = {name for name, _ in tokenizer.named_parameters()}
    return {
        name: (tensor.to(precision or torch.float16) if name in parameters else tensor)
        .detach()
        .cpu()
        .contiguous()
        for name, tensor in tokenizer.state_dict().items()
    }


def save(tokenizer: "Tokenizer", folder: str | Path, shard_bytes: int = SHARD_BYTES) -> Path:
    """Write a tokenizer to a folder, replacing an older one there.

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
    shards = _shards(_stored(tokenizer), shard_bytes)
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for name, tensors in zip(names, shards, strict=True):
        atomic_write_bytes(folder / name, to_bytes(tensors))
    card = {
        "format": FORMAT,
        "fingerprint": fingerprint(tokenizer).hex(),
        "files": names,
        "tokenizer": tokenizer.config.to_dict(),
    }
    atomic_write_text(folder / "config.json", json.dumps(card, indent=1) + "\n")
    for old in set(folder.glob("model-*.safetensors")) - {folder / name for name in names}:
        old.unlink()
    return folder


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


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return a model folder's `config.json`; needs no torch.

    Raises:
        WeightsError: there is none, or it is not one of ours.
    """
    path = Path(folder) / "config.json"
    try:
        card = json.loads(path.read_text())
    except OSError as error:
        raise WeightsError(f"{folder} is no model folder: {error.strerror} reading config.json") from None
    except ValueError:
        raise WeightsError(f"{path} is not JSON") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise WeightsError(f"{path} has format {found!r}; this onedpiece reads format {FORMAT}")
    return card


def load_tokenizer(folder: str | Path) -> "Tokenizer":
    """Read a tokenizer from a folder, strictly, on the CPU in float32 and in evaluation mode.

    Raises:
        WeightsError: a file is missing or damaged, tensors are missing, unknown or of another shape, or the
            weights do not have the fingerprint that `config.json` states.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from onedpiece.tokenizer import Tokenizer, TokenizerConfig
    from onedpiece.tokenizer.meta_init import no_init_weights

    folder, card = Path(folder), read_config(folder)
    try:
        with no_init_weights():
            tokenizer = Tokenizer(TokenizerConfig.from_dict(card["tokenizer"]))
        state = {}
        for name in card["files"]:
            state.update(load_file(folder / Path(name).name, device="cpu"))
        wide = {
            name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()
        }
        tokenizer.load_state_dict(wide, strict=True, assign=True)
    except (KeyError, TypeError, ValueError, OSError, SafetensorError, RuntimeError, struct.error) as error:
        raise WeightsError(f"the weights in {folder} do not load: {one_line(error)}") from error
    found = fingerprint(tokenizer).hex()
    if found != card.get("fingerprint"):
        raise WeightsError(
            f"the weights in {folder} have fingerprint {found}, config.json says {card['fingerprint']}"
        )
    return tokenizer.eval()
