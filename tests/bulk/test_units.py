"""Inputs become the same units wherever they lie, and units give their pictures back in order."""

import tarfile
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from onedpiece.bulk import reading
from onedpiece.bulk.reading import batches_ahead, read_unit
from onedpiece.bulk.units import Columns, Listing, list_units
from onedpiece.errors import PictureError
from tests.bulk.conftest import Inputs

pa = pytest.importorskip("pyarrow")


def read(listing: Listing) -> dict[str, bytes]:
    found = [(each.key, each.load()) for unit in listing.units for each in read_unit(unit)]
    assert len(dict(found)) == len(found)
    return dict(found)


@pytest.mark.parametrize("kind", ["folder", "tars", "parquet"])
@pytest.mark.parametrize("shard_size", [1, 7, 20, 100])
def test_every_picture_is_in_one_unit(inputs: Inputs, kind: str, shard_size: int) -> None:
    listing = list_units([str(getattr(inputs, kind))], shard_size)
    assert read(listing) == inputs.pictures
    assert [unit.number for unit in listing.units] == list(range(len(listing.units)))
    assert listing.pictures == len(inputs.pictures)
    counts = [len(list(read_unit(unit))) for unit in listing.units]
    assert counts == [unit.pictures for unit in listing.units]
    assert max(counts) <= (
        10 + shard_size if kind == "parquet" else shard_size
    )  # row groups of ten stay whole


def test_sizes_of_units(inputs: Inputs) -> None:
    # 48 files; tars of 12; row groups of ten, the last of eight
    for kind, sizes in (("folder", [20, 20, 8]), ("tars", [12] * 4), ("parquet", [20, 20, 8])):
        units = list_units([str(getattr(inputs, kind))], 20).units
        assert [unit.pictures for unit in units] == sizes, kind


