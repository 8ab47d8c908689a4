from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onedpiece.bitstream import Code, Tiles, TilesError, TooManyTokensError, TruncatedHeaderError
from onedpiece.bitstream.tiles import order, overlaps, starts, tile_count
from onedpiece.errors import BitstreamError

PRINT = bytes.fromhex("01020304")


def tiled(counts: tuple[int, ...], size: tuple[int, int], side: int = 256, overlap: int = 16) -> Code:
    indices = np.random.default_rng(0).integers(0, 4096, sum(counts))
    return Code(indices, 4096, PRINT, size, Tiles(side, overlap, counts))


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (100, [0]),
        (256, [0]),
        (257, [0, 1]),
        (481, [0, 225]),  # 481 - 256: one gap of 225 ≤ 240
        (496, [0, 240]),  # the most that two tiles cover with 16 to share
        (497, [0, 121, 241]),  # 241 / 2 = 120.5, rounded up
    ],
)
def test_known_starts(length: int, expected: list[int]) -> None:
    assert starts(length, 256, 16) == expected


@given(st.integers(1, 5000), st.integers(2, 600), st.integers(0, 300))
def test_tiles_cover_everything_and_share_enough(length: int, side: int, overlap: int) -> None:
    overlap = min(overlap, side - 1)
    begins = starts(length, side, overlap)
    assert begins[0] == 0
    assert begins[-1] == max(0, length - side)
    assert all(before >= overlap for before, _ in overlaps(begins, side)[1:])
    assert tile_count((length, 1), side, overlap) == len(begins)


def test_the_order_is_all_firsts_then_in_step() -> None:
    # counts 2 and 4: the second of two stands at 1.5/2 = .75; of four, at 1.5/4 = .375, .625, .875
    origin = order(Tiles(256, 16, (2, 4)))
    assert list(zip(origin.tile.tolist(), origin.place.tolist(), strict=True)) == [
        (0, 0), (1, 0), (1, 1), (1, 2), (0, 1), (1, 3),
    ]  # fmt: skip


@given(st.lists(st.integers(1, 300), min_size=1, max_size=30), st.floats(0, 1))
def test_a_prefix_shares_as_the_whole_does(counts: list[int], part: float) -> None:
    origin = order(Tiles(256, 16, tuple(counts)))
    assert sorted(zip(origin.tile.tolist(), origin.place.tolist(), strict=True)) == [
        (tile, place) for tile, count in enumerate(counts) for place in range(count)
    ]
    keep = int(part * len(origin.tile))
    held = np.bincount(origin.tile[:keep], minlength=len(counts))
    for tile, count in enumerate(held.tolist()):
        places = origin.place[:keep][origin.tile[:keep] == tile]
        assert places.tolist() == list(range(count))  # a tile's own tokens are in order
    if keep > 2 * len(counts):
        assert np.all(np.abs(held - np.array(counts) * held.sum() / sum(counts)) <= 2 + len(counts))


def test_the_order_is_exact_for_long_codes() -> None:
    counts = (3000, 2999)  # whose tokens stand less than 2^-20 of the file apart
    places = [
        (Fraction(-1) if place == 0 else Fraction(2 * place + 1, 2 * count), tile, place)
        for tile, count in enumerate(counts)
        for place in range(count)
    ]
    found = order(Tiles(256, 16, counts))
    assert list(zip(found.tile, found.place, strict=True)) == [each[1:] for each in sorted(places)]


def test_known_bytes() -> None:
    # flags SIZE|TILES; 481 = e1 03, 321 = c1 02; side 256 = 80 02, overlap 16 = 10, least 3, spread 2, which
    # takes 2 bits each: 00 10 01 10 = 26
    data = tiled((3, 5, 4, 5), (481, 321)).to_bytes()
    assert data.hex()[: 2 * 17] == "d11d1901020304" + "e103c102" + "8002100302" + "26"
    assert len(data) == 17 + 26  # 17 tokens of 12 bits: 25.5 bytes
    equal = tiled((4, 4, 4, 4), (481, 321)).to_bytes()
    assert len(equal) == 16 + 24  # no spread, no table


