"""The workers inside the actors: rows that decode to what the codec itself gives."""

from collections.abc import Callable
from io import BytesIO
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.bulk import encode as encoding
from onedpiece.bulk.decode import Decoder, code_of
from onedpiece.bulk.encode import Encoder, crop_boxes
from onedpiece.bulk.options import DecodeOptions, EncodeOptions
from onedpiece.bulk.shards import Shard
from onedpiece.bulk.units import Unit, list_units
from onedpiece.codec import Codec
from onedpiece.codec.view import view_named
from onedpiece.codes import ShardInfo
from onedpiece.errors import BulkError
from onedpiece.metrics.pixel import image_psnr
from onedpiece.rate.target import RateTarget
from onedpiece.weights import load
from tests.bulk.conftest import Inputs, rows_of

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def codec(model: Path) -> Codec:
    return load(model)


@pytest.fixture
def encode(model: Path, inputs: Inputs, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Tokenize the first 24 pictures of the folder in the test's process, and return the rows."""

    def run(out: str = "out", source: Path | None = None, **options: Any) -> list[dict[str, Any]]:
        worker = Encoder(str(tmp_path / out), str(model), EncodeOptions(**options), 7, 1)
        for unit in list_units([str(source or inputs.folder / "a")], 16).units:
            worker.work(unit)
        return rows_of(tmp_path / out)

    return run


def sound(rows: list[dict[str, Any]], inputs: Inputs) -> list[tuple[dict[str, Any], Image.Image]]:
    return [
        (row, Image.open(BytesIO(inputs.pictures[f"a/{row['key']}"])).convert("RGB"))
        for row in rows
        if row["error"] is None
    ]


@pytest.mark.parametrize("options", [{}, {"crops": 1}, {"target": RateTarget(psnr=9.0)}, {"score": "psnr"}])
def test_a_large_jpeg_keeps_its_size_in_its_row_and_all_pixels_where_they_count(
    options: dict[str, Any], encode: Any, codec: Codec, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    large = Image.open(data / "chelsea.png").convert("RGB").resize((1600, 1200))
    large.save(tmp_path / "in" / "a.jpg", quality=95)
    (row,) = encode(source=tmp_path / "in", **options)
    assert (row["width"], row["height"]) == (1600, 1200)
    box = row["box"]
    assert box == [0, 0, 1600, 1200] or options.get("crops")
    whole = Image.open(tmp_path / "in" / "a.jpg").crop(box)
    expected = codec.encode(whole).indices[: row["count"]]
    same = (row["tokens"] == expected).mean()
    assert same == 1 if options else same > 0.7


@pytest.mark.parametrize("target", [{}, {"tokens": 5}, {"max_bytes": 20}, {"bpp": 0.05}, {"psnr": 15.0}])
def test_rows_are_what_the_codec_gives(
    target: dict[str, Any], encode: Any, inputs: Inputs, codec: Codec
) -> None:
    rows = encode(target=RateTarget(**target), best_effort=True)
    pairs = sound(rows, inputs)
    assert len(rows) == 24
    assert 20 < len(pairs) <= 24
    for row, image in pairs:
        try:
            code = codec.encode(image, **target, tiles=False, best_effort=True)
        except ValueError as error:  # no file is so small
            pytest.fail(str(error))
        assert row["tokens"] == code.indices.tolist()
        assert (row["count"], row["bytes"]) == (len(code), len(code.to_bytes()))
        assert (row["width"], row["height"], row["box"]) == (*image.size, [0, 0, *image.size])
        assert row["code_space"] == codec.fingerprint.hex()
        assert (row["score"] is None) == ("psnr" not in target)


def test_a_target_out_of_reach_is_the_rows_error(encode: Any, inputs: Inputs) -> None:
    rows = encode(target=RateTarget(psnr=90.0))
    (example, *_) = [row for row in rows if row["width"]]
    assert "out of reach: the best is" in example["error"]
    assert (example["tokens"], example["count"], example["box"] is None) == (None, 0, False)
    rows = encode("small", target=RateTarget(max_bytes=3))
    assert "max_bytes is 3; the file of one token" in rows[0]["error"]


def test_a_score_is_that_of_the_faithful_picture(encode: Any, inputs: Inputs, codec: Codec) -> None:
    for row, image in sound(encode(target=RateTarget(tokens=8), score="psnr"), inputs):
        decoded = codec.decode(codec.encode(image, tokens=8), sharpness=0.0)
        assert row["score"] == pytest.approx(image_psnr(image, decoded))


def test_crops_are_rows_of_their_own(encode: Any, inputs: Inputs, codec: Codec) -> None:
    rows = encode(target=RateTarget(tokens=8), crops=3)
    pairs = sound(rows, inputs)
    boxes = {(row["key"], tuple(row["box"])) for row, _ in pairs}
    assert len(boxes) == len(pairs) > 60
    for row, image in pairs[::5]:
        code = codec.encode(image.crop(row["box"]), tokens=8)
        assert row["tokens"] == code.indices.tolist()
        assert (row["width"], row["height"]) == image.size


def test_crops_are_those_of_the_views() -> None:
    left, top, right, bottom = view_named("crop2", "k").box
    box = (int(left * 100), int(top * 50), round(right * 100), round(bottom * 50))
    assert crop_boxes("k", (100, 50), 2)[1] == box
    assert crop_boxes("k", (100, 50), 0) == [(0, 0, 100, 50)]


def test_a_damaged_picture_that_can_be_read_has_a_warning(
    encode: Any, inputs: Inputs, data: Path, tmp_path: Path
) -> None:
    file = BytesIO()
    Image.open(data / "chelsea.png").convert("RGB").save(file, "JPEG")
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "cut.jpg").write_bytes(file.getvalue()[:-500])
    (row,) = encode(source=folder)
    assert (row["count"], row["error"]) == (16, None)
    assert row["warning"] == "the file ends early; some pixels may be missing"


@pytest.mark.parametrize("layout", ["webdataset", "tree"])
def test_files_beside_the_rows_are_those_codes(
    layout: str, encode: Any, codec: Codec, tmp_path: Path
) -> None:
    import tarfile

    rows = encode(target=RateTarget(tokens=6), layout=layout)
    names = {f"{Path(row['key']).stem}.odp": row for row in rows if row["error"] is None}
    files = {}
    if layout == "tree":
        files = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("[0-9]*/*.odp")}
    for path in (tmp_path / "out").glob("*.tar"):
        with tarfile.open(path) as tar:
            files |= {each.name: tar.extractfile(each).read() for each in tar}  # type: ignore[union-attr]
    assert files.keys() == names.keys()
    for name, data in files.items():
        code = Code.from_bytes(data)
        codec.check_code(code)
        assert (code.indices.tolist(), len(data)) == (names[name]["tokens"], names[name]["bytes"])


