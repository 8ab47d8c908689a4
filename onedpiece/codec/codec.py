"""`Codec`: image → `Code` → image; the one place where network and bytes meet."""

from collections.abc import Sequence
from math import log2, log10
from operator import index
from os import PathLike
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from onedpiece.bitstream import Code, TooManyTokensError
from onedpiece.bitstream.entropy import Tables
from onedpiece.codec.images import Picture, checked_tensor, resize, size_of, to_image, to_input, to_photo
from onedpiece.codec.tiles import Progress, Reached, decode_tiled, encode_tiled, wants_tiles
from onedpiece.errors import WrongModelError
from onedpiece.metrics.pixel import image_psnr
from onedpiece.metrics.registry import image_scorer
from onedpiece.rate import Target
from onedpiece.rate.search import Found, fewest, fewest_foretold
from onedpiece.rate.target import Aim
from onedpiece.tokenizer import Tokenizer
from onedpiece.tokenizer.dct_path import forecast

CodeLike = Code | bytes | str | PathLike[str]
"""A code, the bytes of an .odp file, or the path of one."""


class Codec:
    """A tokenizer that takes photos of any size and gives codes that can be kept as files.

    Args:
        tokenizer: the network; it is moved to `device` and put into evaluation mode.
        fingerprint: the 4 bytes that tie a file to these weights.
        device: where the network runs, as torch names it.
        name: the model's, for messages.
        tables: of the model's entropy coder; without, files are plain.

    Raises:
        ValueError: there is no such device here.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        fingerprint: bytes,
        device: str | torch.device = "cpu",
        name: str = "unnamed",
        tables: Tables | None = None,
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
        self.tables = tables

    def __repr__(self) -> str:
        return (
            f"<Codec {self.name}: {self.num_tokens} tokens, model {self.fingerprint.hex()}, on {self.device}>"
        )

    @property
    def num_tokens(self) -> int:
        """The most tokens that a code of this model has."""
        return self.tokenizer.config.num_tokens

    @property
    def side(self) -> int:
        """Side of the model's square pictures, in pixels."""
        return self.tokenizer.config.image_size

    @property
    def bits_per_token(self) -> float:
        """What one token takes in a file."""
        return log2(self.tokenizer.config.codebook_size)

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
        """Encode one photo; give at most one of the wishes: without any, all tokens are kept.

        Args:
            image: PIL image, path, or (3, H, W) float tensor in [0, 1], of any size.
            tokens: how many to keep, 1 to `num_tokens`; of tiles, from one to `num_tokens` for each.
            max_bytes: keep as many tokens as make a file of at most so many bytes.
            bpp: the same in bits a pixel of the photo.
            psnr: keep as few tokens as make the decoded file reach this many dB, at the photo's own size.
            ssim: the same for SSIM.
            lpips: the same for LPIPS-Alex, of which less is better.
            tiles: cut the photo into tiles of the model's size that share the wish; False squeezes the whole
                photo into one square and stretches it back on decoding; None: as `tiles.wants_tiles` judges.
            best_effort: where a target is out of reach, take the best there is.

        Raises:
            ValueError: two wishes were given, one is out of range, or the tensor is not as described.
            TargetOutOfReachError: no prefix reaches psnr, ssim or lpips; it says what the best one reaches.
            PictureError: the picture cannot be read.
            OSError: the file cannot be opened.
        """
        aim = Aim(tokens, max_bytes, bpp, psnr, ssim, lpips)
        return self.encode_to(image, aim, tiles=tiles, best_effort=best_effort).code

    def encode_to(
        self,
        image: Picture,
        aim: Aim,
        *,
        tiles: bool | None = None,
        best_effort: bool = False,
        progress: Progress | None = None,
    ) -> Reached:
        """As `encode`, for a caller who wants to know what was reached; `progress` is told of tiles."""
        self.check_aim(aim, tiles=tiles)
        image = image if isinstance(image, Tensor) else to_photo(image)
        size = size_of(checked_tensor(image)) if isinstance(image, Tensor) else image.size
        if wants_tiles(self, size, aim, tiles):
            return encode_tiled(self, to_photo(image), aim, best_effort=best_effort, progress=progress)
        if aim.target is None:
            code = self.encode_batch([image], tokens=aim.tokens, max_bytes=aim.bytes_for(size))[0]
            return Reached(code, None)
        photo = to_photo(image)
        code = self.encode_batch([photo])[0]
        found = self.reach(photo, code, aim.target, best_effort=best_effort)
        return Reached(code.first(found.tokens), found)

    def encode_batch(
        self, images: Sequence[Picture], *, tokens: int | None = None, max_bytes: int | None = None
    ) -> list[Code]:
        """Encode several photos, of any sizes, in one pass; as `encode` for each."""
        self.check_aim(Aim(tokens=tokens, max_bytes=max_bytes))
        if not images:
            return []
        inputs = [to_input(image, self.side) for image in images]
        pixels = torch.stack([each.pixels for each in inputs]).to(self.device)
        rows = self.tokenizer.tokenize(pixels)[:, :tokens].cpu().numpy()
        codebook = self.tokenizer.config.codebook_size
        codes = [
            Code(row, codebook, self.fingerprint, each.size, None, self.tables)
            for row, each in zip(rows, inputs, strict=True)
        ]
        return codes if max_bytes is None else [code.fit(max_bytes) for code in codes]

    def reach(self, photo: Image.Image, code: Code, target: Target, *, best_effort: bool = False) -> Found:
        """Return the fewest tokens of a photo's code that reach a target.

        The guarantee is that of `rate.predicted.fewest_foretold` for a PSNR, of `rate.search.fewest` else.

        Args:
            photo: RGB, as it was encoded.
            code: all of its tokens.
            target: what the decoded file is to reach, at the photo's own size.
            best_effort: where that is out of reach, return the best there is.

        Raises:
            TargetOutOfReachError: no prefix reaches it, and `best_effort` is off.
            ValueError: the photo's size is none for the metric.
        """
        score, expected = image_scorer(target.metric, photo), self.forecast(photo, code)

        def measure(tokens: int) -> float:
            return score([self.decode(code, tokens)])[0]

        if target.metric == "psnr" and expected is not None:
            found = fewest_foretold(target, measure, expected)
        else:
            found = fewest(target, measure, len(code), expected)
        if not (found.reached or best_effort):
            raise target.out_of_reach(found.score, found.tokens)
        return found

    def forecast(self, photo: Image.Image, code: Code) -> list[float] | None:
        """Return about the PSNR of every prefix of a photo's code, in dB; None if the model cannot tell.

        It is that of the decoded file, at the photo's own size: what squeezing loses comes on top.
        """
        path = self.tokenizer.linear_path
        if path is None:
            return None
        pixels = to_input(photo, self.side).pixels[None].to(self.device)
        codes = self.tokenizer.quantizer.codes_from_indices(torch.tensor(code.indices)[None].to(self.device))
        squeezed = 10 ** (-image_psnr(photo, resize(resize(photo, (self.side, self.side)), photo.size)) / 10)
        with torch.autocast(pixels.device.type, enabled=False):
            lost = 10 ** (-forecast(path, pixels, codes)[0].double() / 10)
        return [-10 * log10(error) for error in (squeezed + lost).tolist()]

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
        prefixes = [self._prefix(self._to_code(code), tokens) for code in codes]
        if any(code.tiles for code in prefixes):
            return [self._decode_one(code) for code in prefixes]
        indices, lengths = _pad(prefixes)
        pictures = self.tokenizer.detokenize(indices.to(self.device), lengths).cpu()
        return [
            resize(to_image(picture), code.size or size_of(picture))
            for picture, code in zip(pictures, prefixes, strict=True)
        ]

    def _decode_one(self, code: Code) -> Image.Image:
        return decode_tiled(self, code) if code.tiles else self.decode_batch([code])[0]

    def check_aim(self, aim: Aim, *, tiles: bool | None = None) -> None:
        """Raise ValueError unless `encode` can take it; no picture is needed for it."""
        if tiles or aim.tokens is None:
            return
        if not 1 <= index(aim.tokens) <= self.num_tokens:
            raise ValueError(f"tokens is {aim.tokens}; {self.name} takes 1 to {self.num_tokens}")

    def check_code(self, code: Code) -> None:
        """Raise WrongModelError unless this model made the code."""
        config = self.tokenizer.config
        self._check_fingerprint(code.fingerprint)
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

    def tables_of(self, fingerprint: bytes) -> Tables | None:
        """Return the tables that read entropy-coded files of this model; None where it has none.

        Raises:
            WrongModelError: `fingerprint` is that of another model.
        """
        self._check_fingerprint(fingerprint)
        return self.tables

    def _check_fingerprint(self, fingerprint: bytes) -> None:
        if fingerprint != self.fingerprint:
            raise WrongModelError(
                f"the file was made by model {fingerprint.hex()}, this is {self.fingerprint.hex()} "
                f"({self.name}); decode it with the model that made it"
            )

    def _to_code(self, code: CodeLike) -> Code:
        if isinstance(code, Code):
            return code
        if isinstance(code, bytes | bytearray | memoryview):
            return Code.from_bytes(code, self.tables_of)
        with Path(code).open("rb") as file:
            return Code.read(file, self.tables_of)

    def _prefix(self, code: Code, tokens: int | None) -> Code:
        self.check_code(code)
        return code if tokens is None else code.first(tokens)


def _pad(codes: Sequence[Code]) -> tuple[Tensor, Tensor | None]:
    """(B, longest) indices, and (B,) lengths where they differ."""
    lengths = torch.tensor([len(code) for code in codes])
    indices = torch.zeros(len(codes), int(lengths.max()), dtype=torch.int64)
    for row, code in zip(indices, codes, strict=True):
        row[: len(code)] = torch.tensor(code.indices)
    return indices, None if bool((lengths == lengths[0]).all()) else lengths
