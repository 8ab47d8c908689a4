"""A head as one safetensors file, its description in the metadata; and the heads in the package."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from onedpiece._files import atomic_write_bytes, one_line
from onedpiece.codec.codec import Codec
from onedpiece.errors import HeadError
from onedpiece.heads.batch import Codes, check_codes
from onedpiece.heads.config import DENSE, HeadConfig, ReducerConfig, Task
from onedpiece.heads.head import Head
from onedpiece.heads.outputs import Prediction
from onedpiece.tokenizer.transformer import assign_weights, no_init_weights

FORMAT = "onedpiece-head-3"
QUERIES = "queries.query_embedding"
BUNDLED_FOLDER = Path(__file__).parent / "bundled"
_FILES: dict[str, str] = {
    "classify": "classify_imagenette.safetensors",
    "segment": "segment_camvid.safetensors",
    "detect": "detect_pennfudan.safetensors",
    "depth": "depth_scenes.safetensors",
}


def code_space_of(codec: Codec) -> bytes:
    """Return the 4 bytes that name what a model's tokens mean: all that heads and caches depend on."""
    return codec.fingerprint


class LoadedHead(NamedTuple):
    """A head from a file.

    Attributes:
        head: in float32, in evaluation mode, on the CPU.
        code_space: 4 bytes, the codes that it reads (see `code_space_of`).
        note: what its maker wrote: data, minutes, scores.
    """

    head: Head
    code_space: bytes
    note: str

    def predict(self, codes: Codes) -> list[Prediction]:
        """Return one result a photo.

        Raises:
            HeadError: codes of another code space, or such as `Head.forward` refuses.
        """
        check_codes(codes, self.code_space)
        return self.head.predict(codes)

    def reduced(self, name: str, keep_ratio: float) -> "LoadedHead":
        """Return the head with a reducer inside its blocks, which share their weights with this one's.

        Args:
            name: of `onedpiece.retokenize`.
            keep_ratio: the part of the tokens in (0, 1] that is left behind the last block.

        Raises:
            HeadError: the ratio is out of range, or all tokens are queries, which stay.
            ValueError: the name is unknown.
        """
        if self.head.config.task in DENSE and not self.head.config.codes:
            raise HeadError(
                f"a head to {self.head.config.task} that reads the linear picture alone has no tokens to "
                "merge; leave the reducer out"
            )
        config = replace(self.head.config, reducer=ReducerConfig(name, keep_ratio, place="inside"))
        with no_init_weights():
            head = Head(config)
        assign_weights(head, self.head.state_dict())
        return self._replace(head=head.eval())


def save_head(head: Head, path: str | Path, code_space: bytes, note: str = "") -> Path:
    """Write a head to one file, whole or not at all.

    Args:
        head: what to write; its parameters are rounded to float16, statistics stay as they are.
        path: the file; folders are made.
        code_space: 4 bytes, of the codes that it was trained on.
        note: kept with it: data, minutes, scores.

    Returns:
        The path.

    Raises:
        HeadError: the code space has not 4 bytes.
    """
    if len(code_space) != 4:
        raise HeadError(f"the code space is named by {len(code_space)} bytes; give 4")
    metadata = {
        "format": FORMAT,
        "config": json.dumps(head.config.to_dict(), sort_keys=True),
        "code_space": code_space.hex(),
        "note": note,
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, save(stored_tensors(head), metadata))
    return path


def stored_tensors(head: Head) -> dict[str, Tensor]:
    """Return what a file holds of a head: parameters as float16, statistics as they are."""
    parameters = {name for name, _ in head.named_parameters()}
    return {
        name: (tensor.half() if name in parameters else tensor).detach().cpu().contiguous()
        for name, tensor in head.state_dict().items()
    }


