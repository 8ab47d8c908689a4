"""A tokenizer as ONNX graphs, with the arithmetic of its lattices inside: `export_onnx`."""

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from onedpiece._files import atomic_write_text
from onedpiece.bitstream.packing import Tables
from onedpiece.codec.onnx_model import (
    CONFIG,
    DECODER,
    ENCODER,
    FINGERPRINT,
    FORECAST,
    FORMAT,
    SHARP,
    OnnxModel,
)
from onedpiece.errors import MissingExtraError, WeightsError
from onedpiece.tokenizer.tokenizer import Tokenizer
from onedpiece.weights.checkpoint import FILE, fingerprint, is_onnx_folder
from onedpiece.weights.writer import NOTICE, write_notice

LEAST_EQUAL = 0.999
"""Part of the tokens that must be those of torch; the rest lie on a border, where rounding decides."""

LEVEL = 1 / 255


class _Traced(nn.Module):
    """A part of a tokenizer as a function of tensors alone, which can be traced."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer


class Encoder(_Traced):
    """Pixels (B, 3, S, S) in [0, 1] to tokens (B, N)."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode."""
        return self.tokenizer.encode(pixels.clamp(0, 1)).indices


class Decoder(_Traced):
    """Tokens (B, k), 1 ≤ k ≤ N, to the faithful picture (B, 3, S, S) in [0, 1]."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Decode."""
        codes = self.tokenizer.quantizer.codes_from_indices(tokens)
        return self.tokenizer.decode(codes).clamp(0, 1)


class Sharp(_Traced):
    """The faithful picture, its token counts (B,) and a sharpness in [0, 1] to the sharp picture."""

    def forward(self, picture: Tensor, tokens: Tensor, sharpness: Tensor) -> Tensor:
        """Sharpen."""
        added = self.tokenizer.sharpen(picture, tokens) - picture
        return (picture + sharpness * added).clamp(0, 1)


