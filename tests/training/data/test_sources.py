"""Each kind of source gives the same pictures, and names what it cannot read."""

import http.server
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from onedpiece.errors import ShardError
from onedpiece.training.data.sources import (
    EncodedPicture,
    HuggingFaceDataset,
    ParquetShards,
    StreamSource,
    TarShards,
    expand,
)

from .conftest import drawn, encoded

Shards = Callable[..., Path]


def every(source: StreamSource) -> list[EncodedPicture]:
    return [picture for shard in source.shards() for picture in source.read(shard)]


@pytest.fixture
def served(shards: Shards) -> Iterator[str]:
    """The shards' folder over http."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(shards(2, 3)))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_braces_folders_globs_and_lists_name_the_same_shards(shards: Shards) -> None:
    folder = shards(3)
    listed = [str(folder / f"s-{i:03d}.tar") for i in range(3)]
    assert expand(str(folder), "*.tar") == listed
    assert expand(f"{folder}/s-{{000..002}}.tar", "*.tar") == listed
    assert expand(f"{folder}/s-*.tar", "*.tar") == listed
    assert expand("::".join(listed), "*.tar") == listed
    assert expand(listed, "*.tar") == listed
    with pytest.raises(FileNotFoundError, match=r"no \*\.tar at .*nothing"):
        expand(f"{folder}/nothing-*.tar", "*.tar")


def test_a_tar_gives_keys_and_bytes(shards: Shards) -> None:
    pictures = every(TarShards(str(shards(2, 3))))
    assert [picture.key for picture in pictures] == [f"{k:03d}" for k in range(6)]
    assert pictures[4].data == encoded(drawn(4))


def test_pipes_files_and_stores_are_read_as_folders_are(shards: Shards) -> None:
    import fsspec

    folder = shards(2, 3)
    expected = every(TarShards(str(folder)))
    store = fsspec.filesystem("memory")
    for path in folder.iterdir():
        store.pipe(f"/onedpiece/{path.name}", path.read_bytes())
    assert every(TarShards("memory://onedpiece/s-{000..001}.tar")) == expected
    assert every(TarShards(f"pipe:cat {folder}/s-{{000..001}}.tar")) == expected
    assert every(TarShards(f"file:{folder}/s-{{000..001}}.tar")) == expected
    store.rm("/onedpiece", recursive=True)


@pytest.mark.slow
def test_http_is_read_as_folders_are(served: str) -> None:
    assert [picture.key for picture in every(TarShards(f"{served}/s-{{000..001}}.tar"))] == [
        f"{k:03d}" for k in range(6)
    ]
    with pytest.raises(ShardError, match=rf"{served}/gone\.tar cannot be read from its beginning"):
        every(TarShards(f"{served}/gone.tar"))


@pytest.mark.parametrize("url", ["{tmp}/gone.tar", "memory://onedpiece/gone.tar", "pipe:cat {tmp}/gone.tar"])
def test_what_is_not_there_is_named(tmp_path: Path, url: str, capfd: pytest.CaptureFixture[str]) -> None:
    where = url.format(tmp=tmp_path)
    with pytest.raises(ShardError, match=r"gone\.tar cannot be read from its beginning .*on_error to skip"):
        every(TarShards(where))
    capfd.readouterr()  # what cat says


def test_a_cut_tar_gives_what_is_whole_and_is_named(shards: Shards) -> None:
    path = shards(1, 6) / "s-000.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: 512 * 2 * 3 + 600])  # three pictures of two blocks each, and a half
    pictures = TarShards(str(path)).read(str(path))
    assert [next(pictures).key for _ in range(3)] == ["000", "001", "002"]
    with pytest.raises(ShardError, match=r"s-000\.tar cannot be read behind its picture 3 \(ReadError"):
        next(pictures)


@pytest.mark.parametrize("kind", ["bytes", "struct"])
def test_parquet_of_bytes_and_of_hugging_faces_structs(tmp_path: Path, kind: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = [encoded(drawn(k)) for k in range(3)]
    cells = data if kind == "bytes" else [{"bytes": each, "path": f"{k}.png"} for k, each in enumerate(data)]
    pq.write_table(pa.table({"image": cells, "name": ["a", "b", "c"]}), tmp_path / "p.parquet")
    pictures = every(ParquetShards(str(tmp_path)))
    assert [picture.data for picture in pictures] == data
    assert [p.key for p in pictures] == (
        ["0.png", "1.png", "2.png"] if kind == "struct" else ["p/000000", "p/000001", "p/000002"]
    )
    named = every(ParquetShards(str(tmp_path / "p.parquet"), key="name"))
    assert [picture.key for picture in named] == ["a", "b", "c"]
    with pytest.raises(ShardError, match=r"p\.parquet .*has no column 'photo'; there are: image, name"):
        every(ParquetShards(str(tmp_path), column="photo"))


@pytest.mark.slow
def test_hugging_face_datasets_on_disk_and_out_of_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import pyarrow.parquet as pq

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("onedpiece.training.data.sources.VIRTUAL_SHARD", 2)
    data = [encoded(drawn(k)) for k in range(5)]
    rows = datasets.Dataset.from_dict({"image": [{"bytes": each, "path": None} for each in data]})
    rows = rows.cast_column("image", datasets.Image())
    rows.save_to_disk(str(tmp_path / "saved"))
    saved = HuggingFaceDataset(str(tmp_path / "saved"))
    assert len(saved.shards()) == 3
    assert [picture.data for picture in every(saved)] == data
    pq.write_table(rows.data.table, tmp_path / "rows.parquet")
    streamed = HuggingFaceDataset("parquet", data_files=str(tmp_path / "rows.parquet"))
    assert [picture.data for picture in every(streamed)] == data
