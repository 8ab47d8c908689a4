import copy
import io
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onedpiece import errors
from onedpiece.bitstream import BitstreamError, Code, Tiles

PRINT = bytes.fromhex("0badcafe")
SIZES = (2, 3, 16, 255, 256, 257, 1000, 1024, 3000, 4095, 4096, 4097, 64000, 2**18, 2**32 - 5, 2**32)


@st.composite
def codes(draw: st.DrawFn) -> Code:
    codebook_size = draw(st.sampled_from(SIZES) | st.integers(2, 2**20))
    indices = draw(st.lists(st.integers(0, codebook_size - 1), min_size=1, max_size=40))
    size = draw(st.none() | st.tuples(st.integers(1, 9000), st.integers(1, 9000)))
    fingerprint, faithful = draw(st.binary(min_size=4, max_size=4)), draw(st.booleans())
    return Code(indices, codebook_size, fingerprint, size, faithful=faithful)  # type: ignore[arg-type]


def code_of(*indices: int, codebook_size: int = 4096, size: tuple[int, int] | None = None) -> Code:
    return Code(np.array(indices), codebook_size, PRINT, size)


# Regenerate these on purpose only: they are the files that people keep.
GOLDEN = [
    # 1 = 001, 4095 = fff, 2 = 002 and four zero bits
    (code_of(1, 4095, 2), "d11d100badcafe" + "001fff0020"),
    (code_of(1, 4095, 2, size=(481, 321)), "d11d110badcafe" + "e103c102" + "001fff0020"),
    # the highest bit of the third byte: to be shown as it is
    (replace(code_of(1, 4095, 2), faithful=True), "d11d900badcafe" + "001fff0020"),
    (
        replace(code_of(1, 4095, 2, size=(481, 321)), faithful=True),
        "d11d910badcafe" + "e103c102" + "001fff0020",
    ),
    # 1024: 10 bits, 0000000001 1111111111 = 00 7f f0
    (code_of(1, 1023, codebook_size=1024), "d11d120badcafe" + "8008" + "007ff0"),
    # 1000: V = 1·10^6 + 999·10^3 + 2 = 1999002 of 10^9, 4 bytes: ⌈1999002·2^32 / 10^9⌉ = 8585649 = 8301b1
    (code_of(1, 999, 2, codebook_size=1000), "d11d120badcafe" + "e807" + "03" + "008301b1"),
    # 2: a bit a token, and the count, for 0xb0 could hold eight
    (code_of(1, 0, 1, 1, codebook_size=2), "d11d120badcafe" + "02" + "04" + "b0"),
]


@pytest.mark.parametrize(("code", "written"), GOLDEN)
def test_golden_files(code: Code, written: str) -> None:
    assert code.to_bytes().hex() == written
    assert Code.from_bytes(bytes.fromhex(written)) == code


@given(codes())
@example(Code(np.arange(256), 4096, PRINT))
def test_round_trip(code: Code) -> None:
    data = code.to_bytes()
    assert Code.from_bytes(data) == code
    header = len(data) - _payload(len(code), code.codebook_size)
    assert header == 7 or code.size is not None or code.codebook_size != 4096


