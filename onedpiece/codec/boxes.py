"""What JPEG XL and HEIC files state of size and orientation, which their decoders act on without a word."""

from collections.abc import Iterator
from typing import NamedTuple

JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height, from code 1 on
_HEADER_BYTES = 32  # more than size and orientation take


class JxlHeader(NamedTuple):
    """(width, height) in pixels, and by which of EXIF's orientations, 1 to 8, the decoder turns them."""

    size: tuple[int, int]
    orientation: int


def read_jxl_header(data: bytes) -> JxlHeader | None:
    """Read the start of a JPEG XL codestream, bare or in its container; None where it is none or too short.

    ISO/IEC 18181-1: SizeHeader, then the first fields of ImageMetadata.
    """
    stream = data if data.startswith(JXL_STARTS[0]) else _codestream(data)
    if not stream.startswith(JXL_STARTS[0]) or len(stream) < _HEADER_BYTES // 2:
        return None
    bits = _Bits(int.from_bytes(stream[2:_HEADER_BYTES], "little"))
    small = bits.take(1) == 1
    height = bits.side(small)
    ratio = bits.take(3)
    width = bits.side(small) if ratio == 0 else height * _RATIOS[ratio - 1][0] // _RATIOS[ratio - 1][1]
    extra_fields = bits.take(1) == 0 and bits.take(1) == 1
    return JxlHeader((width, height), 1 + bits.take(3) if extra_fields else 1)


def is_turned_by_heif(data: bytes) -> bool:
    """Say whether a HEIC file has a box by which its decoder rotates or mirrors the picture."""
    return b"irot" in data or b"imir" in data


class _Bits:
    """A number that is read from its lowest bit on."""

    def __init__(self, value: int) -> None:
        self.value = value

    def take(self, count: int) -> int:
        taken = self.value & ((1 << count) - 1)
        self.value >>= count
        return taken

    def side(self, small: bool) -> int:
        """Read a side: a multiple of 8 up to 256, or 1 and a number whose length two bits choose."""
        if small:
            return 8 * (1 + self.take(5))
        return 1 + self.take((9, 13, 18, 30)[self.take(2)])


def _codestream(data: bytes) -> bytes:
    for name, body in _boxes(data):
        if name == b"jxlc":
            return body
        if name == b"jxlp":  # a part, behind its number
            return body[4:]
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and content of each box of an ISO base media file; the last may be cut short."""
    at = 0
    while at + 8 <= len(data):
        length, name, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if length == 0:  # up to the end
            length = len(data) - at
        if length < head:
            return
        yield name, data[at + head : at + length]
        at += length
