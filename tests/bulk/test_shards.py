"""Shards: whole or not there, with names that are safe and counts that are right."""

from pathlib import Path
from typing import Any

import pytest

from onedpiece.bulk.shards import (
    FileNames,
    finished,
    picture_schema,
    read_counts,
    row_name,
    writing_shard,
)
from onedpiece.bulk.storage import Folder

pytest.importorskip("pyarrow")
ROW = {"key": "a", "width": 1, "height": 2, "file": "a.png", "bytes": 3, "error": None}


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["a.jpg", "b.png"], ["a.odp", "b.odp"]),
        (["a.jpg", "a.png", "a.jpg"], ["a.odp", "a.png.odp", "a.jpg.odp"]),
        (["c/a.jpg", "d/a.jpg"], ["c/a.odp", "d/a.odp"]),
        (["photo.2024", "no ending"], ["photo.2024.odp", "no ending.odp"]),
        (["../../etc/passwd", "/root/x.png"], ["etc/passwd.odp", "root/x.odp"]),
        (["https://host/a.jpg", ".."], ["https/host/a.odp", "picture.odp"]),
        (["a.jpg"] * 4, ["a.odp", "a.jpg.odp", "a.2.odp", "a.3.odp"]),
    ],
)
def test_names_are_safe_and_no_two_alike(keys: list[str], names: list[str]) -> None:
    taken = FileNames()
    assert [taken.take(key, ".odp") for key in keys] == names


def test_names_in_a_webdataset_have_one_dot() -> None:
    taken = FileNames(dotless=True)
    keys = ["s.1/photo.2024", "s.1/photo.2025.jpg", "a.jpg", "a.png", "a.png", "a.png"]
    names = [taken.take(key, ".odp") for key in keys]
    assert names == [
        "s.1/photo_2024.odp",
        "s.1/photo_2025.odp",
        *("a.odp", "a_png.odp", "a_2.odp", "a_3.odp"),
    ]


def test_a_long_name_is_shortened_to_what_a_file_system_takes() -> None:
    taken = FileNames()
    names = {taken.take(f"https://host/{'é' * 300}?token={at}", ".odp") for at in range(3)}
    assert len(names) == 3
    assert max(len(name.split("/")[-1].encode()) for name in names) < 255


@pytest.mark.parametrize("layout", ["parquet", "webdataset", "tree"])
def test_a_shard_appears_with_all_that_belongs_to_it(layout: Any, tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with writing_shard(folder, 7, layout, picture_schema(), None) as shard:
        shard.add([ROW, ROW | {"error": "broken"}], 1)
        shard.add_file("a.jpg", ".png", b"abc")
        assert not (tmp_path / row_name(7, layout)).exists()
    assert finished(folder, layout) == {7}
    expected = {"pictures": 1, "rows": 2, "errors": 1, "tokens": 0, "bytes": 6}
    assert read_counts(folder, 7, layout) == shard.counts == expected
    assert shard.failures == [("a", "broken")]
    files = {"parquet": [], "webdataset": ["00007.tar"], "tree": ["00007/a.png"]}[layout]
    assert all((tmp_path / name).is_file() for name in files)


@pytest.mark.parametrize("layout", ["parquet", "webdataset", "tree"])
def test_a_shard_that_fails_is_not_there(layout: Any, tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))

    def fail() -> None:
        with writing_shard(folder, 7, layout, picture_schema(), None) as shard:
            shard.add([ROW], 1)
            shard.add_file("a.jpg", ".png", b"abc")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert finished(folder, layout) == set()
    assert list(tmp_path.rglob("*.part")) == []
    with writing_shard(folder, 7, layout, picture_schema(), None) as shard:
        shard.add_file("b.jpg", ".png", b"abc")
    left = sorted(path.name for path in tmp_path.rglob("*.png"))
    assert left == (["b.png"] if layout == "tree" else [])  # a.png of the try before is gone
