"""A tokenizer tied to the files it makes: `LoadedModel`, and whole photos as one square through it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from math import log2
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onedpiece import _providers
from onedpiece.bitstream import Code, Tiles
from onedpiece.bitstream.packing import Tables, known_tables
from onedpiece.codec.tensors import Photo, Pixels, resize, to_image
from onedpiece.errors import TooManyTokensError, WrongModelError
from onedpiece.rate.search import SearchResult
from onedpiece.rate.target import RateTarget
from onedpiece.tokenizer.config import TokenizerConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from onedpiece.tokenizer.tokenizer import Tokenizer

RETIRED = dict.fromkeys(("0a9efe93", "129ade3c", "434c6612", "c2999fe5"), "0.1.0")
"""Fingerprints of bundled models whose code space is gone, and the release that reads their files."""

BATCH = 32
"""Squares that go through the network together, unless `LoadedModel.batch` says otherwise."""


class EncodeResult(NamedTuple):
    """A code, and how the search for its quality target went; None without such a target."""

    code: Code
    search: SearchResult | None


class LoadedModel(ABC):
    """A model of square pictures ↔ tokens, and the fingerprint of these; tiles and codec are built on it.

    `NetworkModel` runs a tokenizer in torch; `onnx_model.OnnxModel` runs what was exported of one, without.

    Args:
        config: the geometry.
        fingerprint: the 4 bytes of the code space, which tie a file to the models that can read it.
        name: the model's, for messages.
        tables: of the model's entropy coder; None: those that this process knows of its code space, if any.
    """

    def __init__(
        self, config: TokenizerConfig, fingerprint: bytes, name: str = "unnamed", tables: Tables | None = None
    ) -> None:
        self.config = config
        self.fingerprint = fingerprint
        self.name = name
        self.batch = BATCH
        """Squares that go through the network together."""
        self.take_tables(tables)

    def take_tables(self, tables: Tables | None) -> None:
        """Use the tables of its entropy coder, here and wherever this process writes its codes."""
        self.tables = tables
        if tables is not None:
            _providers.entropy_tables[self.fingerprint] = tables

    @property
    @abstractmethod
    def device(self) -> Any:
        """Where it runs: a `torch.device`, or its name."""

    @property
    @abstractmethod
    def has_sharp(self) -> bool:
        """Whether it can draw sharp pictures."""

    @abstractmethod
    def to(self, device: Any = None, dtype: Any = None) -> None:
        """Move it, and run it in `dtype`; None leaves either as it is.

        Raises:
            ValueError: there is no such device here, or it is no such type.
        """

    @abstractmethod
    def tokenize(self, pixels: Pixels) -> NDArray[np.int64]:
        """Return the tokens of squares.

        Args:
            pixels: (B, 3, S, S) in [0, 1], on any device.

        Returns:
            (B, N), the most important first.
        """

    @abstractmethod
    def detokenize(self, rows: Sequence[NDArray[np.int64]], sharpness: float = 0.0) -> Pixels:
        """Return the squares of codes of any lengths, (B, 3, S, S) in [0, 1], on the model's device.

        Args:
            rows: (k,) each, 1 ≤ k ≤ N.
            sharpness: 0, the faithful picture, to 1, the most natural one.
        """

    @abstractmethod
    def estimate_errors(self, pixels: Pixels, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Estimate the mean squared error of every prefix without decoding; None if the model cannot tell.

        Args:
            pixels: (B, 3, S, S) in [0, 1].
            rows: (B, N), all of their tokens.

        Returns:
            (B, N), of values in [0, 1].
        """

    def linear_pictures(self, rows: Sequence[NDArray[np.int64]]) -> list[Pixels] | None:
        """Return small pictures of codes without running a network; None if the model has none such.

        Args:
            rows: (k,) each, 1 ≤ k ≤ N.

        Returns:
            (3, s, s) each, in [0, 1].
        """
        return None

    @property
    def num_tokens(self) -> int:
        """The most tokens that one square has."""
        return self.config.num_tokens

    @property
    def image_size(self) -> int:
        """Side of the model's square pictures, in pixels."""
        return self.config.image_size

    @property
    def bits_per_token(self) -> float:
        """What one token takes in a plain file."""
        return log2(self.config.codebook_size)

    def code(self, indices: Any, size: tuple[int, int], tiles: Tiles | None = None) -> Code:
        """Return the code of a photo of `size`, (width, height), which a square's file need not name."""
        own = tiles is None and size == (self.image_size, self.image_size)
        codebook_size = self.config.codebook_size
        return Code(indices, codebook_size, self.fingerprint, None if own else size, tiles)

    def sharpness_of(self, code: Code, asked: float | None = None) -> float:
        """Return the sharpness that a code is decoded with: what is asked for, or what the file asks for.

        Raises:
            ValueError: `asked` is not in 0 to 1, or this model has no sharp network and it is above 0.
        """
        if asked is not None and not 0 <= asked <= 1:
            raise ValueError(f"sharpness is {asked}; use 0 (faithful) to 1 (most natural)")
        if not self.has_sharp:
            if asked:
                raise ValueError(f"sharpness is {asked}, but {self.name} has no sharp network; use 0")
            return 0.0
        if asked is not None:
            return asked
        return 0.0 if code.faithful else self.config.default_sharpness

    def check_code(self, code: Code) -> None:
        """Raise WrongModelError unless this model made the code."""
        config = self.config
        self.check_fingerprint(code.fingerprint)
        if code.codebook_size != config.codebook_size:
            raise WrongModelError(
                f"the file has {code.codebook_size} codebook entries, {self.name} has {config.codebook_size}"
            )
        longest = max(code.tiles.counts) if code.tiles else len(code)
        if longest > config.num_tokens:
            raise TooManyTokensError(
                f"the file has {longest} tokens{' in a tile' if code.tiles else ''}; "
                f"{self.name} makes at most {config.num_tokens}"
            )

    def check_fingerprint(self, fingerprint: bytes) -> None:
        """Raise WrongModelError unless it is this model's."""
        if fingerprint == self.fingerprint:
            return
        release = RETIRED.get(fingerprint.hex())
        if release is not None:
            raise WrongModelError(
                f"the file was made by the model of onedpiece {release}, whose tokens are not read any more; "
                f"decode it with onedpiece {release}"
            )
        raise WrongModelError(
            f"the file was made by model {fingerprint.hex()}, this is {self.fingerprint.hex()} "
            f"({self.name}); decode it with the model that made it"
        )

    def tables_of(self, fingerprint: bytes) -> Tables | None:
        """Return the tables that read entropy-coded files of this model; None where none are known.

        They are its own, or else those that this process knows of its code space.

        Raises:
            WrongModelError: `fingerprint` is that of another model.
        """
        self.check_fingerprint(fingerprint)
        return known_tables(fingerprint) if self.tables is None else self.tables


