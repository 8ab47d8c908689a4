"""Files appear whole or not at all, on every file system alike."""

from pathlib import Path

import pytest

from onedpiece.bulk.storage import Folder, find_files, is_address, is_folder, open_file, resolve

pytest.importorskip("pyarrow")
pytest.importorskip("fsspec")


@pytest.fixture(params=["local", "file", "memory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {
        "local": str(tmp_path / "out"),
        "file": f"file://{tmp_path}/out",
        "memory": f"memory://{tmp_path.name}/out",
    }[request.param]


def test_a_file_is_there_when_its_block_ends_well(address: str) -> None:
    folder = Folder(address)
    assert folder.names() == []
    with folder.writing("a/b.bin") as stream:
        stream.write(b"abc")
        assert folder.read("a/b.bin") is None
    assert folder.read("a/b.bin") == b"abc"
    with folder.writing("a/b.bin") as stream:  # takes the older one's place
        stream.write(b"de")
    with open_file(f"{address}/a/b.bin") as file:
        assert bytes(file.read()) == b"de"
    assert (folder.folders(), folder.names("a")) == (["a"], ["b.bin"])


def test_an_error_leaves_nothing(address: str) -> None:
    folder = Folder(address)

    def fail() -> None:
        with folder.writing("x.bin") as stream:
            stream.write(b"abc")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert folder.names() == []


def test_what_a_kill_leaves_is_removed_and_nothing_else(address: str) -> None:
    folder = Folder(address)
    for name in (f".{'0' * 16}.part", "_rows/.0123456789abcdef.part", ".part", "x.part", "_rows/y"):
        with folder.writing(name):
            pass
    folder.remove_partial("_rows")
    assert (folder.names(), folder.names("_rows")) == ([".part", "x.part"], ["y"])
    folder.remove("_rows")
    folder.remove("never there")
    assert folder.folders() == []


def test_listings_are_alike(address: str) -> None:
    folder = Folder(address)
    for name in ("b/2.JPG", "b/1.png", "a.webp", "c.txt", ".hidden/x.png", "b/.x.png"):
        with folder.writing(name):
            pass
    endings = frozenset({".jpg", ".png", ".webp"})
    found = find_files(address, endings, lambda line: None)
    assert [each.name for each in found] == ["a.webp", "b/1.png", "b/2.JPG"]
    for each in found:
        with open_file(each.address) as file:
            assert file.read() == b""
    apart = find_files(address, endings, lambda line: None, without=f"{address}/b/")
    assert [each.name for each in apart] == ["a.webp"]
    assert find_files(address, endings, lambda line: None, without=f"{address}b") == found
    assert is_folder(address)
    assert not is_folder(found[0].address)


def test_schemes() -> None:
    assert is_address("s3://bucket/key")
    assert not is_address("C:\\photos")
    assert not is_address("photos/a.png")
    place = resolve("s3://bucket/key?region=us-east-1")
    assert (place.system.type_name, place.path) == ("s3", "bucket/key")
    with pytest.raises(ValueError, match="nope://x cannot be opened: "):
        resolve("nope://x")
    with pytest.raises(ValueError, match="https://host/x cannot be written to; name a folder"):
        Folder("https://host/x")
