from typing import Any

import pytest

from onedpiece import errors
from onedpiece.bitstream.format import (
    MAGIC,
    MAX_PIXELS,
    Flag,
)
from onedpiece.bitstream.header import Header, check_fingerprint, checked_size, read_header, write_header

PRINT = bytes.fromhex("01020304")
PLAIN = "d11d1001020304"


@pytest.mark.parametrize(
    ("size", "codebook_size", "count", "written"),
    [
        (None, 4096, 64, PLAIN),
        ((481, 321), 4096, 64, "d11d1101020304" + "e103" + "c102"),  # 481 = 3·128 + 97, 321 = 2·128 + 65
        (None, 1024, 64, "d11d1201020304" + "8008"),  # 1024 = 8·128
        (None, 1000, 64, "d11d1201020304" + "e807" + "40"),  # 1000 = 7·128 + 104; the count, 64
        ((1, 1), 16, 300, "d11d1301020304" + "01" + "01" + "10" + "ac02"),
        (None, 128, 7, "d11d1201020304" + "8001" + "07"),  # 7·7 bits are 7 bytes, which would hold 8 tokens
        (None, 256, 7, "d11d1201020304" + "8002"),  # a byte each
    ],
)
def test_known_headers(size: tuple[int, int] | None, codebook_size: int, count: int, written: str) -> None:
    assert write_header(PRINT, size, codebook_size, count).hex() == written
    told = count if codebook_size in (1000, 16, 128) else None
    header = read_header(bytes.fromhex(written) + b"tokens")
    assert header == Header(PRINT, size, codebook_size, told, len(written) // 2)


def test_a_faithful_header_differs_in_one_bit() -> None:
    written = write_header(PRINT, None, 4096, 64, faithful=True)
    assert written.hex() == "d11d9001020304"
    assert read_header(written + b"tokens") == Header(PRINT, None, 4096, None, 7, faithful=True)


def test_the_header_is_seven_bytes_at_the_models_own_size() -> None:
    assert len(write_header(PRINT, None, 4096, 256)) == 7


def test_flags_keep_their_bits_for_ever() -> None:
    assert {flag.name: flag.value for flag in Flag} == {
        "SIZE": 1,
        "CODEBOOK": 2,
        "ENTROPY": 4,
        "TILES": 8,
        "FAITHFUL": 128,
    }
    assert bytes.fromhex("d11d") == MAGIC


def test_the_magic_is_no_text() -> None:
    with pytest.raises(UnicodeDecodeError):
        MAGIC.decode("utf-8")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("", errors.EmptyFileError, "empty"),
        ("68656c6c6f20776f726c64", errors.BadMagicError, r"starts with 68 65 \('hello wo'\), expected d1 1d"),
        ("89504e470d0a1a0a", errors.BadMagicError, "starts with 89 50"),
        ("d1", errors.TruncatedHeaderError, "after 1 bytes"),
        ("d11d", errors.TruncatedHeaderError, "after 2 bytes"),
        ("d11d10010203", errors.TruncatedHeaderError, "after 6 bytes.*expected 7"),
        ("d11d2001020304", errors.UnknownVersionError, "version 2; .* version 1"),
        ("d11d0001020304", errors.UnknownVersionError, "version 0"),
        ("d11d5001020304", errors.UnknownVersionError, "version 5"),  # 101, not 01
        ("d11d140102030405", errors.TruncatedHeaderError, "inside the name of its entropy tables"),
        ("d11d160102030480080506", errors.EntropyTablesError, "the usual codebook and no tiles"),
        ("d11d1d01020304e103c102800210030226aabb", errors.EntropyTablesError, "SIZE.*no tiles"),
        ("d11d1801020304", errors.TilesError, "tiles without the photo's size"),
        ("d11d1101020304", errors.TruncatedHeaderError, "inside the picture's width"),
        ("d11d1101020304e103", errors.TruncatedHeaderError, "inside the picture's height"),
        ("d11d1101020304e103c1", errors.TruncatedHeaderError, "inside the picture's height"),
        ("d11d11010203040001", errors.AbsurdSizeError, "0x1 pixels"),
        ("d11d1101020304ffff03ffff03", errors.AbsurdSizeError, f"65535x65535 .* {MAX_PIXELS} pixels"),
        ("d11d110102030480800401", errors.AbsurdSizeError, "65536x1 pixels"),
        ("d11d110102030401808004", errors.AbsurdSizeError, "1x65536 pixels"),
        ("d11d1101020304e1038000", errors.MalformedVarintError, "picture's height"),
        ("d11d1201020304", errors.TruncatedHeaderError, "inside the codebook's size"),
        ("d11d120102030401", errors.CodebookSizeError, "1 entries; expected 2 to"),
        ("d11d1201020304ffffffff1f", errors.CodebookSizeError, "expected 2 to 4294967296"),
        ("d11d1201020304e807", errors.TruncatedHeaderError, "inside the token count"),
        ("d11d1201020304e80700", errors.NoTokensError, "announces 0 tokens"),
        ("d11d1201020304e807818004", errors.TooManyTokensError, "65537 tokens; expected at most 65536"),
    ],
)
def test_a_bad_header_has_a_name(data: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_header(bytes.fromhex(data))


@pytest.mark.parametrize("size", [(2.5, 3), ("2", 3), (2,), (1, 2, 3), 7])
def test_a_size_is_two_whole_numbers(size: Any) -> None:
    with pytest.raises(errors.BitstreamError, match=r"a size is \(width, height\) in whole pixels; found"):
        checked_size(size)


@pytest.mark.parametrize("fingerprint", ["abcd", b"abc", 7, None])
def test_a_fingerprint_is_four_bytes(fingerprint: Any) -> None:
    with pytest.raises(errors.BitstreamError, match="a fingerprint has 4 bytes; found"):
        check_fingerprint(fingerprint)
