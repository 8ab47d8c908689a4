"""`Codec`: image → `Code` → image; the one place where network and bytes meet."""

from collections.abc import Sequence
from operator import index
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from onedpiece.bitstream import Code, TooManyTokensError
from onedpiece.pictures import read_picture, resize, to_rgb
from onedpiece.tokenizer import Tokenizer

Picture = Image.Image | str | PathLike[str] | Tensor
"""A PIL image, the path of one, or a (3, H, W) float tensor in [0, 1]."""

CodeLike = Code | bytes | str | PathLike[str]
"""A code, the bytes of an .odp file, or the path of one."""


class WrongModelError(ValueError):
    """A code that another model made."""


class Codec:
    """A tokenizer that takes photos of any size and gives codes that can be kept as files.

    Args:
        tokenizer: the network; it is moved to `device` and put into evaluation mode.
        fingerprint: the 4 bytes that tie a file to these weights.
        device: where the network runs, as torch names it.
        name: the model's, for messages.

    Raises:
        ValueError: there is no such device here.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        fingerprint: bytes,
        device: str | torch.device = "cpu",
        name: str = "unnamed",
    ) -> None:
        try:
            self.device = torch.device(device)
            self.tokenizer = tokenizer.to(self.device).eval()
        except (RuntimeError, AssertionError) as error:
            raise ValueError(
                f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}"
            ) from error
        self.fingerprint = fingerprint
        self.name = name

    def __repr__(self) -> str:
        return (
            f"<Codec {self.name}: {self.num_tokens} tokens, model {self.fingerprint.hex()}, on {self.device}>"
        )

    @property
    def num_tokens(self) -> int:
        """The most tokens that a code of this model has."""
        return self.tokenizer.config.num_tokens

    def encode(self, image: Picture, *, tokens: int | None = None, max_bytes: int | None = None) -> Code:
        """Encode one photo.

        Args:
            image: PIL image, path, or (3, H, W) float tensor in [0, 1]; any size: the whole photo is squeezed
                to the model's square and stretched back on decoding.
            tokens: how many to keep, 1 to `num_tokens`; with neither this nor `max_bytes`, all.
            max_bytes: keep as many tokens as make a file of at most so many bytes.

        Raises:
            ValueError: both were given, one is out of range, or the tensor is not as described.
            PictureError: the picture cannot be read.
            OSError: the file cannot be opened.
        """
        return self.encode_batch([image], tokens=tokens, max_bytes=max_bytes)[0]

    def encode_batch(
        self, images: Sequence[Picture], *, tokens: int | None = None, max_bytes: int | None = None
    ) -> list[Code]:
        """Encode several photos, of any sizes, in one pass; as `encode` for each."""
        self.check_budget(tokens, max_bytes)
        if not images:
            return []
        side = self.tokenizer.config.image_size
        inputs = [_to_input(image, side) for image in images]
        pixels = torch.stack([each.pixels for each in inputs]).to(self.device)
        rows = self.tokenizer.tokenize(pixels)[:, :tokens].cpu().numpy()
        codebook = self.tokenizer.config.codebook_size
        codes = [
            Code(row, codebook, self.fingerprint, each.size) for row, each in zip(rows, inputs, strict=True)
        ]
        return codes if max_bytes is None else [code.fit(max_bytes) for code in codes]

    def decode(self, code: CodeLike, tokens: int | None = None) -> Image.Image:
        """Decode a code, the bytes of an .odp file or its path to an RGB image of the photo's own size.

        Args:
            code: what to decode.
            tokens: decode only so many leading ones; None: all there are.

        Raises:
            WrongModelError: another model made it.
            BitstreamError: the bytes are not an .odp file.
            ValueError: `tokens` is not in 1 to len(code).
            OSError: the file cannot be opened.
        """
        return self.decode_batch([code], tokens)[0]

    def decode_batch(self, codes: Sequence[CodeLike], tokens: int | None = None) -> list[Image.Image]:
        """Decode several codes, of any lengths and sizes, in one pass; as `decode` for each."""
        if not codes:
            return []
        prefixes = [self._prefix(_to_code(code), tokens) for code in codes]
        indices, lengths = _pad(prefixes)
        pictures = self.tokenizer.detokenize(indices.to(self.device), lengths).cpu()
        return [
            resize(_to_image(picture), code.size or _size_of(picture))
            for picture, code in zip(pictures, prefixes, strict=True)
        ]

    def check_budget(self, tokens: int | None = None, max_bytes: int | None = None) -> None:
        """Raise ValueError unless `encode` can take these; no picture is needed for it."""
        if tokens is not None and max_bytes is not None:
            raise ValueError("give tokens or max_bytes, not both")
        if tokens is not None and not 1 <= index(tokens) <= self.num_tokens:
            raise ValueError(f"tokens is {tokens}; {self.name} takes 1 to {self.num_tokens}")
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError(f"max_bytes is {max_bytes}; give the largest size of the file, in bytes")

    def check_code(self, code: Code) -> None:
        """Raise WrongModelError unless this model made the code."""
        config = self.tokenizer.config
        if code.fingerprint != self.fingerprint:
            raise WrongModelError(
                f"the file was made by model {code.fingerprint.hex()}, this is {self.fingerprint.hex()} "
                f"({self.name}); decode it with the model that made it"
            )
        if code.codebook_size != config.codebook_size:
            raise WrongModelError(
                f"the file has {code.codebook_size} codebook entries, {self.name} has {config.codebook_size}"
            )
        if len(code) > config.num_tokens:
            raise TooManyTokensError(
                f"the file has {len(code)} tokens; {self.name} makes at most {config.num_tokens}"
            )

    def _prefix(self, code: Code, tokens: int | None) -> Code:
        self.check_code(code)
        return code if tokens is None else code.first(tokens)


class _Input(NamedTuple):
    pixels: Tensor  # (3, S, S) in [0, 1]
    size: tuple[int, int] | None  # the photo's own, where it is not (S, S)


def _to_input(image: Picture, side: int) -> _Input:
    if isinstance(image, Tensor):
        return _tensor_to_input(image, side)
    if not isinstance(image, Image.Image | str | PathLike):
        raise TypeError(
            f"found {type(image).__name__}; expected a PIL image, a path or a (3, H, W) float tensor"
        )
    photo = to_rgb(image) if isinstance(image, Image.Image) else read_picture(image)
    # torch.tensor copies: Pillow's memory is read-only.
    squeezed = torch.tensor(np.asarray(resize(photo, (side, side)))).permute(2, 0, 1)
    return _Input(squeezed.float() / 255, None if photo.size == (side, side) else photo.size)


def _tensor_to_input(image: Tensor, side: int) -> _Input:
    if image.ndim != 3 or image.shape[0] != 3 or not image.numel():
        raise ValueError(f"the tensor has shape {tuple(image.shape)}; expected (3, H, W)")
    if not image.is_floating_point():
        raise ValueError(
            f"the tensor is of type {image.dtype}; expected floats in [0, 1]: divide 8-bit values by 255"
        )
    pixels = image.detach().float()
    if not (pixels.min() >= 0 and pixels.max() <= 1):  # also false for NaN
        raise ValueError(
            f"the tensor's values run from {pixels.min():.4g} to {pixels.max():.4g}; expected [0, 1]"
        )
    if _size_of(pixels) == (side, side):
        return _Input(pixels, None)
    squeezed = F.interpolate(pixels[None], (side, side), mode="bicubic", align_corners=False, antialias=True)[
        0
    ]
    return _Input(squeezed.clamp(0, 1), _size_of(pixels))


def _size_of(picture: Tensor) -> tuple[int, int]:
    """(width, height) of a (3, H, W) tensor."""
    return picture.shape[2], picture.shape[1]


def _to_image(picture: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1] as an 8-bit RGB image, every value to the nearest level."""
    return Image.fromarray((picture * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())


def _to_code(code: CodeLike) -> Code:
    if isinstance(code, Code):
        return code
    if isinstance(code, bytes | bytearray | memoryview):
        return Code.from_bytes(code)
    with Path(code).open("rb") as file:
        return Code.read(file)


def _pad(codes: Sequence[Code]) -> tuple[Tensor, Tensor | None]:
    """(B, longest) indices, and (B,) lengths where they differ."""
    lengths = torch.tensor([len(code) for code in codes])
    indices = torch.zeros(len(codes), int(lengths.max()), dtype=torch.int64)
    for row, code in zip(indices, codes, strict=True):
        row[: len(code)] = torch.tensor(code.indices)
    return indices, None if bool((lengths == lengths[0]).all()) else lengths
