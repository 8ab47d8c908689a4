import pytest
from hypothesis import given
from hypothesis import strategies as st

from onedpiece.bitstream.packing import read_varint, write_varint
from onedpiece.errors import MalformedVarintError, TruncatedHeaderError


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),  # 300 = 2·128 + 44; 44 | 0x80 = 0xAC
        (481, "e103"),  # 481 = 3·128 + 97; 97 | 0x80 = 0xE1
        (65535, "ffff03"),
    ],
)
def test_known_numbers(value: int, written: str) -> None:
    assert write_varint(value).hex() == written
    assert read_varint(bytes.fromhex(written), 0, "number") == (value, len(written) // 2)


@given(st.integers(0, 2**35 - 1), st.binary(max_size=4), st.binary(max_size=4))
def test_round_trip_among_other_bytes(value: int, before: bytes, after: bytes) -> None:
    written = write_varint(value)
    found = read_varint(before + written + after, len(before), "number")
    assert found == (value, len(before) + len(written))


@pytest.mark.parametrize("cut", ["", "80", "ffff"])
def test_a_cut_number_is_named(cut: str) -> None:
    with pytest.raises(TruncatedHeaderError, match="inside the width"):
        read_varint(bytes.fromhex(cut), 0, "width")


@pytest.mark.parametrize("bad", ["8000", "818000", "ffffffffff01", "808080808080"])
def test_padded_and_endless_numbers_are_refused(bad: str) -> None:
    with pytest.raises(MalformedVarintError, match="the width in the header"):
        read_varint(bytes.fromhex(bad), 0, "width")
