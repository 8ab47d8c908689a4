"""From somebody's own photos to a head, and from the head to answers: two commands, as a user types them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onedpiece.cli.main import main
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.weights import save

pytest.importorskip("pyarrow")

CONFIG = Path(__file__).parents[2] / "configs" / "head_own.yaml"
KINDS = ("disc", "square", "stripes")
Draw = Callable[[str, int], Any]

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and caches go below the test's folder."""
    monkeypatch.chdir(tmp_path)


def fit(path: str, *words: str) -> None:
    """Run the command of the config's header, for a few steps."""
    steps = ("--trainer.accelerator=cpu", "--trainer.val_check_interval=60", "--data.batch=16", *words)
    assert main(["train-head", "fit", f"--config={CONFIG}", f"--data.path={path}", *steps]) == 0


def answers(capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, Any]]:
    """Return what `onedpiece predict --json` says of each photo with the head that came out."""
    capsys.readouterr()
    head = ("--head", "runs/head_own/head.safetensors", "--json")
    assert main(["predict", *map(str, words), *head]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_ninety_photos_become_a_classifier(shape: Draw, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in KINDS:
        Path("photos", kind).mkdir(parents=True)
        for i in range(30):
            shape(kind, i).image.save(Path("photos", kind, f"{i}.jpg"), quality=90)
    fit("photos", '--model.schedule={"minutes": null, "steps": 40}')
    for kind in KINDS:
        shape(kind, 1000).image.save(f"{kind}.png")
    records = answers(capsys, *(f"{kind}.png" for kind in KINDS), "--tokens", 64)
    assert tuple(record["class"] for record in records) == KINDS, records
    assert all({each["class"] for each in record["top"]} == set(KINDS) for record in records)


@pytest.fixture
def model(small_config: Callable[..., TokenizerConfig], tmp_path: Path) -> Path:
    return save(Tokenizer(small_config()), tmp_path / "model")


def _yolo(shape: Draw) -> None:
    for at, kind in enumerate(KINDS):
        image, (left, top, right, bottom) = shape(kind, at)
        image.save(f"own/images/{kind}.jpg")
        place = (left + right) / 256, (top + bottom) / 192, (right - left) / 128, (bottom - top) / 96
        Path(f"own/labels/{kind}.txt").write_text(" ".join(map(str, (at, *place))))
    Path("own/data.yaml").write_text(f"names: [{', '.join(KINDS)}]")


def _coco(shape: Draw) -> None:
    images, boxes = [], []
    for at, kind in enumerate(KINDS):
        image, (left, top, right, bottom) = shape(kind, at)
        image.save(f"own/images/{kind}.jpg")
        images.append({"id": at, "file_name": f"{kind}.jpg", "width": 128, "height": 96})
        bbox = [left, top, right - left, bottom - top]
        boxes.append({"id": at, "image_id": at, "category_id": at + 1, "bbox": bbox})
    names = [{"id": at + 1, "name": kind} for at, kind in enumerate(KINDS)]
    content = json.dumps({"images": images, "annotations": boxes, "categories": names})
    Path("own/annotations/instances_default.json").write_text(content)


def _masks(shape: Draw) -> None:
    for at, kind in enumerate(KINDS):
        image, (left, top, right, bottom) = shape(kind, at)
        image.save(f"own/images/{kind}.jpg")
        numbers = np.zeros((96, 128), np.uint8)
        numbers[top:bottom, left:right] = at + 1
        Image.fromarray(numbers).save(f"own/masks/{kind}.png")
    Path("own/classes.txt").write_text("\n".join(("ground", *KINDS)))


@pytest.mark.parametrize(
    ("label", "names"),
    [(_yolo, set(KINDS)), (_coco, set(KINDS)), (_masks, {"ground", *KINDS})],
    ids=["yolo", "coco", "masks"],
)
def test_other_labels_become_heads_that_draw(
    label: Callable[[Draw], None],
    names: set[str],
    shape: Draw,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("onedpiece.evaluation.overlay.SURE", 0.0)  # after four steps nothing is sure
    for name in ("images", "labels", "annotations", "masks"):
        Path("own", name).mkdir(parents=True)
    label(shape)
    for name in ("labels", "annotations", "masks"):
        if not any(Path("own", name).iterdir()):
            Path("own", name).rmdir()
    small = (
        "--model.head.width=32",
        "--model.head.layers=1",
        "--model.init_from=null",
        '--model.schedule={"minutes": null, "steps": 4}',
    )
    fit("own", f"--data.model={model}", *small)
    shape("disc", 1000).image.save("fresh.png")
    (record,) = answers(capsys, "fresh.png", "--model", model, "--overlay", "seen.png")
    said = record.get("shares") or {each["class"] for each in record["objects"]}
    assert said
    assert set(said) <= names
    drawn = Image.open("seen.png").convert("RGB")
    assert drawn.width == 128
    shown, fresh = np.asarray(drawn)[:96], np.asarray(Image.open("fresh.png"))
    assert (np.abs(shown.astype(int) - fresh) > 8).any(axis=2).mean() > 0.02  # something was drawn
