"""A head as one safetensors file, its description in the metadata; and the heads in the package."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from onedpiece.errors import HeadError
from onedpiece.heads.config import HeadConfig
from onedpiece.heads.head import Codes, Head, check_codes
from onedpiece.heads.outputs import Prediction
from onedpiece.tokenizer import Tokenizer
from onedpiece.tokenizer.meta_init import no_init_weights
from onedpiece.weights import fingerprint

FORMAT = "onedpiece-head-1"


HERE = Path(__file__).parent / "bundled"
_FILES = {"classify": "classify_imagenette.safetensors", "segment": "segment_camvid.safetensors"}


class LoadedHead(NamedTuple):
    """A head from a file.

    Attributes:
        head: in float32, in evaluation mode, on the CPU.
        fingerprint: 4 bytes, the model whose codes it reads.
        note: what its maker wrote: data, minutes, scores.
    """

    head: Head
    fingerprint: bytes
    note: str

    def predict(self, codes: Codes) -> list[Prediction]:
        """Return one result a photo.

        Raises:
            HeadError: codes of another model, or such as `Head.forward` refuses.
        """
        check_codes(codes, self.fingerprint)
        return self.head.predict(codes)


def save_head(head: Head, path: str | Path, fingerprint: bytes, note: str = "") -> Path:
    """Write a head to one file, whole or not at all.

    Args:
        head: what to write; its parameters are rounded to float16, statistics stay as they are.
        path: the file; folders are made.
        fingerprint: 4 bytes, the model whose codes it was trained on.
        note: kept with it: data, minutes, scores.

    Returns:
        The path.

    Raises:
        HeadError: the fingerprint has not 4 bytes.
    """
    if len(fingerprint) != 4:
        raise HeadError(f"the fingerprint has {len(fingerprint)} bytes; a model's has 4")
    metadata = {
        "format": FORMAT,
        "config": json.dumps(head.config.to_dict(), sort_keys=True),
        "fingerprint": fingerprint.hex(),
        "note": note,
    }
    return _write(Path(path), save(_stored(head), metadata))


def _stored(head: Head) -> dict[str, Tensor]:
    parameters = {name for name, _ in head.named_parameters()}
    return {
        name: (tensor.half() if name in parameters else tensor).detach().cpu().contiguous()
        for name, tensor in head.state_dict().items()
    }


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    return partial.replace(path)


def load_head(path: str | Path) -> LoadedHead:
    """Read a head, strictly; nothing of its tokenizer's weights is needed.

    Raises:
        HeadError: the file is damaged, is no head, or does not fit its own config; the message names it.
        OSError: it cannot be read.
    """
    metadata, tensors = _read(Path(path))
    try:
        with no_init_weights():
            head = Head(HeadConfig.from_dict(json.loads(metadata["config"])))
        wide = {
            name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
        }
        head.load_state_dict(wide, strict=True, assign=True)
        stamp = bytes.fromhex(metadata["fingerprint"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise HeadError(f"the head in {path} does not load: {_one_line(error)}") from error
    return LoadedHead(head.eval(), stamp, metadata.get("note", ""))


def restamp(path: str | Path, before: Tokenizer, after: Tokenizer) -> Path:
    """Let a head file name another model that makes the same codes, and change nothing else.

    For a model whose decoder was trained on: its codes are the same, its fingerprint is not.

    Args:
        path: the file.
        before: the model that the file names.
        after: the model that it shall name.

    Raises:
        HeadError: the file is no head or names a third model, or the two differ outside their decoders.
    """
    named, expected = load_head(path).fingerprint, fingerprint(before)
    if named != expected:
        raise HeadError(f"{path} is for model {named.hex()}, before is {expected.hex()}; give that model")
    other = _other_codes(before, after)
    if other:
        raise HeadError(f"the models make other codes: {', '.join(other[:3])} differ; train {path} anew")
    metadata, tensors = _read(Path(path))
    return _write(Path(path), save(tensors, metadata | {"fingerprint": fingerprint(after).hex()}))


def _other_codes(before: Tokenizer, after: Tokenizer) -> list[str]:
    """Return the names of what makes codes and is not the same in both."""
    old, new = before.state_dict(), after.state_dict()
    names = {name for name in (*old, *new) if not name.startswith("decoder.")}
    return sorted(
        name for name in names if name not in old or name not in new or not torch.equal(old[name], new[name])
    )


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return metadata and tensors of a head's file."""
    with path.open("rb"):  # safetensors has no errno for a file that is not there
        pass
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, Any] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, torch.OutOfMemoryError) as error:
        raise HeadError(f"{path} is damaged or no head: {_one_line(error)}") from error
    if metadata.get("format") != FORMAT:
        raise HeadError(
            f"{path} has format {metadata.get('format')!r}; this onedpiece reads heads of format {FORMAT}"
        )
    return metadata, tensors


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def bundled_head(task: str = "classify") -> Path:
    """Return the file of the bundled head for a task; needs no torch.

    Raises:
        HeadError: none is bundled for this task; the message names those that are.
    """
    if task not in _FILES:
        raise HeadError(f"no head for {task!r} is bundled; there are: {', '.join(_FILES)}")
    return HERE / _FILES[task]