class Forecast(_Traced):
    """Pixels and all their tokens (B, N) to the estimated PSNR of every prefix in dB, (B, N)."""

    def forward(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        """Estimate."""
        assert self.tokenizer.linear_path is not None
        codes = self.tokenizer.quantizer.codes_from_indices(tokens)
        return self.tokenizer.linear_path.forecast(pixels, codes)


class Graph(NamedTuple):
    """What one file is traced from.

    Attributes:
        file: its name.
        module: what it computes.
        inputs: an example of each input, by its name.
        shapes: which axes of each may be of any length.
        output: what comes out.
    """

    file: str
    module: nn.Module
    inputs: dict[str, Tensor]
    shapes: dict[str, Any]
    output: str


FILES = {ENCODER, DECODER, SHARP, FORECAST, CONFIG, FILE, NOTICE}
"""What an export may be made of."""


def graphs_of(tokenizer: Tokenizer) -> list[Graph]:
    """Return what there is to export of a tokenizer."""
    config, batch = tokenizer.config, Dim("batch")
    pixels = torch.rand(2, 3, config.image_size, config.image_size)
    tokens = torch.zeros(2, config.num_tokens, dtype=torch.int64)
    some = torch.zeros(2, max(2, config.num_tokens // 2), dtype=torch.int64)
    count = Dim("count", min=1, max=config.num_tokens)
    graphs = [
        Graph(ENCODER, Encoder(tokenizer), {"pixels": pixels}, {"pixels": {0: batch}}, "tokens"),
        Graph(DECODER, Decoder(tokenizer), {"tokens": some}, {"tokens": {0: batch, 1: count}}, "picture"),
    ]
    if tokenizer.linear_path is not None:
        both = {"pixels": {0: batch}, "tokens": {0: batch}}
        graphs.append(
            Graph(FORECAST, Forecast(tokenizer), {"pixels": pixels, "tokens": tokens}, both, "decibels")
        )
    if tokenizer.sharp is not None:
        inputs = {"picture": pixels, "tokens": torch.tensor([3, 4]), "sharpness": torch.tensor(0.5)}
        shapes = {"picture": {0: batch}, "tokens": {0: batch}, "sharpness": None}
        graphs.append(Graph(SHARP, Sharp(tokenizer), inputs, shapes, "sharp"))
    return graphs


def export_onnx(tokenizer: Tokenizer, folder: str | Path, tables: Tables | None = None) -> "Parity":
    """Write a tokenizer's graphs to a folder, which `onedpiece.load` and any onnxruntime can run.

    It appears whole or not at all, and only if the graphs say what torch says.

    Args:
        tokenizer: in float32 and evaluation mode, on the CPU.
        folder: made; an older export there is replaced.
        tables: of its entropy coder.

    Returns:
        How near to torch they are.

    Raises:
        ValueError: something else is there, or lies beside the older export.
        MissingExtraError: what writes or runs ONNX is not installed.
        WeightsError: a graph says something else than torch.
    """
    folder = Path(folder).resolve()
    _check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{token_hex(8)}.part")
    partial.mkdir()
    try:
        stated = _write(tokenizer, partial, tables)
        found = parity(tokenizer, OnnxModel(partial, stated))
        if found.equal_tokens < LEAST_EQUAL or found.levels > 1:
            raise WeightsError(f"the exported graphs differ from torch: {found}; torch and onnx do not fit")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return found


def _check_replaceable(folder: Path) -> None:
    """Raise ValueError if there is something else than an export, which may be replaced whole."""
    if not folder.exists():
        return
    if not (is_onnx_folder(folder) and _states_our_format(folder / CONFIG)):
        raise ValueError(f"{folder} is there and no exported model; name another folder")
    others = sorted({path.name for path in folder.iterdir()} - FILES)
    if others:
        raise ValueError(f"{folder} holds {others[0]} beside an exported model; name another folder")


def _states_our_format(config: Path) -> bool:
    try:
        stated = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(stated, dict) and stated.get("format") == FORMAT


def _write(tokenizer: Tokenizer, folder: Path, tables: Tables | None) -> dict[str, Any]:
    print_ = fingerprint(tokenizer).hex()
    for graph in graphs_of(tokenizer):
        _export(graph, folder / graph.file, print_)
    stated = {"format": FORMAT, "fingerprint": print_, "tokenizer": tokenizer.config.to_dict()}
    atomic_write_text(folder / CONFIG, json.dumps(stated, indent=1) + "\n")
    if tokenizer.sharp is not None:
        write_notice(folder)
    if tables is not None:
        atomic_write_text(folder / FILE, json.dumps(tables.to_plain() | {"fingerprint": print_}) + "\n")
    return stated


def _export(graph: Graph, path: Path, print_: str) -> None:
    inputs, shapes = tuple(graph.inputs.values()), tuple(graph.shapes.values())
    write_graph(graph.module, inputs, shapes, list(graph.inputs), [graph.output], path, {FINGERPRINT: print_})


@torch.no_grad()
def write_graph(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    shapes: tuple[Any, ...],
    input_names: list[str],
    output_names: list[str],
    path: Path,
    metadata: Mapping[str, str],
) -> None:
    """Trace a module by `torch.onnx.export` and write its graph.

    Args:
        module: what it computes.
        inputs: an example of each.
        shapes: which axes of each may be of any length, as `dynamic_shapes` of torch has it.
        input_names: of the graph.
        output_names: of the graph.
        path: of the file.
        metadata: what the graph says of itself.

    Raises:
        MissingExtraError: what writes ONNX is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that two axes share, and of torch's own tracing
            program = torch.onnx.export(
                module.eval(),
                inputs,
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=input_names,
                output_names=output_names,
                verbose=False,
            )
    except ImportError as error:
        raise MissingExtraError("exporting needs an extra: pip install 'onedpiece[export]'") from error
    assert program is not None
    program.model.metadata_props.update(metadata)
    program.save(path)


class Parity(NamedTuple):
    """How near an exported model is to torch, on pictures of smooth noise.

    Attributes:
        equal_tokens: part of the tokens that are the same.
        levels: by how much a value of a picture differs at most, in 8-bit levels.
    """

    equal_tokens: float
    levels: float


def parity(tokenizer: Tokenizer, model: OnnxModel) -> Parity:
    """Compare an exported model with the tokenizer that it is of."""
    config = tokenizer.config
    noise = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pixels = F.interpolate(noise, config.image_size, mode="bicubic").clamp(0, 1)
    tokens = tokenizer.tokenize(pixels)
    equal = float((model.tokenize(pixels.numpy()) == tokens.numpy()).mean())
    apart = 0.0
    for count in sorted({1, max(2, config.num_tokens // 4), config.num_tokens}):
        rows = tokens[:, :count]
        for look in (0.0, 1.0) if tokenizer.sharp is not None and count > 1 else (0.0,):
            expected = tokenizer.detokenize(rows, sharpness=look).numpy()
            found = model.detokenize(list(rows.numpy()), look)
            apart = max(apart, float(np.abs(found - expected).max()))
    return Parity(equal, apart / LEVEL)
