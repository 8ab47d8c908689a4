"""Shards out of folders: sizes, keys, labels, what is broken, and going on after an interruption."""

import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from time import sleep

import pytest
from PIL import Image

from onedpiece.errors import PictureError
from onedpiece.training.data import prepare as module
from onedpiece.training.data.files import Member, tar_members
from onedpiece.training.data.labelled import read_labels
from onedpiece.training.data.prepare import PrepareConfig, Shard, find_members, prepare

from .conftest import drawn

SMALL = PrepareConfig(size=16, shards=2, format="png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five photos in two classes, and a file that is none."""
    for k, name in enumerate(("a/0.png", "a/1.png", "b/2.png", "b/3.jpg", "b/4.webp")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn(k + 1, 64, 32).save(path)
    (tmp_path / "photos" / "b" / "5.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def contents(out: Path) -> dict[str, Image.Image]:
    found = {}
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                file = tar.extractfile(info)
                assert file is not None
                found[info.name] = Image.open(BytesIO(file.read()))
    return found


def test_shards_hold_scaled_pictures_under_their_keys(photos: Path, tmp_path: Path) -> None:
    done = prepare([photos], tmp_path / "out", SMALL)
    pictures = contents(tmp_path / "out")
    assert list(pictures) == ["a/0.png", "a/1.png", "b/2.png", "b/3.png", "b/4.png"]
    assert {picture.size for picture in pictures.values()} == {(32, 16)}  # the short side is 16
    assert pictures["b/2.png"].convert("RGB").getpixel((3, 3)) == (12, 12, 12)
    assert (done.pictures, len(done.shards), done.kept) == (5, 2, 0)
    assert len(done.broken) == 1
    assert "b/5.png is no readable picture" in done.broken[0]
    assert [member.key for member in tar_members(tmp_path / "out")] == ["a/0", "a/1", "b/2", "b/3", "b/4"]


def test_small_photos_stay_and_jpeg_is_the_default(photos: Path, tmp_path: Path) -> None:
    prepare([photos], tmp_path / "out", PrepareConfig(size=128))
    pictures = contents(tmp_path / "out")
    assert {(picture.size, picture.format) for picture in pictures.values()} == {((64, 32), "JPEG")}
    # One sample of each colour a pixel: (identifier, horizontal, vertical factor, table) of the three.
    assert {layer[1:3] for picture in pictures.values() for layer in picture.layer} == {(1, 1)}
    assert len(list((tmp_path / "out").glob("*.tar"))) == 1


def test_labels_are_the_first_folders(photos: Path, tmp_path: Path) -> None:
    prepare([photos], tmp_path / "out", PrepareConfig(size=16, labels=True))
    labels = read_labels(tmp_path / "out" / "index.tsv")
    assert labels["a/0"] == "a"
    assert labels["b/3"] == "b"
    assert "b/5" not in labels  # which is no picture


def test_a_photo_without_a_folder_has_no_label(photos: Path, tmp_path: Path) -> None:
    drawn(7).save(photos / "stray.png")
    with pytest.raises(ValueError, match=r"stray\.png lies in no folder that would be its label"):
        prepare([photos], tmp_path / "out", PrepareConfig(size=16, labels=True))
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_goes_on(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, write_shard, written = tmp_path / "out", module.write_shard, list[str]()

    def interrupted(path: Path, *rest: object) -> module.Shard:
        if written:
            raise KeyboardInterrupt
        written.append(path.name)
        return write_shard(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare([photos], out, SMALL)
    monkeypatch.setattr(module, "write_shard", write_shard)
    stamp = (out / "000000.tar").stat().st_mtime_ns
    seen: list[tuple[int, int]] = []
    done = prepare([photos], out, SMALL, progress=lambda *now: seen.append(now))
    assert (done.kept, done.pictures, len(done.broken)) == (1, 5, 1)
    assert (out / "000000.tar").stat().st_mtime_ns == stamp
    assert seen == [(3, 6), (6, 6)]
    assert sorted(path.name for path in out.iterdir()) == ["000000.tar", "000001.tar", "shards.json"]


def test_a_run_goes_on_whose_first_shard_was_the_last(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two processes the second had written its shard, and nothing had come back yet."""
    out, write_shard = tmp_path / "out", module.write_shard

    def second_only(path: Path, members: list[Member], *rest: object) -> module.Shard:
        write_shard(path.with_name("000001.tar"), members, *rest)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_shard", second_only)
    with pytest.raises(KeyboardInterrupt):
        prepare([photos], out, SMALL)
    monkeypatch.setattr(module, "write_shard", write_shard)
    assert prepare([photos], out, SMALL).pictures == 5
    assert list(contents(out)) == ["a/0.png", "a/1.png", "b/2.png", "b/3.png", "b/4.png"]


def test_other_photos_or_options_do_not_pass_for_the_same(photos: Path, tmp_path: Path) -> None:
    prepare([photos], tmp_path / "out", SMALL)
    with pytest.raises(ValueError, match="holds shards of other photos or options"):
        prepare([photos], tmp_path / "out", PrepareConfig(size=17, shards=2, format="png"))
    drawn(40, 64, 33).save(photos / "a" / "0.png")  # of another size in bytes
    with pytest.raises(ValueError, match="holds shards of other photos or options"):
        prepare([photos], tmp_path / "out", SMALL)
    (tmp_path / "out" / "shards.json").unlink()
    with pytest.raises(ValueError, match=r"holds other shards \(000000\.tar\)"):
        prepare([photos], tmp_path / "out", SMALL)


def test_a_broken_picture_stops_where_it_is_asked_to(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"b/5\.png is no readable picture"):
        prepare([photos], tmp_path / "out", SMALL, on_error="stop")
    assert [path.name for path in (tmp_path / "out").glob("*.tar")] == ["000000.tar"]


def test_names_that_collide_and_inputs_that_are_not_there(photos: Path, tmp_path: Path) -> None:
    drawn(9).save(photos / "a" / "0.webp")
    keys = [member.key for member in find_members([photos])]
    assert keys[:2] == ["a/0", "a/0_webp"]
    prepare([photos], tmp_path / "out", SMALL)
    two = [member.key for member in find_members([photos, tmp_path / "out"])]
    assert {key.split("/")[0] for key in two} == {"photos", "out"}
    with pytest.raises(ValueError, match=r"would both be 'photos/a/0'|would both be"):
        find_members([photos, photos])
    with pytest.raises(FileNotFoundError, match="there is no nowhere"):
        find_members([Path("nowhere")])


def test_tars_beside_photos_are_not_taken_for_all(photos: Path, tmp_path: Path) -> None:
    prepare([photos], tmp_path / "out", SMALL)
    (tmp_path / "out" / "000000.tar").rename(photos / "backup.tar")
    with pytest.raises(ValueError, match="photos holds both tars and photos; name the tars, or a folder"):
        find_members([photos])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no picture lies in .*empty or below it"):
        find_members([tmp_path / "empty"])


def test_a_damaged_tar_is_read_as_far_as_it_goes_where_that_is_asked_for(
    photos: Path, tmp_path: Path
) -> None:
    prepare([photos], tmp_path / "out", PrepareConfig(size=16, shards=1, format="png"))
    tar = tmp_path / "out" / "000000.tar"
    tar.write_bytes(tar.read_bytes()[:3000])
    assert prepare([tar], tmp_path / "again", SMALL).pictures < 5
    with pytest.raises(ValueError, match="is a damaged or compressed tar"):
        prepare([tar], tmp_path / "never", SMALL, on_error="stop")


def test_keys_have_no_dots_in_their_last_part(tmp_path: Path) -> None:
    """WebDataset ends a sample's key at the first dot of its name."""
    for name in ("v1.2/photo.2024.png", "v1.2/photo.2025.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        drawn(1).save(tmp_path / "in" / name)
    keys = [member.key for member in find_members([tmp_path / "in"])]
    assert keys == ["v1.2/photo_2024", "v1.2/photo_2025"]


def test_a_photo_that_the_format_cannot_hold_is_left_out_by_name(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20000, 40)).save(photos / "a" / "wide.png")
    done = prepare([photos], tmp_path / "out", PrepareConfig(size=40, shards=1, format="webp"))
    assert done.pictures == 5
    assert any("wide.png cannot be stored as webp at 20000x40" in line for line in done.shards[0].broken)


@pytest.mark.parametrize("option", [{"size": 0}, {"shards": 0}, {"quality": 101}, {"format": "gif"}])
def test_numbers_out_of_range_are_named(option: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        PrepareConfig(**option)  # type: ignore[arg-type]


@pytest.mark.slow
def test_processes_write_the_same_shards(photos: Path, tmp_path: Path) -> None:
    alone = prepare([photos], tmp_path / "a", SMALL)
    both = prepare([photos], tmp_path / "b", SMALL, processes=2)
    assert both == alone
    for name in ("000000.tar", "000001.tar"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert json.loads((tmp_path / "b" / "shards.json").read_text())["config"]["size"] == 16


def test_what_ends_a_run_does_not_wait_for_shards_that_have_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(40):
        drawn(k + 1, 16, 16).save(tmp_path / f"{k:02}.png")
    begun: list[Path] = []

    def write_shard(path: Path, *_: object) -> Shard:
        begun.append(path)
        if path.name == "000000.tar":
            raise PictureError("no picture")
        sleep(0.05)
        return Shard(path.name, 1, ())

    monkeypatch.setattr(module, "write_shard", write_shard)
    monkeypatch.setattr(module, "ProcessPoolExecutor", lambda count, mp_context: ThreadPoolExecutor(count))
    with pytest.raises(PictureError):
        prepare([tmp_path], tmp_path / "out", PrepareConfig(size=16, shards=40), processes=2)
    assert len(begun) < 20


def test_an_index_without_keys_is_named(tmp_path: Path) -> None:
    (tmp_path / "index.tsv").write_text("file\tlabel\na\tcat\n")
    with pytest.raises(ValueError, match=r"no labelled row; .* columns key and label"):
        read_labels(tmp_path / "index.tsv")
