"""`onedpiece predict` with untrained heads: what it says is noise, how it says it is not."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from onedpiece.cli.predict import answer_record
from onedpiece.evaluation.overlay import SURE
from onedpiece.heads import Detections, HeadConfig, Mask, Task, build_head, save_head
from onedpiece.tokenizer import Tokenizer

PRINT = bytes.fromhex("0badcafe")  # the tiny model's, as in conftest
CLASSES = ("cat", "person", "rocket")


@pytest.fixture
def heads(tiny: Tokenizer, tmp_path: Path) -> dict[str, Path]:
    """A file of an untrained head for each task."""
    tasks: tuple[Task, ...] = ("classify", "segment", "depth", "detect")
    made = {}
    for task in tasks:
        torch.manual_seed(0)
        grid = 0 if task == "classify" else 4
        config = HeadConfig(task=task, classes=CLASSES, width=32, layers=1, heads=1, grid=grid)
        made[task] = save_head(build_head(config, tiny), tmp_path / "heads" / f"{task}.safetensors", PRINT)
    return made


def test_a_line_for_each_photo(cli: Any, photos: Path, heads: dict[str, Path]) -> None:
    result = cli("predict", photos, "--head", heads["classify"], "--tokens", 5)
    assert (result.status, result.err) == (0, "")
    lines = result.out.decode().splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{photos}/a.png", f"{photos}/b.png"]
    assert all(line.endswith("; from 5 tokens") for line in lines)
    assert all(any(name in line for name in CLASSES) for line in lines)


def test_json_of_a_class(cli: Any, photos: Path, heads: dict[str, Path]) -> None:
    record = json.loads(cli("predict", photos / "a.png", "--head", heads["classify"], "--json").out)
    assert record["file"] == str(photos / "a.png")
    assert record["tokens"] == 16
    assert record["class"] == record["top"][0]["class"]
    assert sum(each["probability"] for each in record["top"]) == pytest.approx(1)  # three classes in all


def test_a_file_answers_as_its_photo(cli: Any, photos: Path, heads: dict[str, Path]) -> None:
    assert cli("encode", photos / "b.png", "--tokens", 7).status == 0
    words = ("--head", heads["classify"], "--tokens", 5, "--json")  # of the file's 7
    of_photo, of_code = (
        json.loads(cli("predict", photos / f"b{end}", *words).out) for end in (".png", ".odp")
    )
    assert of_photo | {"file": ""} == of_code | {"file": ""}
    piped = json.loads(cli("predict", "-", *words, stdin=(photos / "b.odp").read_bytes()).out)
    assert piped | {"file": ""} == of_code | {"file": ""}


def test_answers_come_in_the_order_of_the_inputs(cli: Any, photos: Path, heads: dict[str, Path]) -> None:
    assert cli("encode", photos / "b.png", "--tokens", 7).status == 0
    names = [str(photos / name) for name in ("a.png", "b.odp", "b.png")]
    lines = cli("predict", *names, "--head", heads["classify"]).out.decode().splitlines()
    assert [line.split(": ")[0] for line in lines] == names


def test_standard_input_may_be_a_photo(cli: Any, photos: Path, heads: dict[str, Path]) -> None:
    result = cli("predict", "-", "--head", heads["classify"], stdin=(photos / "a.png").read_bytes())
    assert result.status == 0
    assert result.out.decode().startswith("standard input: ")


def test_shares_of_a_mask_add_up(cli: Any, photos: Path, heads: dict[str, Path]) -> None:
    record = json.loads(cli("predict", photos / "b.png", "--head", heads["segment"], "--json").out)
    assert set(record["shares"]) <= set(CLASSES)
    assert sum(record["shares"].values()) == pytest.approx(1, abs=0.01)  # shares below 0.005 go unnamed


def test_classes_of_a_mask_are_the_largest_first_and_not_the_rarest() -> None:
    mask = torch.full((40, 10), 2, dtype=torch.uint8)
    mask[0, 0] = 0  # a 400th of the pixels: less than half a per cent
    mask[1:11] = 1
    record = answer_record(Mask(mask), CLASSES, (10, 40))
    assert list(record["shares"]) == ["rocket", "person"]
    assert list(record["shares"].values()) == pytest.approx([0.7475, 0.25])  # 299 and 100 of 400


def test_objects_are_those_that_are_likely() -> None:
    boxes = torch.tensor([[0.0, 0.5, 0.25, 1.0], [0.0, 0.0, 1.0, 1.0]])
    found = Detections(boxes, torch.tensor([1, 0]), torch.tensor([SURE, SURE - 0.01]))
    (only,) = answer_record(found, CLASSES, (200, 100))["objects"]
    assert (only["class"], only["box"]) == ("person", [0.0, 50.0, 50.0, 100.0])


def test_depth_says_its_range(cli: Any, photos: Path, heads: dict[str, Path]) -> None:
    record = json.loads(cli("predict", photos / "b.png", "--head", heads["depth"], "--json").out)
    assert 0 < record["nearest"] <= record["median"] <= record["farthest"]


def test_objects_are_in_the_photos_pixels(
    cli: Any, photos: Path, heads: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onedpiece.evaluation.overlay.SURE", 0.0)
    record = json.loads(cli("predict", photos / "b.png", "--head", heads["detect"], "--json").out)
    boxes = torch.tensor([each["box"] for each in record["objects"]])  # b.png has 451x300 pixels
    assert boxes.shape[1] == 4
    assert bool((boxes >= 0).all())
    assert 1 < float(boxes[:, 2].max()) <= 451
    assert 1 < float(boxes[:, 3].max()) <= 300


@pytest.mark.parametrize("task", ["classify", "segment", "depth", "detect"])
def test_overlays_have_the_photos_width(
    cli: Any, photos: Path, heads: dict[str, Path], tmp_path: Path, task: str
) -> None:
    assert cli("encode", photos / "b.png", "--tokens", 7).status == 0
    (photos / "a.png").unlink()
    result = cli("predict", photos / "b.odp", "--head", heads[task], "--overlay", tmp_path / "seen.png")
    assert (result.status, result.err) == (0, "")
    drawn = Image.open(tmp_path / "seen.png")
    assert drawn.width == 451
    assert drawn.height >= 300
    assert cli("predict", photos, "--head", heads[task], "--overlay", tmp_path / "all").status == 0
    assert {path.name for path in (tmp_path / "all").iterdir()} == {"b.png.png", "b.odp.png"}


def test_an_overlay_on_standard_output(cli: Any, photos: Path, heads: dict[str, Path]) -> None:
    result = cli("predict", photos / "a.png", "--head", heads["segment"], "--overlay", "-")
    assert Image.open(io.BytesIO(result.out)).width == 256
    assert result.err.startswith(f"{photos}/a.png: ")


def test_many_overlays_go_to_a_folder(cli: Any, photos: Path, heads: dict[str, Path], tmp_path: Path) -> None:
    words = ("--head", heads["detect"], "--overlay", tmp_path / "seen", "--json")
    records = [json.loads(line) for line in cli("predict", photos, *words).out.splitlines()]
    assert [record["overlay"] for record in records] == [
        str(tmp_path / "seen" / name) for name in ("a.png", "b.png")
    ]
    assert {path.name for path in (tmp_path / "seen").iterdir()} == {"a.png", "b.png"}


def test_bad_inputs_are_named_and_the_rest_goes_on(cli: Any, photos: Path, heads: dict[str, Path]) -> None:
    (photos / "c.odp").write_bytes(b"hello")
    result = cli("predict", photos, "--head", heads["classify"])
    assert result.status == 1
    assert result.err.startswith(f"onedpiece: {photos}/c.odp: ")
    assert result.err.count("\n") == 1
    assert len(result.out.splitlines()) == 2


def test_a_file_of_another_model_is_refused(cli: Any, photos: Path, heads: dict[str, Path]) -> None:
    assert cli("encode", photos / "a.png", "--model", "other").status == 0
    result = cli("predict", photos / "a.odp", "--head", heads["classify"])
    assert result.status == 2
    assert "the file was made by model feedbeef, this is 0badcafe (tiny)" in result.err


def test_a_tiled_file_is_refused(cli: Any, photos: Path, heads: dict[str, Path]) -> None:
    assert cli("encode", photos / "b.png", "--tiles", "--tokens", 8).status == 0
    result = cli("predict", photos / "b.odp", "--head", heads["classify"])
    assert result.status == 2
    assert "the file is cut into tiles" in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--head", "missing.safetensors"), "missing.safetensors: No such file or directory"),
        (("--head", "clasify"), "no head 'clasify': it is no file, and the names are: classify, "),
        (("--head", "a.png"), "a.png is damaged or no head"),
        (("--head", "HEAD", "--tokens", 17), "tokens is 17; tiny takes 1 to 16"),
        (
            ("--head", "HEAD", "--model", "other"),
            "reads codes of code space 0badcafe, and other makes feedbeef",
        ),
    ],
)
def test_bad_options_are_one_line(
    cli: Any,
    photos: Path,
    heads: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[object, ...],
    message: str,
) -> None:
    monkeypatch.chdir(photos)
    given = [heads["classify"] if word == "HEAD" else word for word in words]
    result = cli("predict", "b.png", *given)
    assert (result.status, result.out) == (2, b"")
    assert message in result.err
    assert result.err.count("\n") == 1


def test_a_reducer_goes_into_the_head(cli: Any, photos: Path, heads: dict[str, Path]) -> None:
    words = ("predict", photos / "a.png", "--head", heads["segment"], "--json")
    plain, whole, half = (
        json.loads(cli(*words, *more).out)
        for more in ((), ("--retokenize", "mctf", "--keep", 1), ("--retokenize", "tome", "--keep", 0.5))
    )
    assert plain == whole
    assert half.keys() == plain.keys()
    wrong = cli(*words, "--retokenize", "mctg")
    assert (wrong.status, wrong.err) == (
        2,
        "onedpiece: --retokenize is 'mctg'; choose one of mctf, imagepiece, tome\n",
    )
    assert cli(*words, "--keep", 0.5).status == 2