class NetworkModel(LoadedModel):
    """A tokenizer that runs in torch.

    Args:
        tokenizer: the network; it is moved to `device` and put into evaluation mode.
        fingerprint: as for `LoadedModel`.
        device: where the network runs, as torch names it.
        name: as for `LoadedModel`.
        tables: as for `LoadedModel`.

    Raises:
        ValueError: there is no such device here.
    """

    def __init__(
        self,
        tokenizer: "Tokenizer",
        fingerprint: bytes,
        device: "str | torch.device" = "cpu",
        name: str = "unnamed",
        tables: Tables | None = None,
    ) -> None:
        super().__init__(tokenizer.config, fingerprint, name, tables)
        self.tokenizer = tokenizer.eval()
        self.to(device)

    @property
    def device(self) -> "torch.device":
        """Where the network runs."""
        return self._device

    @property
    def has_sharp(self) -> bool:
        """Whether there is a sharp network."""
        return self.tokenizer.sharp is not None

    def to(self, device: "str | torch.device | None" = None, dtype: "torch.dtype | None" = None) -> None:
        """Move the network, and run it in `dtype`, as `LoadedModel.to`."""
        import torch

        if device is not None:
            try:
                wanted = torch.device(device)
                if wanted.type == "meta":
                    raise RuntimeError("it holds no numbers")
                tensors = chain(self.tokenizer.parameters(), self.tokenizer.buffers())
                if any(each.device != wanted for each in tensors):  # `to` goes through all in any case
                    self.tokenizer.to(wanted)
            except (RuntimeError, AssertionError) as error:
                raise ValueError(
                    f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}"
                ) from error
            self._device = wanted
        if dtype is not None:
            self.tokenizer.set_network_dtype(dtype)

    def tokenize(self, pixels: Pixels) -> NDArray[np.int64]:
        """Return the tokens of squares, as `LoadedModel.tokenize`."""
        import torch

        tokens = self.tokenizer.tokenize(torch.as_tensor(pixels, device=self._device))
        return np.asarray(tokens.cpu().numpy())

    def detokenize(self, rows: Sequence[NDArray[np.int64]], sharpness: float = 0.0) -> "Tensor":
        """Return the squares of codes, as `LoadedModel.detokenize`."""
        import torch

        lengths = [len(row) for row in rows]
        indices = np.zeros((len(rows), max(lengths)), np.int64)
        for padded, row in zip(indices, rows, strict=True):
            padded[: len(row)] = row
        mixed = lengths if len(set(lengths)) > 1 else None
        return self.tokenizer.detokenize(torch.from_numpy(indices).to(self._device), mixed, sharpness)

    def estimate_errors(self, pixels: Pixels, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Estimate from the DCT path's coefficients, as `LoadedModel.estimate_errors`."""
        import torch

        path = self.tokenizer.linear_path
        if path is None:
            return None
        squares = torch.as_tensor(pixels, device=self._device)
        codes = self.tokenizer.quantizer.codes_from_indices(torch.tensor(rows, device=self._device))
        with torch.autocast(self._device.type, enabled=False):
            decibels = path.forecast(squares, codes).double().cpu().numpy()
        return np.asarray(10 ** (-decibels / 10))

    def linear_pictures(self, rows: Sequence[NDArray[np.int64]]) -> list[Pixels] | None:
        """Return the pictures of the DCT path, as `LoadedModel.linear_pictures`."""
        import torch

        if self.tokenizer.linear_path is None:
            return None
        tokens = (torch.tensor(row[None], device=self._device) for row in rows)
        return [self.tokenizer.detokenize_linear(each)[0] for each in tokens]


def encode_squares(model: LoadedModel, photos: Sequence[Photo]) -> list[Code]:
    """Return all tokens of each photo, resized to one square."""
    if not photos:
        return []
    rows = model.tokenize(np.stack([photo.pixels(model.image_size) for photo in photos]))
    return [model.code(row, photo.size) for row, photo in zip(rows, photos, strict=True)]


def decode_squares(model: LoadedModel, codes: Sequence[Code], sharpness: float | None = None) -> list[Pixels]:
    """Return the square of each code, (3, S, S) in [0, 1], on the model's device.

    Args:
        model: reads them.
        codes: of one square each.
        sharpness: from 0 to 1; None: what each file asks for.
    """
    looks = [model.sharpness_of(code, sharpness) for code in codes]
    squares: dict[int, Pixels] = {}
    for look in sorted(set(looks)):
        places = [place for place, each in enumerate(looks) if each == look]
        for start in range(0, len(places), model.batch):
            part = places[start : start + model.batch]
            decoded = model.detokenize([codes[place].indices for place in part], look)
            squares.update(zip(part, decoded, strict=True))
    return [squares[place] for place in range(len(codes))]


def decode_square(
    model: LoadedModel, code: Code, size: tuple[int, int], sharpness: float | None = None
) -> Image.Image:
    """Return the picture of a code of one square at `size`, (width, height)."""
    return resize(to_image(decode_squares(model, [code], sharpness)[0]), size)


def fit_square(model: LoadedModel, photo: Photo, code: Code, target: RateTarget) -> EncodeResult:
    """Cut a photo's whole code to a number of tokens or bytes; for a quality, see `quality.reach_square`.

    Raises:
        ValueError: not even one token fits the budget.
    """
    budget = target.bytes_for(photo.size)
    if budget is None:
        return EncodeResult(code if target.tokens is None else code.first(target.tokens), None)
    smallest = len(code[:1].to_bytes())
    if smallest > budget:
        text = target.budget_text(photo.size)
        raise ValueError(f"{text}; the file of one token of this code takes {smallest}")
    return EncodeResult(code.fit(budget), None)