@pytest.mark.parametrize("counts", [(3, 5, 4, 5), (1, 1, 1, 1), (256, 1, 256, 77)])
def test_round_trip_and_every_prefix(counts: tuple[int, ...]) -> None:
    code = tiled(counts, (481, 321))
    data = code.to_bytes()
    assert Code.from_bytes(data) == code
    for end in range(len(data)):
        try:
            prefix = Code.from_bytes(data[:end])
        except BitstreamError:
            assert end < 23  # the header has 21, and a token needs 2
            continue
        assert prefix == code[: len(prefix)]
        assert prefix.tiles == code.tiles
    assert code[:3].to_bytes() == data[: len(code[:3].to_bytes()) - 1] + code[:3].to_bytes()[-1:]


def test_a_photo_of_four_thousand_pixels_has_room() -> None:
    code = tiled((256,) * tile_count((6000, 4000), 256, 16), (6000, 4000))
    assert len(code) == 25 * 17 * 256  # ⌈5744/240⌉ + 1 = 25 across, ⌈3744/240⌉ + 1 = 17 down
    assert Code.from_bytes(code.to_bytes()) == code


def test_one_tiles_damage_stays_in_that_tile() -> None:
    code = tiled((9, 12, 7, 30), (481, 321))
    data = bytearray(code.to_bytes())
    start = len(data) - 87  # 58 tokens of 12 bits
    tile = order(code.tiles).tile  # type: ignore[arg-type]
    for byte in range(87):
        data[start + byte] ^= 0xFF
        harmed = np.flatnonzero(Code.from_bytes(bytes(data)).indices != code.indices)
        data[start + byte] ^= 0xFF
        # A byte holds parts of at most two tokens, side by side in the file.
        assert 1 <= len(harmed) <= 2
        assert len(set(tile[harmed].tolist())) <= 2


def test_what_no_file_can_hold_is_refused() -> None:
    with pytest.raises(TilesError, match="overlap by 256"):
        Tiles(256, 256, (1,))
    with pytest.raises(TilesError, match="a side of at most 65535"):
        Tiles(65_536, 16, (1,))
    with pytest.raises(TilesError, match="tiles of 0 to 3 tokens"):
        Tiles(256, 16, (0, 3))
    with pytest.raises(TilesError, match="tiles of 1 to 65537 tokens"):
        Tiles(256, 16, (1, 65_537))
    with pytest.raises(TilesError, match=r"1048577 in all; .* at most 1048576 in all"):  # 16 · 65,536 = 2^20
        Tiles(256, 16, (65_536,) * 16 + (1,))
    with pytest.raises(TilesError, match="found 16385 tiles"):
        Tiles(256, 16, (1,) * 16_385)
    with pytest.raises(TilesError, match="found 3 tiles; expected 4 for 481x321"):
        tiled((1, 2, 3), (481, 321))
    with pytest.raises(BitstreamError, match="tiles need the photo's size"):
        Code(np.array([1]), 1000, PRINT, (481, 321), Tiles(256, 16, (1, 1, 1, 1)))
    good = tiled((3, 5, 4, 5), (481, 321)).to_bytes()
    with pytest.raises(TruncatedHeaderError, match="inside the table of its tiles"):
        Code.from_bytes(good[:16])
    with pytest.raises(TooManyTokensError, match="23 tokens; expected at most 17"):
        Code.from_bytes(good + bytes(9))


def test_a_header_that_asks_for_too_many_tiles_is_refused_at_once() -> None:
    # 65,535 × 2,730 pixels in tiles of one: 178,910,550 of them
    lie = b"\xd1\x1d\x19" + PRINT + bytes.fromhex("ffff03aa15") + bytes.fromhex("0100ff0100")
    with pytest.raises(
        TilesError, match="178910550 tiles of up to 255 tokens"
    ):  # not made first, to be counted
        Code.from_bytes(lie + bytes(50))
    # Tiles of 16 that overlap by 16 would never end.
    endless = b"\xd1\x1d\x19" + PRINT + bytes.fromhex("2020") + bytes.fromhex("10100100")
    with pytest.raises(TilesError, match="overlap by 16"):
        Code.from_bytes(endless + bytes(2))
    # One tile of 1 to 65,537 tokens (17 bits), which has 1.
    lie = b"\xd1\x1d\x19" + PRINT + bytes.fromhex("1010") + bytes.fromhex("100101808004") + bytes(3)
    with pytest.raises(TilesError, match="1 tiles of up to 65537 tokens"):
        Code.from_bytes(lie + bytes(2))