def test_the_digest_is_of_what_there_is_not_of_where(inputs: Inputs, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.symlink_to(inputs.folder)
    digest = list_units([str(inputs.folder)], 10).digest()
    assert list_units([f"{moved}/"], 10).digest() == digest
    assert list_units([str(inputs.folder)], 11).digest() != digest
    assert list_units([str(inputs.folder / "a")], 10).digest() != digest
    one, other = sorted((inputs.folder / "a").iterdir())[:2]  # as many pictures, of other names
    assert list_units([str(one)], 10).digest() != list_units([str(other)], 10).digest()


def test_tars_are_taken_before_what_lies_beside_them(inputs: Inputs, tmp_path: Path) -> None:
    (tmp_path / "0.tar").symlink_to(inputs.tars / "000.tar")
    (tmp_path / "0.parquet").write_bytes(b"what img2dataset leaves")
    (tmp_path / "preview.png").write_bytes(b"")
    listing = list_units([str(tmp_path)], 100)
    assert [unit.source for unit in listing.units] == [str(tmp_path / "0.tar")]
    assert listing.notes == [f"{tmp_path}: 2 files left out beside 1 tars"]


def test_a_compressed_tar_is_one_unit(inputs: Inputs, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(inputs.folder, "./")
    (tmp_path / "notes.json.gz").write_bytes(b"no tar")
    listing = list_units([str(tmp_path)], 5)
    assert len(listing.units) == 1
    assert listing.pictures is None
    assert read(listing) == inputs.pictures


def test_long_names_in_tars_keep_their_headers(tmp_path: Path) -> None:
    names = [f"{'x' * 150}/{at}.png" for at in range(5)]
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, BytesIO(b"abc"))
    assert list(read(list_units([str(tmp_path / "a.tar")], 2))) == names


def test_a_tar_that_ends_early_keeps_what_is_whole(inputs: Inputs, tmp_path: Path) -> None:
    whole = (inputs.tars / "000.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    items = [each for unit in list_units([str(tmp_path / "cut.tar")], 100).units for each in read_unit(unit)]
    assert 2 < len(items) < 12
    assert {each.key: each.load() for each in items[:-1]}.items() <= inputs.pictures.items()
    with pytest.raises(PictureError, match=r"cut\.tar is damaged behind its picture \d+"):
        items[-1].load()


def test_a_damaged_parquet_file_keeps_what_is_whole(inputs: Inputs, tmp_path: Path) -> None:
    from pyarrow import parquet

    group = parquet.ParquetFile(inputs.parquet).metadata.row_group(1).column(1)
    data = bytearray(inputs.parquet.read_bytes())
    start = group.dictionary_page_offset or group.data_page_offset
    data[start : start + group.total_compressed_size] = b"\xff" * group.total_compressed_size
    (tmp_path / "hurt.parquet").write_bytes(data)
    (unit,) = list_units([str(tmp_path / "hurt.parquet")], 100).units
    items, keys = list(read_unit(unit)), list(inputs.pictures)
    hurt = [f"hurt.parquet#{row}" for row in range(10, 20)]
    assert [each.key for each in items] == [*keys[:10], *hurt, *keys[20:]]
    assert items[20].load() == inputs.pictures[keys[20]]
    with pytest.raises(PictureError, match=r"row group 1 of .*hurt\.parquet is damaged: "):
        items[10].load()


def test_columns_of_hugging_face_and_of_others(inputs: Inputs, tmp_path: Path) -> None:
    from pyarrow import parquet

    keys, data = list(inputs.pictures)[:3], list(inputs.pictures.values())[:3]
    structs = [{"bytes": each, "path": key} for key, each in zip(keys, data, strict=True)]
    parquet.write_table(pa.table({"image": structs, "label": [0, 1, 2]}), tmp_path / "hf.parquet")
    assert read(list_units([str(tmp_path / "hf.parquet")], 10)) == dict(zip(keys, data, strict=True))
    two = pa.table({"left": pa.array(data, pa.binary()), "right": pa.array(data, pa.binary())})
    parquet.write_table(two, tmp_path / "two.parquet")
    with pytest.raises(
        ValueError, match="no column of encoded pictures; name one with --column, of: left, right"
    ):
        list_units([str(tmp_path / "two.parquet")], 10)
    found = read(list_units([str(tmp_path / "two.parquet")], 10, Columns("right")))
    assert list(found) == [f"two.parquet#{row}" for row in range(3)]
    with pytest.raises(ValueError, match="has no column 'nom' of keys; name one of: image, label"):
        list_units([str(tmp_path / "hf.parquet")], 10, Columns(key="nom"))


def test_rows_are_named_by_the_path_of_their_file(inputs: Inputs, tmp_path: Path) -> None:
    from pyarrow import parquet

    table = pa.table({"image": pa.array([next(iter(inputs.pictures.values()))], pa.binary())})
    for name in "ab":
        (tmp_path / name).mkdir()
        parquet.write_table(table, tmp_path / name / "0.parquet")
    assert list(read(list_units([str(tmp_path)], 10))) == ["a/0.parquet#0", "b/0.parquet#0"]
    assert list(read(list_units([str(tmp_path / "a")], 10))) == ["0.parquet#0"]
    with pytest.raises(ValueError, match=r"would both have the key 0\.parquet; give the folder above them"):
        list_units([str(tmp_path / "a"), str(tmp_path / "b")], 10)


@pytest.mark.parametrize("out", ["out", "a/out", "./a/../out/"])
def test_outputs_inside_of_the_inputs_are_none(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, data in list(inputs.pictures.items())[:3]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    before = list_units(["."], 2, out=out)
    Path(out).mkdir()
    (Path(out) / "00000.parquet").write_bytes(b"tokens")
    (Path(out) / "00000.jpg").write_bytes(b"a picture of another layout")
    after = list_units(["."], 2, out=out)
    assert (after.digest(), after.notes) == (before.digest(), [])
    assert after.pictures == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder, "holds neither pictures nor"),
        (lambda folder: _written(folder / "x.parquet", b"x" * 20), r"x\.parquet is no Parquet file"),
    ],
)
def test_what_holds_nothing_is_named(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list_units([str(make(tmp_path))], 10)


def test_what_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("nothing", "nothing.tar", "nothing.txt"):
        with pytest.raises(FileNotFoundError, match=f"No such file or directory.*{name}"):
            list_units([name], 10)


def test_addresses_are_absolute(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(inputs.folder)
    (unit,) = list_units(["a"], 100).units
    assert unit.addresses[0] == str(inputs.folder / "a" / unit.keys[0])


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_two_files_of_one_key_are_refused(inputs: Inputs) -> None:
    first = inputs.folder / "a" / "00000.jpg"
    with pytest.raises(ValueError, match=r"would both have the key 00000\.jpg; give the folder above"):
        list_units([str(inputs.folder / "a"), str(first)], 10)
    with pytest.raises(ValueError, match="shard_size is 0"):
        list_units([str(first)], 0)


def test_two_files_of_many_row_groups_are_two(inputs: Inputs, tmp_path: Path) -> None:
    from pyarrow import parquet

    table = pa.table({"image": pa.array(list(inputs.pictures.values())[:4], pa.binary())})
    for name in ("a.parquet", "b.parquet"):
        parquet.write_table(table, tmp_path / name, row_group_size=2)
    listing = list_units([str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")], 2)
    assert [(unit.name, unit.start, unit.stop) for unit in listing.units] == [
        (name, at, at + 1) for name in ("a.parquet", "b.parquet") for at in (0, 1)
    ]
    keys = [f"{name}.parquet#{row}" for name in "ab" for row in range(4)]
    assert list(read(listing)) == keys


def test_what_macos_leaves_in_tars_is_no_picture(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("x/._a.png", "x/a.png", "x/a.txt"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, BytesIO(b"abc"))
    listing = list_units([str(tmp_path / "a.tar")], 5)
    assert (listing.pictures, list(read(listing))) == (1, ["x/a.png"])


@pytest.mark.parametrize(
    ("address", "error", "tries"),
    [
        ("http://host/a.jpg", OSError("busy"), 3),
        ("http://host/a.jpg", FileNotFoundError("gone"), 1),
        ("/photos/a.jpg", OSError("damaged"), 1),
    ],
)
def test_a_server_that_fails_is_asked_again(
    address: str, error: OSError, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fail(address: str) -> Any:
        asked.append(address)
        raise error

    monkeypatch.setattr(reading, "open_file", fail)
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(type(error), match=str(error)):
        reading._load(address)
    assert asked == [address] * tries
    monkeypatch.setattr(reading, "open_file", lambda _: BytesIO(b"abc") if len(asked) > 4 else fail(address))
    if tries == 3:
        asked *= 2  # the sixth time it answers
        assert reading._load(address) == b"abc"


def test_a_list_of_addresses_over_http(inputs: Inputs, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(inputs.folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}"
    keys = list(inputs.pictures)[:3]
    (tmp_path / "list.txt").write_text("# three\n" + "".join(f"{root}/{key}\n" for key in keys))
    try:
        found = read(list_units([str(tmp_path / "list.txt")], 2))
    finally:
        server.shutdown()
        server.server_close()
    assert found == {f"{root}/{key}": inputs.pictures[key] for key in keys}


def test_batches_come_in_order_and_the_next_are_under_way(inputs: Inputs) -> None:
    (unit,) = list_units([str(inputs.folder)], 100).units
    begun: list[str] = []

    def prepare(encoded: Any) -> str:
        begun.append(encoded.key)
        return str(encoded.key)

    batches = batches_ahead(read_unit(unit), 5, prepare, 2)
    first = next(batches)
    assert len(begun) >= 5
    assert [*first, *(key for batch in batches for key in batch)] == list(inputs.pictures)