@given(codes())
def test_every_prefix_is_the_code_of_a_prefix_or_has_a_named_error(code: Code) -> None:
    data = code.to_bytes()
    header = len(data) - _payload(len(code), code.codebook_size)
    for end in range(header):
        with pytest.raises((errors.EmptyFileError, errors.TruncatedHeaderError)):
            Code.from_bytes(data[:end])
    held = [_held(data[:end]) for end in range(header, len(data))]
    assert all(prefix == code[: len(prefix)] for prefix in held if prefix)
    lengths = [len(prefix) if prefix else 0 for prefix in held]
    assert lengths == sorted(lengths)
    if code.codebook_size & (code.codebook_size - 1) == 0:
        width = code.codebook_size.bit_length() - 1
        assert lengths == [min(len(code), 8 * length // width) for length in range(len(held))]


def test_faithful_is_part_of_a_code_and_of_its_prefixes() -> None:
    sharp = code_of(*range(40), size=(481, 321))
    faithful = replace(sharp, faithful=True)
    assert not sharp.faithful
    assert sharp != faithful
    assert len({sharp, faithful, replace(faithful)}) == 2
    size = len(faithful.to_bytes())
    assert size == len(sharp.to_bytes())  # a bit of what was there
    for prefix in (
        faithful[:7],
        faithful.first(7),
        faithful.fit(21),
        Code.from_bytes(faithful.to_bytes()[:21]),
    ):
        assert prefix.faithful
    for again in (pickle.loads(pickle.dumps(faithful)), copy.deepcopy(faithful)):
        assert again == faithful
        assert again.faithful
    tiled = Code(np.arange(40), 4096, PRINT, (481, 321), Tiles(256, 16, (10,) * 4), faithful=True)
    assert tiled.to_bytes()[2] == 0x99
    assert Code.from_bytes(tiled.to_bytes()) == tiled
    assert Code.from_bytes(tiled.to_bytes()[:-9]).faithful


@given(codes(), st.integers(1, 40))
def test_a_cut_code_has_a_file_of_its_own(code: Code, keep: int) -> None:
    cut = code[:keep]
    assert len(cut) == min(keep, len(code))
    assert cut.indices.tolist() == code.indices.tolist()[:keep]
    assert Code.from_bytes(cut.to_bytes()) == cut


@given(st.binary(max_size=60), st.booleans(), st.integers(0, 3))
def test_noise_is_a_code_or_a_named_error(noise: bytes, start_right: bool, flags: int) -> None:
    data = bytes.fromhex("d11d") + bytes([16 | flags]) + noise if start_right else noise
    try:
        code = Code.from_bytes(data)
    except BitstreamError:
        return
    assert Code.from_bytes(code.to_bytes()) == code


def test_promised_sizes() -> None:
    tokens = np.arange(64)
    assert len(Code(tokens, 4096, PRINT).to_bytes()) == 7 + 96
    assert len(Code(tokens, 4096, PRINT, (481, 321)).to_bytes()) == 7 + 4 + 96
    assert len(Code(np.arange(256), 3000, PRINT).to_bytes()) == 7 + 2 + 2 + 370  # 256·log2(3000)/8 = 369.6


def test_slicing_is_truncation_and_nothing_else() -> None:
    code = code_of(5, 6, 7, size=(30, 20))
    assert code[:2] == code_of(5, 6, size=(30, 20))
    assert code[:-1] == code[:2]
    assert code[:99] == code[:] == code
    for cut in (slice(1, None), slice(None, None, 2), slice(None, None, -1)):
        with pytest.raises(ValueError, match="only a prefix"):
            code[cut]
    with pytest.raises(errors.NoTokensError, match="keep 1 to 3"):
        code[:0]
    with pytest.raises(TypeError, match=r"code\.indices\[i\]"):
        code[0]  # type: ignore[index]


def test_first_is_never_less_than_asked_for() -> None:
    code = code_of(5, 6, 7)
    assert code.first(2) == code[:2]
    assert code.first(3) == code
    for count in (0, 4, -1):
        with pytest.raises(ValueError, match=f"tokens is {count}; this code has 1 to 3"):
            code.first(count)


@given(codes(), st.integers(0, 120))
def test_fit_is_the_longest_prefix_that_fits(code: Code, max_bytes: int) -> None:
    sizes = [len(code[:k].to_bytes()) for k in range(1, len(code) + 1)]
    fitting = [k for k, size in enumerate(sizes, 1) if size <= max_bytes]
    if fitting:
        assert len(code.fit(max_bytes)) == max(fitting)
    else:
        with pytest.raises(ValueError, match=f"of one token of this code takes {sizes[0]}"):
            code.fit(max_bytes)


def test_codes_compare_and_hash_by_what_they_hold() -> None:
    code = code_of(1, 2)
    others = [
        code_of(1, 3),
        code_of(1),
        code_of(1, 2, codebook_size=8192),
        code_of(1, 2, size=(9, 9)),
        Code(code.indices, 4096, b"abcd"),
    ]
    assert code == code_of(1, 2)
    assert len({code, code_of(1, 2), *others}) == 6
    assert code != "code"
    assert all(code != other for other in others)


def test_a_code_cannot_be_changed() -> None:
    mine = np.array([1, 2, 3])
    code = Code(mine, 4096, PRINT)
    mine[0] = 9
    assert code.indices.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        code.indices[0] = 9
    with pytest.raises(AttributeError):
        code.size = (1, 1)  # type: ignore[misc]


def test_repr_says_what_matters() -> None:
    assert repr(code_of(1, 2, size=(481, 321))) == "<Code: 2 tokens of 4096, 481x321, model 0badcafe>"
    assert repr(code_of(1)) == "<Code: 1 token of 4096, model's own size, model 0badcafe>"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"indices": [0, 4096]}, errors.IndexOutsideCodebookError, "token 1 is 4096; expected 0 to 4095"),
        ({"indices": [-1]}, errors.IndexOutsideCodebookError, "token 0 is -1"),
        ({"indices": []}, errors.NoTokensError, "at least 1"),
        (
            {"indices": np.zeros(65_537, int)},
            errors.TooManyTokensError,
            "65537 tokens; expected at most 65536",
        ),
        ({"indices": [[1, 2]]}, BitstreamError, r"shape \(1, 2\)"),
        ({"indices": [1.0]}, BitstreamError, "float64; expected integers"),
        ({"indices": [True]}, BitstreamError, "bool; expected integers"),
        ({"codebook_size": 1}, errors.CodebookSizeError, "1 entries"),
        ({"codebook_size": 2**32 + 1}, errors.CodebookSizeError, "expected 2 to 4294967296"),
        ({"fingerprint": b"abc"}, BitstreamError, "4 bytes; found 3"),
        ({"size": (0, 5)}, errors.AbsurdSizeError, "0x5"),
        ({"size": (65_536, 1)}, errors.AbsurdSizeError, "65536x1"),
        ({"size": (5993, 29_861)}, errors.AbsurdSizeError, "178956970 pixels"),  # three more
    ],
)
def test_what_no_file_can_hold_is_refused(
    fields: dict[str, object], error: type[Exception], message: str
) -> None:
    good: dict[str, object] = {"indices": [1], "codebook_size": 4096, "fingerprint": PRINT, "size": None}
    with pytest.raises(error, match=message):
        Code(**(good | fields))  # type: ignore[arg-type]


