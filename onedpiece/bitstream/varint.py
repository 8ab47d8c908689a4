"""Unsigned LEB128: seven bits a byte, lowest first, the high bit set on all but the last."""

from typing import NamedTuple

from onedpiece.bitstream.errors import MalformedVarintError, TruncatedHeaderError
from onedpiece.bitstream.layout import MAX_VARINT_BYTES


class Varint(NamedTuple):
    """A number that was read, and the offset of the byte after it."""

    value: int
    end: int


def write_varint(value: int) -> bytes:
    """Return the bytes of `value`, 0 ≤ value < 2^35."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, start: int, what: str) -> Varint:
    """Read the number that starts at offset `start`; `what` names it in errors.

    Raises:
        TruncatedHeaderError: the data ends before the number does.
        MalformedVarintError: it is longer than five bytes, or than it needs to be.
    """
    value = 0
    for position in range(MAX_VARINT_BYTES):
        if start + position >= len(data):
            raise TruncatedHeaderError(
                f"the file ends after {len(data)} bytes, inside the {what} of its header"
            )
        byte = data[start + position]
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            if byte == 0 and position:
                raise MalformedVarintError(
                    f"the {what} in the header is padded with zero bytes; write it shortest"
                )
            return Varint(value, start + position + 1)
    raise MalformedVarintError(
        f"the {what} in the header goes on after {MAX_VARINT_BYTES} bytes; expected an end"
    )