def decode(model: Path, source: Path, out: Path, **options: Any) -> Shard:
    unit = Unit(0, "parquet", str(source))
    return Decoder(str(out), str(model), DecodeOptions(**options), 7, 1).work(unit)


@pytest.mark.parametrize("target", [{"tokens": 9}, {"psnr": 15.0}])
def test_rows_decode_to_the_codecs_pictures(
    target: dict[str, Any], encode: Any, inputs: Inputs, codec: Codec, model: Path, tmp_path: Path
) -> None:
    rows = encode(target=RateTarget(**target), best_effort=True)
    shard = decode(model, tmp_path / "out" / "00000.parquet", tmp_path / "back")
    assert shard.counts["rows"] == 16
    for row, image in sound(rows[:16], inputs):
        code = codec.encode(image, **target, tiles=False, best_effort=True)
        found = Image.open(tmp_path / "back" / "00000" / f"{Path(row['key']).stem}.png")
        assert found.tobytes() == codec.decode(code).tobytes()
    failed = {row["key"]: row["error"] for row in rows[:16] if row["error"]}
    assert dict(shard.failures) == failed


def test_fewer_tokens_and_crops_and_other_formats(encode: Any, model: Path, tmp_path: Path) -> None:
    rows = encode(target=RateTarget(tokens=9), crops=2)
    shard = decode(model, tmp_path / "out" / "00000.parquet", tmp_path / "back", tokens=2, ending=".webp")
    made = sorted(path.name for path in (tmp_path / "back" / "00000").iterdir())
    first = Path(rows[0]["key"]).stem
    assert made[:2] == [f"{first}.jpg.webp", f"{first}.webp"]
    assert len(made) == shard.counts["rows"] - shard.counts["errors"]
    # two tokens or nine: the second row has fewer bytes with more tokens left out
    whole = decode(model, tmp_path / "out" / "00000.parquet", tmp_path / "whole", ending=".webp")
    assert shard.counts["bytes"] < whole.counts["bytes"]


def test_a_picture_that_the_format_cannot_hold_is_a_row_with_its_error(
    encode: Any, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (20000, 40)).save(tmp_path / "in" / "wide.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "in" / "plain.png")
    encode(source=tmp_path / "in", target=RateTarget(tokens=2))
    shard = decode(model, tmp_path / "out" / "00000.parquet", tmp_path / "back", ending=".webp")
    assert [path.name for path in (tmp_path / "back" / "00000").iterdir()] == ["plain.webp"]
    ((key, error),) = shard.failures
    assert key == "wide.png"
    assert error.startswith("20000x40 pixels in WEBP: ")


def test_a_codebook_beyond_16_bits_is_refused(
    small_codec: Callable[..., Codec], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    large = small_codec(fsq_grades=((16, (512, 512)),))
    monkeypatch.setattr("onedpiece.bulk.encode.load", lambda name, device, sharp: large)
    with pytest.raises(BulkError, match="tiny has 262144 codes; a row holds 65536"):
        Encoder(str(tmp_path), "x", EncodeOptions(), 8, 1)


def test_a_score_without_end_is_none_in_its_row() -> None:
    assert [encoding._finite(score) for score in (1.5, inf, -inf, nan)] == [1.5, None, None, None]


def test_files_of_a_quality_are_shown_faithfully_as_they_were_measured() -> None:
    row = {"tokens": [1, 2], "code_space": "61626364", "box": [10, 20, 110, 70]}
    for faithful in (True, False):
        code = code_of(row, ShardInfo("61626364", 4096, 16, 32, faithful))
        assert (code.faithful, code.size, code.fingerprint) == (faithful, (100, 50), b"abcd")
    own = code_of(row | {"box": [0, 0, 32, 32]}, ShardInfo("61626364", 4096, 16, 32, False))
    assert own.size is None
