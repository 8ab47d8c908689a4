"""A folder is one run's: it goes on with the same inputs, model and options, and names what differs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onedpiece.bulk.manifest import NAME, Manifest, begin, finish
from onedpiece.bulk.shards import picture_schema, writing_shard
from onedpiece.bulk.storage import Folder
from onedpiece.errors import OtherRunError

pytest.importorskip("pyarrow")
MANIFEST = Manifest(
    "encode",
    {"digest": "d1", "units": 3, "pictures": 5},
    {"name": "ti-256", "code_space": "aa", "digest": "m1"},
    {"tokens": 32, "psnr": None, "crops": 0},
    "parquet",
    {"python": "3.11"},
)


def write(folder: Folder, number: int) -> None:
    with writing_shard(folder, number, "parquet", picture_schema(), None) as shard:
        shard.add([], 2)


def test_the_same_run_goes_on(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "out"))
    assert begin(folder, MANIFEST) == set()
    write(folder, 1)
    (tmp_path / "out" / ".00002.tries").write_text("3")
    (tmp_path / "out" / ".0123456789abcdef.part").write_text("half")
    renamed = replace(MANIFEST, model=MANIFEST.model | {"name": "/copy"}, versions={"python": "3.12"})
    assert begin(folder, renamed) == {1}
    assert sorted(folder.names()) == ["00001.parquet", NAME]
    write(folder, 0)
    assert finish(folder, renamed, [0, 1])["pictures"] == 4
    plain = json.loads((tmp_path / "out" / NAME).read_text())
    assert (plain["state"], plain["counts"]["pictures"]) == ("finished", 4)
    assert (plain["versions"], plain["begun_with"]) == ({"python": "3.12"}, {"python": "3.11"})


def test_a_finished_run_is_tidy_and_keeps_what_it_was_begun_with(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "out"))
    begin(folder, MANIFEST)
    write(folder, 0)
    (tmp_path / "out" / ".0123456789abcdef.part").write_text("of a worker that died")
    for version in ("3.12", "3.13"):
        later = replace(MANIFEST, versions={"python": version})
        begin(folder, later)
        finish(folder, later, [0])
    assert sorted(folder.names()) == ["00000.parquet", NAME]
    assert json.loads((tmp_path / "out" / NAME).read_text())["begun_with"] == {"python": "3.11"}


def test_what_a_dead_worker_left_goes_when_the_run_ends(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "out"))
    begin(folder, MANIFEST)
    write(folder, 0)
    (tmp_path / "out" / ".0123456789abcdef.part").write_text("half")
    finish(folder, MANIFEST, [0])
    assert sorted(folder.names()) == ["00000.parquet", NAME]


def test_anew_begins_without_the_trees_of_before(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "out"))
    tree = replace(MANIFEST, layout="tree")
    begin(folder, tree)
    for name in ("00000/a.odp", "00012/b.odp", "_rows/00000.parquet", "1/mine.txt", "mine/a.txt"):
        with folder.writing(name):
            pass
    assert begin(folder, tree, overwrite=True) == set()
    assert folder.folders() == ["1", "mine"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"name": "x", "code_space": "bb", "digest": "m1"}}, "model code_space 'aa', not 'bb'"),
        ({"model": {"name": "x", "code_space": "aa", "digest": "m2"}}, "model digest 'm1', not 'm2'"),
        ({"input": {"digest": "d1", "units": 3, "pictures": 6}}, "input pictures 5, not 6"),
        ({"options": {"tokens": 64, "psnr": None, "crops": 0}}, "options tokens 32, not 64"),
        ({"options": {"tokens": 32, "psnr": None, "crops": 2}}, "options crops 0, not 2"),
        ({"layout": "tree"}, "layout parquet, not tree"),
        ({"task": "decode"}, "task encode, not decode"),
    ],
)
def test_another_run_is_refused_by_what_differs(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = Folder(str(tmp_path / "out"))
    begin(folder, MANIFEST)
    write(folder, 1)
    with pytest.raises(OtherRunError, match=f"was begun with {message}: go on as it was begun.*--overwrite"):
        begin(folder, replace(MANIFEST, **changes))
    assert begin(folder, MANIFEST) == {1}
    (tmp_path / "out" / "mine.txt").write_text("stays")
    assert begin(folder, replace(MANIFEST, **changes), overwrite=True) == set()
    assert sorted(folder.names()) == [NAME, "mine.txt"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"mine")
    for overwrite in (False, True):
        with pytest.raises(OtherRunError, match="holds files, and no run to go on with; name a new folder"):
            begin(Folder(str(tmp_path)), MANIFEST, overwrite=overwrite)
    assert (tmp_path / "a.parquet").read_bytes() == b"mine"


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"format": 99}'):
        (tmp_path / NAME).write_text(text)
        with pytest.raises(OtherRunError, match=r"_manifest\.json cannot be read; start anew"):
            begin(Folder(str(tmp_path)), MANIFEST)