def load_head(path: str | Path) -> LoadedHead:
    """Read a head, strictly; nothing of its tokenizer's weights is needed.

    >>> loaded = load_head(bundled_head("classify"))
    >>> loaded.head.config.task, loaded.code_space == loaded.head.code_space
    ('classify', True)

    Raises:
        HeadError: the file is damaged, is no head, or does not fit its own config; the message names it.
        OSError: it cannot be read.
    """
    metadata, tensors = _read(Path(path))
    try:
        config, code_space = json.loads(metadata["config"]), bytes.fromhex(metadata["code_space"])
        head = filled(config, tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise HeadError(f"the head in {path} does not load: {one_line(error)}") from error
    head.code_space, head.note = code_space, metadata.get("note", "")
    return LoadedHead(head, code_space, head.note)


def filled(config: dict[str, Any], tensors: dict[str, Tensor]) -> Head:
    """Return the head of a config with these weights, strictly, in float32 and in evaluation mode.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: they do not fit together.
    """
    with no_init_weights():
        head = Head(HeadConfig.from_dict(config))
    assign_weights(head, tensors)
    return head.eval()


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return metadata and tensors of a head's file."""
    with path.open("rb"):  # safetensors has no errno for a file that is not there
        pass
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, Any] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, torch.OutOfMemoryError) as error:
        raise HeadError(f"{path} is damaged or no head: {one_line(error)}") from error
    if metadata.get("format") != FORMAT:
        raise HeadError(
            f"{path} has format {metadata.get('format')!r}; this onedpiece reads heads of format {FORMAT}: "
            "train it again"
        )
    return metadata, tensors


def find_head(name: str) -> LoadedHead:
    """Read a head by the name of a task that one is bundled for, or by its file.

    Raises:
        HeadError: it is neither; or as `load_head`.
        OSError: as `load_head`.
    """
    tasks = get_args(Task)
    if not (Path(name).is_file() or Path(name).suffix or name in tasks):
        raise HeadError(f"no head {name!r}: it is no file, and the names are: {', '.join(tasks)}")
    bundled = name in tasks and not Path(name).is_file()  # a folder of masks may be called segment
    return load_head(bundled_head(name) if bundled else name)


def start_from(head: Head, name: str) -> None:
    """Give a head another one's backbone, and its last layers too where task and classes are the same.

    Queries on another grid are interpolated.

    Args:
        head: to be trained.
        name: the other's file, or the task of a bundled one.

    Raises:
        HeadError: the other reads other codes, or has another geometry; or as `find_head`.
        OSError: as `find_head`.
    """
    loaded = find_head(name)
    if head.code_space is not None:
        _check_same(name, "code space", loaded.code_space.hex(), head.code_space.hex())
    other = loaded.head.backbone.state_dict()
    if head.backbone.queries is not None and QUERIES in other:
        other[QUERIES] = resize_queries(other[QUERIES], head.config.grid)
    for part, tensor in head.backbone.state_dict().items():
        found = tuple(other[part].shape) if part in other else "absent"
        _check_same(name, f"backbone.{part}", found, tuple(tensor.shape))
    head.backbone.load_state_dict(other)
    there, wanted = loaded.head.config, head.config
    if (there.task, there.classes) == (wanted.task, wanted.classes):
        head.task_head.load_state_dict(loaded.head.task_head.state_dict())


def resize_queries(queries: Tensor, grid: int) -> Tensor:
    """Return (grid², W), interpolated from (g², W), as position embeddings of vision transformers are."""
    side = math.isqrt(len(queries))
    if side == grid:
        return queries
    placed = queries.T.reshape(1, -1, side, side)
    return F.interpolate(placed, (grid, grid), mode="bicubic", align_corners=False)[0].flatten(1).T


def _check_same(name: str, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise HeadError(
            f"the head {name} cannot be started from: its {what} is {found}, here it is {expected}; "
            "give the head the same geometry, or leave init_from out (null)"
        )


def bundled_tasks() -> tuple[str, ...]:
    """Return the tasks that a head is bundled for."""
    return tuple(_FILES)


def bundled_head(task: str = "classify") -> Path:
    """Return the file of the bundled head for a task; needs no torch.

    Raises:
        HeadError: none is bundled for this task; the message names those that are.
    """
    if task not in _FILES:
        raise HeadError(f"no head for {task!r} is bundled; there are: {', '.join(_FILES)}")
    return BUNDLED_FOLDER / _FILES[task]
