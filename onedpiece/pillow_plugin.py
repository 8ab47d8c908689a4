"""Pillow reads and writes .odp: `import onedpiece.pillow_plugin`, or `onedpiece.register_pillow()`.

`Image.open` reads the header alone; the network loads and decodes when pixels are first asked for.
`image.save("a.odp", tokens=64)` takes what `Codec.encode` takes: tokens, max_bytes, bpp, psnr, ssim, lpips.

Pillow empties a file that is there before it asks for the picture, and leaves it so where a target is out of
reach. With `best_effort=True` there always is a picture; `Codec.encode(image, …).save(path)` keeps an older
file.
"""

from functools import cache
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile

from onedpiece.bitstream import MAX_FILE_BYTES, BitstreamError, Code
from onedpiece.bitstream.format import MAGIC, MAX_PEEK_BYTES, VERSION
from onedpiece.bitstream.header import peek, version_of
from onedpiece.rate import TargetOutOfReachError

if TYPE_CHECKING:
    from onedpiece.codec.codec import Codec

FORMAT = "ODP"
EXTENSION = ".odp"
MIME = "image/x-odp"
OPTIONS = ("tokens", "max_bytes", "bpp", "psnr", "ssim", "lpips", "tiles", "best_effort")
OWN_IMAGE_SIZE = 256  # of every published model; a file that names no size has it

_chosen: "list[Codec]" = []


def register(codec: "Codec | None" = None) -> None:
    """Teach Pillow .odp files.

    Args:
        codec: the model to encode and decode with; None: the bundled one, loaded when first needed.
    """
    _chosen[:] = [codec] if codec else []
    Image.register_open(FORMAT, OdpImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_save_all(FORMAT, _save_all)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, MIME)


class OdpImageFile(ImageFile.ImageFile):
    """An .odp file whose pixels are decoded on `load`; `info` holds the model's fingerprint."""

    format = FORMAT
    format_description = "onedpiece tokens"
    _undecoded = True

    def _open(self) -> None:
        assert self.fp is not None
        try:
            seen = peek(self.fp.read(MAX_PEEK_BYTES))
        except BitstreamError as error:
            raise SyntaxError(str(error)) from error
        side = _chosen[0].image_size if _chosen else OWN_IMAGE_SIZE
        self._size = seen.size or (side, side)
        self._mode = "RGB"
        self.info["fingerprint"] = seen.fingerprint.hex()
        self.tile = []

    def load(self) -> Any:
        """Decode, once.

        Raises:
            OSError: the file is damaged, or another model's.
            ValueError: it was closed.
        """
        if self._undecoded:
            if self.fp is None:
                raise ValueError("the file was closed before its picture was decoded")
            self.fp.seek(0)
            try:
                picture = _codec().decode(self.fp.read(MAX_FILE_BYTES + 1))
            except ValueError as error:
                raise OSError(str(error)) from error
            self.im, self._size, self._undecoded = picture.im, picture.size, False
            if self._exclusive_fp:
                self.fp.close()
            self.fp = None
        return super().load()


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC) and len(prefix) > len(MAGIC) and version_of(prefix[len(MAGIC)]) == VERSION


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    options = {name: image.encoderinfo[name] for name in OPTIONS if name in image.encoderinfo}
    try:
        code: Code = _codec().encode(image, **options)
    except TargetOutOfReachError as error:
        raise OSError(str(error)) from error
    file.write(code.to_bytes())


def _save_all(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    if getattr(image, "n_frames", 1) > 1 or image.encoderinfo.get("append_images"):
        raise OSError("an .odp file holds one picture; save each in a file of its own")
    _save(image, file, filename)


def _codec() -> "Codec":
    return _chosen[0] if _chosen else _bundled()


@cache
def _bundled() -> "Codec":
    from onedpiece.weights import load

    return load()


register()
