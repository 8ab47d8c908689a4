from pathlib import Path

import pytest

from onedpiece.training.data.files import Member, hash_of, is_held_out, split


def members(count: int) -> list[Member]:
    return [Member(f"{i:06d}", Path("a.tar"), 0, 0) for i in range(count)]


def test_share_is_about_right_and_nothing_is_lost() -> None:
    parts = split(members(10_000), 0.05)
    # 500 expected, standard deviation √(10000 · 0.05 · 0.95) = 22
    assert 400 < len(parts.held_out) < 600
    assert sorted(parts.train + parts.held_out) == list(range(10_000))


def test_a_key_stays_where_it_is() -> None:
    few, many = members(100), members(1000)
    held = {few[i].key for i in split(few, 0.1).held_out}
    assert held == {many[i].key for i in split(many, 0.1).held_out if i < 100}


def test_hash_is_the_same_on_every_machine() -> None:
    # sha256("000000") begins with 91 b4 d1 42: 0x91b4 / 0x10000 = 0.5692
    assert not is_held_out("000000", 0.569)
    assert is_held_out("000000", 0.570)


def test_share_zero_holds_nothing_out() -> None:
    assert split(members(10), 0.0).held_out == []


def test_of_few_at_least_one_is_held_out() -> None:
    lowest = min(range(10), key=lambda i: hash_of(f"{i:06d}"))
    assert split(members(10), 1e-6) == ([i for i in range(10) if i != lowest], [lowest])
    assert split(members(1), 1e-6) == ([0], [])


def test_something_has_to_be_left() -> None:
    with pytest.raises(ValueError, match="val_share"):
        split(members(1), 0.9999)
