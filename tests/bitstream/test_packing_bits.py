import numpy as np
import pytest

from onedpiece.bitstream.packing import pack_bits, unpack_bits


def test_twelve_bits_fill_three_bytes_with_two_tokens() -> None:
    # 0xABC = 1010 1011 1100, 0x123 = 0001 0010 0011: side by side AB C1 23.
    assert pack_bits(np.array([0xABC, 0x123]), 12) == bytes.fromhex("abc123")


def test_the_last_byte_is_filled_with_zero_bits() -> None:
    # 0x7FF is 0111 1111 1111, then four zeros.
    assert pack_bits(np.array([0x7FF]), 12) == bytes.fromhex("7ff0")


def test_left_over_bits_are_ignored() -> None:
    assert unpack_bits(bytes.fromhex("7fff"), 12).tolist() == [0x7FF]
    assert unpack_bits(bytes.fromhex("7f"), 12).tolist() == []


@pytest.mark.parametrize("width", range(1, 33))
def test_every_width_goes_through(width: int) -> None:
    indices = np.array([0, 2**width - 1, 2 ** (width - 1), 1, 0])
    held = unpack_bits(pack_bits(indices, width), width)
    assert held[:5].tolist() == indices.tolist()
    assert not held[5:].any()
