"""`Codec`: image → `Code` → image; the one place where network and bytes meet."""

from collections.abc import Sequence
from operator import index
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from PIL import Image

import onedpiece.codec.model as models  # `from onedpiece.codec` would ask its lazy names first
import onedpiece.codec.quality as quality
import onedpiece.codec.tensors as tensors
from onedpiece.bitstream import Code
from onedpiece.bitstream.packing import Tables
from onedpiece.codec.model import EncodeResult, LoadedModel, NetworkModel
from onedpiece.codec.tensors import Photo, Picture, Pictures, Pixels
from onedpiece.codec.tiles import EncodeOptions, decode_tiled, fit_photo
from onedpiece.codes import TokenBatch
from onedpiece.rate.target import RateOptions, RateTarget

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from onedpiece.tokenizer.tokenizer import Tokenizer

CodeLike = Code | bytes | str | PathLike[str]
"""A code, the bytes of an .odp file, or the path of one."""


class Codec:
    """A tokenizer that takes photos of any size and gives codes that can be kept as files.

    >>> codec = onedpiece.load()
    >>> code = codec.encode(PIL.Image.new("RGB", (320, 240), "teal"), tokens=64)
    >>> codec.decode(code[:32]).size
    (320, 240)

    Args:
        tokenizer: the network; it is moved to `device` and put into evaluation mode.
        fingerprint: the 4 bytes of the code space, which tie a file to the models that can read it.
        device: where the network runs, as torch names it.
        name: the model's, for messages.
        tables: of the model's entropy coder; this process then knows them, so that `Code.to_bytes` uses them.
            None: files are plain, unless the process knows the model's tables from elsewhere.

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
        self.model: LoadedModel = NetworkModel(tokenizer, fingerprint, device, name, tables)

    @classmethod
    def from_model(cls, model: LoadedModel) -> Self:
        """Return the codec of a model that need not run in torch."""
        codec = cls.__new__(cls)
        codec.model = model
        return codec

    def __repr__(self) -> str:
        tokens, print_ = self.num_tokens, self.fingerprint.hex()
        return f"<Codec {self.name}: {tokens} tokens, model {print_}, on {self.device}>"

    def to(self, device: "str | torch.device | None" = None, dtype: "torch.dtype | None" = None) -> Self:
        """Move the network to a device, as torch names it, run it in `dtype`, and return the codec.

        float32, bfloat16 or float16; what reads and makes the tokens stays float32. None: as it is.

        Raises:
            ValueError: there is no such device here, or it is no such type.
        """
        self.model.to(device, dtype)
        return self

    @property
    def tokenizer(self) -> "Tokenizer":
        """The network.

        Raises:
            ValueError: the model is an exported one, which has none.
        """
        if not isinstance(self.model, NetworkModel):
            raise ValueError(f"{self.name} is an exported model, without a network; load the model it is of")
        return self.model.tokenizer

    @property
    def fingerprint(self) -> bytes:
        """The 4 bytes of the code space, which tie a file to the models that can read it."""
        return self.model.fingerprint

    @property
    def device(self) -> Any:
        """Where the network runs: a `torch.device`, or of an exported model the device's name."""
        return self.model.device

    @property
    def name(self) -> str:
        """The model's name, for messages."""
        return self.model.name

    @property
    def num_tokens(self) -> int:
        """The most tokens that the code of one square has."""
        return self.model.num_tokens

    @property
    def image_size(self) -> int:
        """Side of the model's square pictures, in pixels."""
        return self.model.image_size

    def encode(
        self,
        image: Picture,
        *,
        tokens: int | None = None,
        max_bytes: int | None = None,
        bpp: float | None = None,
        psnr: float | None = None,
        ssim: float | None = None,
        lpips: float | None = None,
        tiles: bool | None = None,
        best_effort: bool = False,
    ) -> Code:
        """Encode one photo; give at most one of the targets: without any, all tokens are kept.

        Args:
            image: PIL image, path, (3, H, W) tensor or (H, W, 3) array (floats in [0, 1] or uint8), any size.
            tokens: how many to keep, 1 to `num_tokens`; of tiles, from one to `num_tokens` for each.
            max_bytes: keep as many tokens as fit a file of at most `max_bytes`.
            bpp: the same in bits a pixel of the photo.
            psnr: keep as few tokens as make the decoded file reach this many dB, at the photo's own size.
            ssim: the same for SSIM.
            lpips: the same for LPIPS-Alex, of which less is better.
            tiles: True cuts the photo into tiles of the model's size that share the target; False resizes the
                whole photo to one square and back on decoding. None: one square, and tiles only where a size
                is given that a square cannot use, or a quality that it cannot reach, and they are better.
            best_effort: where a quality is out of reach, take the best there is.

        Raises:
            ValueError: two targets were given, one is out of range, or the tensor is not as described.
            TargetOutOfReachError: no prefix reaches psnr, ssim or lpips; it says what the best one reaches.
            PictureError: the picture cannot be read.
            OSError: the file cannot be opened.
        """
        target = RateTarget(tokens, max_bytes, bpp, psnr, ssim, lpips)
        return self.encode_to(image, target, tiles=tiles, best_effort=best_effort).code

    def encode_to(self, image: Picture, target: RateTarget, **options: Unpack[EncodeOptions]) -> EncodeResult:
        """As `encode`, with what the search for a quality found; `progress` is told of tiles."""
        return self.encode_batch_to([image], target, **options)[0]

    def encode_batch(
        self,
        images: Pictures,
        target: RateTarget | None = None,
        *,
        tiles: bool | None = None,
        best_effort: bool = False,
        **rate: Unpack[RateOptions],
    ) -> list[Code]:
        """Encode several photos, of any sizes, each to the target; squares share passes through the network.

        Args:
            images: as `encode` takes them, or a (B, 3, H, W) tensor, or a (B, H, W, 3) array.
            target: for each of them; None: what `rate` says.
            tiles: as in `encode`.
            best_effort: as in `encode`.
            rate: tokens, max_bytes, bpp, psnr, ssim or lpips, as in `encode`; without any, all tokens.

        Raises:
            ValueError, TypeError, OSError, OnedpieceError: as `encode`.
        """
        if target is not None and rate:
            raise ValueError(f"give a target or {' and '.join(rate)}, not both")
        target = target or RateTarget(**rate)
        found = self.encode_batch_to(images, target, tiles=tiles, best_effort=best_effort)
        return [result.code for result in found]

    @overload
    def encode_batch_to(
        self,
        images: Pictures,
        target: RateTarget | None = None,
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[EncodeOptions],
    ) -> list[EncodeResult]: ...

    @overload
    def encode_batch_to(
        self,
        images: Pictures,
        target: RateTarget | None = None,
        *,
        return_exceptions: Literal[True],
        **options: Unpack[EncodeOptions],
    ) -> list[EncodeResult | Exception]: ...

    def encode_batch_to(
        self,
        images: Pictures,
        target: RateTarget | None = None,
        *,
        return_exceptions: bool = False,
        **options: Unpack[EncodeOptions],
    ) -> Sequence[EncodeResult | Exception]:
        """As `encode_batch`, with what the search for a quality found.

        Args:
            images: as `encode_batch` takes them.
            target: for each of them; None: all tokens.
            return_exceptions: give what `encode` would raise of one photo in the place of its result.
            options: tiles and best_effort, as in `encode`, and progress, which is told of tiles.

        Raises:
            ValueError, TypeError, OSError, OnedpieceError: as `encode`.
        """
        target, tiles = target or RateTarget(), options.get("tiles")
        self.check_target(target, tiles=tiles)
        pictures, outcomes, batch = tensors.as_list(images), list[Any](), self.model.batch
        for start in range(0, len(pictures), batch):
            photos = [tensors.attempt(tensors.to_photo, each) for each in pictures[start : start + batch]]
            read = [photo for photo in photos if isinstance(photo, Photo)]
            codes = iter([None] * len(read) if tiles else models.encode_squares(self.model, read))
            for photo in photos:
                if isinstance(photo, Photo):
                    photo = tensors.attempt(self._fit, photo, next(codes), target, **options)
                if isinstance(photo, Exception) and not return_exceptions:
                    raise photo
                outcomes.append(photo)
        return outcomes

    def _fit(self, photo: Photo, square: Code | None, target: RateTarget, **options: Any) -> EncodeResult:
        if square is not None and target.is_count:
            return models.fit_square(self.model, photo, square, target)
        return fit_photo(self.model, photo, square, target, **options)

    def tokens(
        self,
        images: Pictures,
        target: RateTarget | None = None,
        *,
        pad_to: int | None = None,
        best_effort: bool = False,
        **rate: Unpack[RateOptions],
    ) -> TokenBatch:
        """Return the tokens of photos as tensors, for a model that generates or classifies.

        Args:
            images: as `encode_batch` takes them; each becomes one square.
            target: as in `encode_batch`.
            pad_to: how long the rows are; None: as long as the longest code.
            best_effort: as in `encode`.
            rate: tokens, max_bytes, bpp, psnr, ssim or lpips, as in `encode_batch`.

        Returns:
            A named tuple of tokens, (B, K) int64 with 0 behind a code's end, and mask, (B, K) bool, True
            where there is a token; on the codec's device.

        Raises:
            ValueError, TypeError, OSError, OnedpieceError: as `encode`; or a code is longer than `pad_to`.
        """
        codes = self.encode_batch(images, target, tiles=False, best_effort=best_effort, **rate)
        return tensors.pad_tokens(codes, pad_to, self.device)

    def estimate_psnr_curve(self, photo: Image.Image, code: Code) -> list[float] | None:
        """Estimate the PSNR of every prefix of a photo's code, in dB; None if the model cannot tell."""
        return quality.estimate_psnr_curve(self.model, Photo(photo), code)

    def decode(
        self, code: CodeLike, tokens: int | None = None, *, sharpness: float | None = None
    ) -> Image.Image:
        """Decode a code, the bytes of an .odp file or its path to an RGB image of the photo's own size.

        Args:
            code: what to decode.
            tokens: decode only the first `tokens`; None: all there are.
            sharpness: from 0, the faithful picture (most PSNR), to 1, the most natural one, whose detail the
                file does not hold; None: what the file asks for.

        Raises:
            WrongModelError: another model made it.
            BitstreamError: the bytes are not an .odp file.
            ValueError: `tokens` is not in 1 to len(code), or `sharpness` not in 0 to 1.
            TypeError: it is no code, bytes or path.
            OSError: the file cannot be opened.
        """
        return self.decode_batch([code], tokens, sharpness=sharpness)[0]

    @overload
    def decode_batch(
        self,
        codes: Sequence[CodeLike],
        tokens: int | None = None,
        *,
        sharpness: float | None = None,
        output_type: Literal["pil"] = "pil",
    ) -> list[Image.Image]: ...

    @overload
    def decode_batch(
        self,
        codes: Sequence[CodeLike],
        tokens: int | None = None,
        *,
        sharpness: float | None = None,
        output_type: Literal["pt"],
    ) -> "Tensor": ...

    @overload
    def decode_batch(
        self,
        codes: Sequence[CodeLike],
        tokens: int | None = None,
        *,
        sharpness: float | None = None,
        output_type: Literal["np"],
    ) -> "NDArray[np.float32]": ...

    def decode_batch(
        self,
        codes: Sequence[CodeLike],
        tokens: int | None = None,
        *,
        sharpness: float | None = None,
        output_type: Literal["pil", "pt", "np"] = "pil",
    ) -> "list[Image.Image] | Tensor | NDArray[np.float32]":
        """Decode several codes, of any lengths; squares share passes through the network.

        Args:
            codes: as `decode` takes them.
            tokens: decode only the first `tokens` of each; None: all there are.
            sharpness: as in `decode`.
            output_type: "pil" for RGB images, each of its photo's size; of photos of one size, "pt" for a
                (B, 3, H, W) tensor in [0, 1] on the codec's device, "np" for a (B, H, W, 3) float32 array.

        Raises:
            ValueError: as `decode`; an unknown type; or "pt" or "np", and the photos differ in size.
            TypeError: `codes` is one code, or what one can be read from.
        """
        if output_type not in ("pil", "pt", "np"):
            raise ValueError(f"output_type is {output_type!r}; use 'pil', 'pt' or 'np'")
        prefixes = [self._to_code(code, tokens) for code in tensors.as_codes(codes)]
        pictures = decode_pictures(self.model, prefixes, sharpness)
        own = (self.image_size, self.image_size)
        sizes = [code.size or own for code in prefixes]
        if output_type == "pil":
            return [tensors.sized(picture, size) for picture, size in zip(pictures, sizes, strict=True)]
        if output_type == "np":
            return tensors.stack(pictures, tensors.one_size(sizes, own)).transpose(0, 2, 3, 1)
        return tensors.stack_tensors(pictures, tensors.one_size(sizes, own), self.device)

    def check_target(self, target: RateTarget, *, tiles: bool | None = None) -> None:
        """Raise ValueError unless `encode` can take it; no picture is needed for it."""
        count = None if tiles else target.tokens
        if count is not None and not 1 <= index(count) <= self.num_tokens:
            raise ValueError(f"tokens is {count}; {self.name} takes 1 to {self.num_tokens}")

    def check_code(self, code: Code) -> None:
        """Raise WrongModelError unless this model made the code."""
        self.model.check_code(code)

    def tables_of(self, fingerprint: bytes) -> Tables | None:
        """Return the tables that read entropy-coded files of this model; None where none are known.

        Raises:
            WrongModelError: `fingerprint` is that of another model.
        """
        return self.model.tables_of(fingerprint)

    def _to_code(self, given: Any, tokens: int | None) -> Code:
        if isinstance(given, bytes | bytearray | memoryview):
            code = Code.from_bytes(bytes(given), self.tables_of)
        elif isinstance(given, str | PathLike):
            code = Code.open(given, self.tables_of)
        elif isinstance(given, Code):
            code = given
        else:
            hint = "; decode_batch takes several" if isinstance(given, list | tuple) else ""
            raise TypeError(f"found {type(given).__name__}; expected a Code, bytes or a path{hint}")
        self.check_code(code)
        return code if tokens is None else code.first(tokens)


def decode_pictures(
    model: LoadedModel, codes: Sequence[Code], sharpness: float | None = None
) -> "list[Image.Image | Pixels]":
    """Return the photo of each tiled code, and the square of each other one, (3, S, S) in [0, 1]."""
    squares = iter(models.decode_squares(model, [code for code in codes if not code.tiles], sharpness))
    return [decode_tiled(model, code, sharpness=sharpness) if code.tiles else next(squares) for code in codes]
