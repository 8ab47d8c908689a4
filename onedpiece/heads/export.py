"""A head as one ONNX graph, from tokens to what it predicts: `export_head`."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from onedpiece._files import atomic_path
from onedpiece.errors import HeadError, MissingExtraError, WeightsError
from onedpiece.heads.checkpoint import LoadedHead
from onedpiece.heads.head import Head
from onedpiece.heads.outputs import Output
from onedpiece.weights.export import write_graph

CLOSE = 1e-4
"""Most that a number of the graph may differ from torch's, relative to the largest."""


class _Graph(nn.Module):
    """Tokens (B, k) to the head's output; what is out of range is not looked for."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, tokens: Tensor) -> Output:
        """Predict."""
        return self.head.read(self.head.backbone.codebook(tokens))


def export_head(loaded: LoadedHead, path: str | Path, tokens: int) -> float:
    """Write a head for codes of exactly `tokens` tokens, any number of photos at a time.

    The graph takes `tokens` (B, k) int64 and gives `logits`, `meters`, or `logits` and `boxes`, as the head's
    output has them; its metadata hold task, classes and code space. One graph a count, since the work follows
    it. It appears whole, and only if it says what torch says.

    Args:
        loaded: the head.
        path: of the file.
        tokens: k, from 1 to all.

    Returns:
        How far from torch it is at most, relative to the largest number.

    Raises:
        HeadError: k is out of range.
        MissingExtraError: what writes or runs ONNX is not installed.
        WeightsError: the graph says something else than torch.
    """
    head = loaded.head.eval()
    limit = head.config.num_tokens
    if not 1 <= tokens <= limit:
        raise HeadError(f"tokens is {tokens}; this head reads 1 to {limit}")
    if Path(path).exists() and Path(path).suffix.lower() != ".onnx":
        raise HeadError(f"{path} is there and is no .onnx file; name another")
    sizes = head.backbone.codebook.sizes[:tokens]
    generator = torch.Generator().manual_seed(0)
    example = (torch.rand(3, tokens, generator=generator) * sizes).long()
    with torch.inference_mode():
        expected = head(example)
    metadata = {
        "task": head.config.task,
        "classes": json.dumps(head.config.classes),
        "code_space": loaded.code_space.hex(),
    }
    with atomic_path(Path(path)) as partial:
        shapes = ({0: Dim("batch")},)
        write_graph(_Graph(head), (example,), shapes, ["tokens"], list(expected._fields), partial, metadata)
        found = _difference(partial, example, expected)
        if found > CLOSE:
            raise WeightsError(
                f"the exported head differs from torch by {found:.2g}; torch and onnx do not fit"
            )
    return found


def _difference(path: Path, example: Tensor, expected: Any) -> float:
    try:
        from onnxruntime import InferenceSession
    except ImportError as error:
        raise MissingExtraError("exporting needs an extra: pip install 'onedpiece[export]'") from error
    session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
    # One photo more than the graph was traced with.
    several = torch.cat([example, example[:1]])
    found = session.run(list(expected._fields), {"tokens": several.numpy()})
    pairs = zip(found, expected, strict=True)
    return max(
        float((torch.from_numpy(got[:-1]) - wanted).abs().max() / wanted.abs().max()) for got, wanted in pairs
    )