def test_too_long_a_payload_is_refused_before_it_is_unpacked() -> None:
    header = bytes.fromhex("d11d100badcafe")
    assert len(Code.from_bytes(header + bytes(98_304))) == 65_536
    with pytest.raises(errors.TooManyTokensError, match="65537 tokens; expected at most 65536"):
        Code.from_bytes(header + bytes(98_306))
    with pytest.raises(errors.TooManyTokensError):
        Code.read(io.BytesIO(header + bytes(10_000_000)))


@pytest.mark.parametrize("codebook_size", [2, 16, 1000])
def test_bytes_after_a_counted_payload_are_refused(codebook_size: int) -> None:
    data = code_of(1, 0, 1, codebook_size=codebook_size).to_bytes()
    with pytest.raises(errors.TrailingDataError, match="3 tokens of this codebook take fewer"):
        Code.from_bytes(data + b"\0")


def test_reading_stops_where_no_file_goes_on() -> None:
    endless = _Endless()
    with pytest.raises(errors.TooManyTokensError):
        Code.read(endless)  # type: ignore[arg-type]
    assert endless.asked < 4_300_000  # 2^20 tokens of four bytes, and the header


class _Endless:
    asked = 0

    def read(self, count: int) -> bytes:
        self.asked += count
        return (bytes.fromhex("d11d100badcafe") + bytes(count))[:count]


def _held(data: bytes) -> Code | None:
    try:
        return Code.from_bytes(data)
    except errors.NoTokensError:
        return None


def _payload(count: int, codebook_size: int) -> int:
    """⌈k·log2(N)/8⌉: the fewest bytes with as many values as k tokens."""
    size = 0
    while 256**size < codebook_size**count:
        size += 1
    return size


def test_a_file_of_94_bytes_pickles_to_less_than_1_kb() -> None:
    code = code_of(*range(58))
    assert len(code.to_bytes()) == 94  # 7 + 87
    assert len(pickle.dumps(code)) < 1000
    assert len(pickle.dumps(code_of(*range(256)))) < 1000  # two bytes a token


@given(codes())
def test_pickles_and_copies_are_equal_and_read_only(code: Code) -> None:
    for other in (pickle.loads(pickle.dumps(code)), copy.deepcopy(code)):
        assert other == code
        assert other.indices.dtype == np.int64
        assert not other.indices.flags.writeable


def test_a_code_is_its_tokens_in_order() -> None:
    assert list(code_of(3, 1, 2)) == [3, 1, 2]
    assert 1 in code_of(3, 1, 2)


def test_save_and_open(tmp_path: Path) -> None:
    code = code_of(1, 4095, 2, size=(481, 321))
    code.save(tmp_path / "a.odp")
    assert (tmp_path / "a.odp").read_bytes() == code.to_bytes()
    assert Code.open(tmp_path / "a.odp") == Code.open(str(tmp_path / "a.odp")) == code
    with (tmp_path / "a.odp").open("rb") as older:
        code[:1].save(tmp_path / "a.odp")
        assert older.read() == code.to_bytes()  # replaced, not written over: nobody reads half of either
