"""`OnnxModel`: what `onedpiece export --format onnx` wrote, in onnxruntime; torch is not needed."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onedpiece._files import one_line
from onedpiece.bitstream.packing import Tables
from onedpiece.codec.model import LoadedModel
from onedpiece.codec.tensors import Pixels, as_array
from onedpiece.errors import MissingExtraError, WeightsError
from onedpiece.tokenizer.config import TokenizerConfig

FORMAT = "onedpiece-onnx-1"
CONFIG = "config.json"
ENCODER, DECODER, SHARP, FORECAST = "encoder.onnx", "decoder.onnx", "sharp.onnx", "forecast.onnx"
FINGERPRINT = "onedpiece.fingerprint"
"""The entry of every file's metadata that says whose graph it is."""

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxModel(LoadedModel):
    """An exported model. Its graphs load when they are first needed, and are:

    - `encoder.onnx`: pixels, (B, 3, S, S) float32 in [0, 1], to tokens, (B, N) int64;
    - `decoder.onnx`: tokens, (B, k) int64, 1 ≤ k ≤ N, to the faithful picture, (B, 3, S, S) in [0, 1];
    - `sharp.onnx`, of a model with a sharp network: picture, tokens, (B,) int64 counts, and sharpness, a
      float32 in [0, 1], to the sharp picture;
    - `forecast.onnx`, of a model with a DCT path: pixels and tokens, (B, N), to the estimated PSNR of every
      prefix in dB, (B, N).

    Args:
        folder: holds them.
        stated: its `config.json`.
        name: the model's, for messages.
        device: "cpu", or "cuda" where this onnxruntime has it.

    Raises:
        ValueError: there is no such device here.
        MissingExtraError: onnxruntime is not installed.
        WeightsError: the config is none of ours.
    """  # noqa: D415

    def __init__(
        self,
        folder: Path,
        stated: dict[str, Any],
        name: str = "unnamed",
        device: str = "cpu",
    ) -> None:
        try:
            config = TokenizerConfig.from_dict(stated["tokenizer"])
            fingerprint = bytes.fromhex(stated["fingerprint"])
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{folder / CONFIG} is damaged: {one_line(error, named=True)}") from error
        super().__init__(config, fingerprint, name)
        self.folder = folder
        self._sessions: dict[str, Any] = {}
        self.to(device)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_sessions": {}}  # copies and other processes load their own

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda"."""
        return self._device

    @property
    def has_sharp(self) -> bool:
        """Whether there is a sharp network."""
        return self.config.sharp_blocks > 0

    def to(self, device: Any = None, dtype: Any = None) -> None:
        """Choose where it runs; its type is fixed.

        Raises:
            ValueError: there is no such device here, or a type is asked for.
        """
        if dtype is not None:
            raise ValueError(f"{self.name} is an exported model of float32; its dtype cannot be changed")
        if device is None:
            return
        provider = _PROVIDERS.get(str(device))
        available = _onnxruntime().get_available_providers()
        if provider not in available:
            usable = ", ".join(name for name, each in _PROVIDERS.items() if each in available)
            raise ValueError(
                f"device {str(device)!r} cannot be used by this onnxruntime; there are: {usable}"
            )
        self._device, self._provider = str(device), provider
        self._sessions.clear()

    def tokenize(self, pixels: Pixels) -> NDArray[np.int64]:
        """Return the tokens of squares, as `LoadedModel.tokenize`."""
        return np.asarray(self._run(ENCODER, pixels=_floats(pixels)), np.int64)

    def detokenize(self, rows: Sequence[NDArray[np.int64]], sharpness: float = 0.0) -> NDArray[np.float32]:
        """Return the squares of codes, as `LoadedModel.detokenize`; those of one length go together."""
        side = self.image_size
        pictures = np.empty((len(rows), 3, side, side), np.float32)
        lengths = np.array([len(row) for row in rows])
        for length in np.unique(lengths):
            places = np.flatnonzero(lengths == length)
            tokens = np.stack([rows[int(place)] for place in places]).astype(np.int64)
            self._check_range(tokens)
            picture = self._run(DECODER, tokens=tokens)
            if sharpness and self.has_sharp:
                counts = np.full(len(tokens), length, np.int64)
                picture = self._run(
                    SHARP, picture=picture, tokens=counts, sharpness=np.array(sharpness, np.float32)
                )
            pictures[places] = picture
        return pictures

    def estimate_errors(self, pixels: Pixels, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Estimate the error of every prefix, as `LoadedModel.estimate_errors`."""
        if not self.config.linear_path:
            return None
        decibels = self._run(FORECAST, pixels=_floats(pixels), tokens=np.asarray(rows, np.int64))
        return np.asarray(10 ** (-decibels.astype(np.float64) / 10))

    def _check_range(self, tokens: NDArray[np.int64]) -> None:
        sizes = np.array(self.config.codes_by_position[: tokens.shape[1]])
        outside = np.argwhere((tokens < 0) | (tokens >= sizes))
        if len(outside):
            row, place = outside[0]
            raise ValueError(
                f"token {place} is {tokens[row, place]}; the codebook has 0…{sizes[place] - 1} there"
            )

    def _run(self, file: str, **inputs: NDArray[Any]) -> NDArray[Any]:
        if file not in self._sessions:
            self._sessions[file] = self._session(self.folder / file)
        (output,) = self._sessions[file].run(None, inputs)
        return np.asarray(output)

    def _session(self, path: Path) -> Any:
        options = _onnxruntime().SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
        options.log_severity_level = 3  # errors; they are raised too
        try:
            session = _onnxruntime().InferenceSession(str(path), options, providers=[self._provider])
            found = session.get_modelmeta().custom_metadata_map.get(FINGERPRINT)
        except Exception as error:  # of as many types as onnxruntime has reasons, and no common base
            raise WeightsError(f"{path} does not load: {one_line(error)}") from error
        if found != self.fingerprint.hex():
            raise WeightsError(f"{path} is of model {found}, {CONFIG} beside it of {self.fingerprint.hex()}")
        return session


def _floats(pixels: Pixels) -> NDArray[np.float32]:
    return np.ascontiguousarray(as_array(pixels), np.float32)


def _onnxruntime() -> Any:
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise MissingExtraError("exported models need an extra: pip install 'onedpiece[onnx]'") from error


def open_onnx(
    folder: Path,
    tables_of: Callable[[Path, bytes], Tables | None],
    name: str,
    device: str = "cpu",
    *,
    sharp: bool = True,
) -> OnnxModel:
    """Return the exported model in a folder.

    Args:
        folder: what `onedpiece export` wrote.
        tables_of: finds the entropy coder's tables in a folder, by the fingerprint.
        name: for messages.
        device: as for `OnnxModel`.
        sharp: False leaves a sharp network out.

    Raises:
        WeightsError: the config is missing or none of ours.
        ValueError, MissingExtraError: as `OnnxModel`.
    """
    try:
        stated = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder} is no exported model: {one_line(error)}") from None
    if not isinstance(stated, dict) or stated.get("format") != FORMAT:
        found = stated.get("format") if isinstance(stated, dict) else type(stated).__name__
        raise WeightsError(f"{folder / CONFIG} has format {found!r}; this onedpiece reads {FORMAT}")
    model = OnnxModel(folder, stated, name, device)
    if not sharp:
        model.config = replace(model.config, sharp_blocks=0)
    model.take_tables(tables_of(folder, model.fingerprint))
    return model
