from pathlib import Path

import numpy as np
import pytest

from onedpiece.training.data.cache import cache_name, decoded
from onedpiece.training.data.files import Member, decode, folder_members


def pictures(data: Path) -> list[Member]:
    return folder_members(data, ("astronaut.png", "coffee.png", "rocket.png"))


def test_cache_holds_what_decoding_gives(data: Path, tmp_path: Path) -> None:
    members = pictures(data)
    array = decoded(members, 32, tmp_path / "cache", processes=0).pixels
    assert array.shape == (3, 3, 32, 32)
    assert all(np.array_equal(array[i], decode(member, 32)) for i, member in enumerate(members))


@pytest.mark.slow
def test_processes_fill_the_same_array(data: Path, tmp_path: Path) -> None:
    members = pictures(data)
    alone = decoded(members, 16, tmp_path / "a", processes=0).pixels
    assert np.array_equal(decoded(members, 16, tmp_path / "b", processes=1).pixels, alone)


def test_second_time_reads_the_file(data: Path, tmp_path: Path) -> None:
    members = pictures(data)
    decoded(members, 16, tmp_path, processes=0)
    (path,) = tmp_path.iterdir()
    raw = np.lib.format.open_memmap(path, mode="r+")
    raw[:] = 7
    raw.flush()
    assert (decoded(members, 16, tmp_path, processes=0).pixels == 7).all()


def test_mapping_is_not_written_through(data: Path, tmp_path: Path) -> None:
    members = pictures(data)
    decoded(members, 16, tmp_path, processes=0).pixels[:] = 0
    assert decoded(members, 16, tmp_path, processes=0).pixels.max() > 0


def test_name_follows_size_and_pictures(data: Path) -> None:
    members = pictures(data)
    assert len({cache_name(members, 32), cache_name(members, 16), cache_name(members[:2], 32)}) == 3
