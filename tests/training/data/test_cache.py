import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from onedpiece.training.data import cache
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


def test_more_pictures_than_a_task_takes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = pictures(data)
    whole = decoded(members, 16, tmp_path / "a", processes=0).pixels
    monkeypatch.setattr(cache, "_CHUNK", 2)
    assert np.array_equal(decoded(members, 16, tmp_path / "b", processes=0).pixels, whole)


def test_a_file_that_was_changed_is_decoded_anew(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    shutil.copy(data / "coffee.png", path)
    names = []
    for stamp in (10**9, 2 * 10**9):
        os.utime(path, ns=(stamp, stamp))
        names.append(cache_name(folder_members(tmp_path), 16))
    assert names[0] != names[1]


def test_name_follows_size_and_pictures(data: Path) -> None:
    members = pictures(data)
    assert len({cache_name(members, 32), cache_name(members, 16), cache_name(members[:2], 32)}) == 3


def test_what_a_killed_run_could_not_read_is_looked_at_again(data: Path, tmp_path: Path) -> None:
    members = folder_members(data, ("astronaut.png", "coffee.png"))
    (tmp_path / f"{cache_name(members, 16)}.skipped").write_text("0")
    assert decoded(members, 16, tmp_path, processes=0, on_error="skip").skipped == ()
