import json
from collections.abc import Sequence
from dataclasses import replace
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onedpiece.bitstream import (
    BitstreamError,
    Code,
    EntropyTablesError,
    NoTokensError,
    Tiles,
    TrailingDataError,
)
from onedpiece.bitstream.packing import TOTAL, Tables, no_tables, pack_entropy, unpack_entropy

UNIFORM = tuple([TOTAL // 16] * 16)
HALVES = (TOTAL // 2, TOTAL // 4, TOTAL // 8, TOTAL // 8)
STEEP = (TOTAL - 255, *[1] * 255)


def tables(*digits: Sequence[int], positions: int = 20) -> Tables:
    return Tables((tuple(tuple(table) for table in digits),) * positions)


def test_known_bits() -> None:
    # Values 0, 1, 2, 3 of HALVES have the intervals 0, 10, 110, 111: 0 2 1 3 is 0 110 10 111, nine bits.
    coded = pack_entropy([0, 2, 1, 3], tables(HALVES))
    assert coded is None or len(coded) == 2
    # Sixteen of probability a half are 16 bits, and nothing else is in two bytes.
    assert pack_entropy([0] * 16, tables(HALVES, positions=16)) == b"\x00\x00"
    assert unpack_entropy(b"\x00\x00", tables(HALVES, positions=16)) == [0] * 16


@given(st.lists(st.integers(0, 4095), min_size=1, max_size=20))
def test_round_trip(indices: list[int]) -> None:
    mixed = tables(UNIFORM, STEEP)
    coded = pack_entropy(indices, mixed)
    if coded is not None:
        assert unpack_entropy(coded, mixed) == indices


@given(st.lists(st.integers(0, 4095), min_size=1, max_size=20), st.data())
def test_a_cut_payload_gives_leading_tokens(indices: list[int], data: st.DataObject) -> None:
    mixed = tables(UNIFORM, STEEP)
    coded = pack_entropy(indices, mixed)
    if coded is not None:
        known = unpack_entropy(coded[: data.draw(st.integers(0, len(coded)))], mixed)
        assert known == indices[: len(known)]


@given(st.binary(max_size=60))
def test_noise_is_tokens(noise: bytes) -> None:
    known = unpack_entropy(noise, tables(HALVES, UNIFORM))
    assert len(known) <= 20
    assert all(0 <= index < 64 for index in known)


def test_it_takes_what_the_tables_say() -> None:
    rng = np.random.default_rng(0)
    halved = tables(HALVES, HALVES, positions=256)
    shares = np.array(HALVES) / TOTAL
    digits = rng.choice(4, (256, 2), p=shares)
    bits = -sum(log2(shares[digit]) for digit in digits.ravel())
    coded = pack_entropy((digits[:, 0] + 4 * digits[:, 1]).tolist(), halved)
    assert coded is not None
    assert bits / 8 <= len(coded) <= bits / 8 + 2


def test_the_end_never_reads_as_another_token() -> None:
    # After four values of a sixteenth, the steep table's first value follows nearly every payload.
    steep = Tables(((UNIFORM,),) * 4 + ((tuple([TOTAL - 15] + [1] * 15),),))
    coded = pack_entropy([3, 1, 4, 1], steep)
    assert coded is None or unpack_entropy(coded, steep) == [3, 1, 4, 1]


def test_tables_survive_json_and_have_a_name() -> None:
    mixed = tables(UNIFORM, STEEP)
    again = Tables.from_plain(json.loads(json.dumps(mixed.to_plain())))
    assert again == mixed
    assert again.id == mixed.id != tables(UNIFORM, STEEP, positions=19).id
    assert len(mixed.id) == 2
    assert mixed.codebook_size == 4096
    for other in ({"format": 2}, {"total": 4096}):
        with pytest.raises(ValueError, match="no entropy tables of format 1"):
            Tables.from_plain(mixed.to_plain() | other)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ((), "need positions"),
        ((((TOTAL - 1, 1),), ((TOTAL - 2, 1, 1),)), "as many bits"),
        ((((TOTAL, 0),),), "each 1 or more"),
        ((((TOTAL, 1),),), f"adds up to {TOTAL + 1}"),
    ],
)
def test_tables_that_are_none(positions: tuple[tuple[tuple[int, ...], ...], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tables(positions)
    with pytest.raises(ValueError, match="no entropy tables"):
        Tables.from_plain({"format": 2})


PRINT = bytes.fromhex("01020304")
EIGHT = tuple([8143] * 8 + [7] * 56)  # eight likely values of 64: three bits each
SKEWED = Tables(((EIGHT, EIGHT),) * 256)


def coded(indices: Sequence[int], size: tuple[int, int] | None = None) -> Code:
    return Code(np.array(indices), 4096, PRINT, size)


def skewed(_: bytes) -> Tables:
    return SKEWED


def test_a_file_is_coded_where_that_is_smaller() -> None:
    common, rare = [65, 64 * 7] * 30, [4000, 2777] * 30
    assert coded(common).to_bytes(skewed)[2] == 0x14
    # 60 tokens of six bits and a little are 46 bytes, in place of 90
    assert 7 + 2 + 45 <= len(coded(common).to_bytes(skewed)) <= 7 + 2 + 47
    assert coded(rare).to_bytes(skewed) == coded(rare).to_bytes(no_tables)
    assert coded(common, (481, 321)).to_bytes(skewed)[2] == 0x15
    faithful = replace(coded(common), faithful=True)
    assert faithful.to_bytes(skewed)[2] == 0x94
    assert Code.from_bytes(faithful.to_bytes(skewed), skewed) == faithful


@pytest.mark.slow
@given(st.lists(st.sampled_from([0, 1, 65, 64 * 7 + 5, 4000]), min_size=1, max_size=256))
def test_files_round_trip_and_every_prefix_is_a_code(indices: list[int]) -> None:
    code = coded(indices, (481, 321))
    data = code.to_bytes(skewed)
    assert Code.from_bytes(data, skewed) == code
    for end in range(len(data)):
        try:
            prefix = Code.from_bytes(data[:end], skewed)
        except BitstreamError:
            continue
        assert prefix == code[: len(prefix)]


def test_a_token_beyond_its_positions_codes_stays_plain() -> None:
    # 15² · 17 = 3825 codes in 12 bits: 3824 has a place in the tables, 4000 has none.
    def even(*sizes: int) -> tuple[tuple[int, ...], ...]:
        return tuple((TOTAL // size + TOTAL % size, *[TOTAL // size] * (size - 1)) for size in sizes)

    few = Tables((even(15, 15, 17),) * 8 + (even(63, 65),))
    assert few.codebook_size == 4096
    assert pack_entropy([0, 3824], few) is not None
    assert pack_entropy([0, 4000], few) is None
    assert pack_entropy([0] * 8 + [4000], few) is not None
    code = Code(np.array([0, 0, 0, 4000]), 4096, PRINT)
    assert code.to_bytes(lambda _: few) == code.to_bytes(no_tables)
    assert Code.from_bytes(code.to_bytes(lambda _: few), lambda _: few) == code


def test_other_tables_are_refused_not_misread() -> None:
    data = coded([0] * 60).to_bytes(skewed)
    with pytest.raises(EntropyTablesError, match=r"it takes the tables .* of model 01020304"):
        Code.from_bytes(data, no_tables)
    other = tables(STEEP, HALVES, HALVES, positions=256)
    with pytest.raises(EntropyTablesError, match=f"found {SKEWED.id.hex()}, expected {other.id.hex()}"):
        Code.from_bytes(data, lambda _: other)
    with pytest.raises(TrailingDataError, match="expected at most 1025"):  # 512 digits of two bytes, and one
        Code.from_bytes(data + bytes(2000), skewed)
    with pytest.raises(NoTokensError):
        Code.from_bytes(data[:9], skewed)
    few = tables(UNIFORM, UNIFORM)  # of 256 values, and the file has 4096
    with pytest.raises(EntropyTablesError):
        Code.from_bytes(data[:7] + few.id + data[9:20], lambda _: few)


def test_nothing_may_follow_the_last_token() -> None:
    whole = coded([0] * 256).to_bytes(skewed)
    assert len(Code.from_bytes(whole, skewed)) == 256
    with pytest.raises(TrailingDataError, match="for all 256"):
        Code.from_bytes(whole + b"\0", skewed)


def test_tiles_stay_plain() -> None:
    tiled = Code(np.zeros(40, np.int64), 4096, PRINT, (481, 321), Tiles(256, 16, (10,) * 4))
    assert tiled.to_bytes(skewed)[2] == 0x19
    assert Code.from_bytes(tiled.to_bytes(skewed)) == tiled


def test_fitting_a_budget_counts_coded_bytes() -> None:
    code = coded([65] * 256).fit(100, skewed)
    assert 118 <= len(code) <= 122  # 91 bytes of six bits a token: 121
    assert len(code.to_bytes(skewed)) <= 100
