from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onedpiece.bitstream.packing import pack_fraction, payload_bytes, unpack_fraction

CODE = st.integers(3, 2**18).flatmap(
    lambda base: st.tuples(st.just(base), st.lists(st.integers(0, base - 1), min_size=1, max_size=40))
)


def test_a_known_fraction() -> None:
    # Base 10, digits 1 2 3: V / N^k = 0.123. 1000 values take 2 bytes: ⌈0.123 · 65536⌉ = 8061 = 1F7D.
    assert pack_fraction(np.array([1, 2, 3]), 10).hex() == "1f7d"


def test_a_cut_fraction_says_only_what_is_certain() -> None:
    # 1F alone means [31, 32) / 256 = [0.12109, 0.125): 0.121 to 0.124 agree on the digits 1 2 only.
    assert unpack_fraction(bytes.fromhex("1f"), 10, 3).tolist() == [1, 2]
    # 19 alone means [25, 26) / 256 = [0.0977, 0.1016): 0.0… or 0.1…, so no digit is certain.
    assert unpack_fraction(bytes.fromhex("19"), 10, 3).tolist() == []
    # FF alone means [255, 256) / 256 = [0.996, 1), open above: of 3^5 = 243 values, the last.
    assert unpack_fraction(bytes.fromhex("ff"), 3, 6).tolist() == [2, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("count", "base", "size"),
    [
        (1, 2, 1),
        (8, 2, 1),
        (9, 2, 2),
        (1, 256, 1),
        (1, 257, 2),
        (256, 3000, 370),  # 256 · 11.5507 / 8 = 369.6
        (5, 3, 1),  # 3^5 = 243 ≤ 256
        (6, 3, 2),  # 729
    ],
)
def test_the_size_is_exact(count: int, base: int, size: int) -> None:
    assert payload_bytes(count, base) == size


@given(CODE)
def test_round_trip_in_the_least_number_of_bytes(code: tuple[int, list[int]]) -> None:
    base, indices = code
    payload = pack_fraction(np.array(indices), base)
    assert unpack_fraction(payload, base, len(indices)).tolist() == indices
    assert 256 ** (len(payload) - 1) < base ** len(indices) <= 256 ** len(payload)


@given(CODE)
def test_every_cut_gives_a_true_prefix_and_loses_little(code: tuple[int, list[int]]) -> None:
    base, indices = code
    payload = pack_fraction(np.array(indices), base)
    held = [unpack_fraction(payload[:length], base, len(indices)).tolist() for length in range(len(payload))]
    assert all(tokens == indices[: len(tokens)] for tokens in held)
    assert [len(tokens) for tokens in held] == sorted(len(tokens) for tokens in held)
    assert all(len(tokens) <= 8 * length / log2(base) for length, tokens in enumerate(held))


def test_a_random_code_loses_at_most_a_few_tokens_to_a_cut() -> None:
    indices = np.random.default_rng(0).integers(0, 3000, 256)
    payload = pack_fraction(indices, 3000)
    for length in range(8, len(payload)):
        # A token more is lost only where the next one is within a byte of the edge of its cell.
        assert len(unpack_fraction(payload[:length], 3000, 256)) >= int(8 * length / log2(3000)) - 2
