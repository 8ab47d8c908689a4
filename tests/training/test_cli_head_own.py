"""`onedpiece train-head` on somebody's own photos: whose word the task is, and what does not fit."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onedpiece.heads import load_head
from onedpiece.tokenizer import Tokenizer
from onedpiece.training.cli import head_main
from onedpiece.weights import save

SMALL = """
model:
  head: {width: 32, heads: 2, layers: 1, grid: 2, channels: 8, linear_picture: true, codes: false}
  schedule: {steps: 2}
  counts: [2, 16]
data: {split: val, variants: [plain], batch: 2}
trainer: {accelerator: cpu, devices: 1, log_every_n_steps: 1}
"""


@pytest.fixture
def photos(tmp_path: Path) -> Callable[[str], Path]:
    """Four photos, labelled in one of the formats."""

    def make(kind: str) -> Path:
        folder = tmp_path / kind
        for i in range(4):
            below = f"{'ab'[i % 2]}" if kind == "folders" else "images"
            path = folder / below / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 24), (60 * i, 90, 90)).save(path)
        _label(folder, kind)
        return folder

    return make


def _label(folder: Path, kind: str) -> None:
    if kind == "yolo":
        (folder / "labels").mkdir()
        for i in range(3):
            (folder / "labels" / f"{i}.txt").write_text("1 0.5 0.5 0.5 0.5\n")
        (folder / "classes.txt").write_text("ant\nbee\n")
    elif kind == "masks":
        (folder / "masks").mkdir()
        numbers = np.zeros((24, 32), np.uint8)
        numbers[:, :9] = 4
        for i in range(4):
            Image.fromarray(numbers).save(folder / "masks" / f"{i}.png")
    elif kind == "coco":
        images = [{"id": i, "file_name": f"{i}.png", "width": 32, "height": 24} for i in range(4)]
        boxes = [{"id": i, "image_id": i, "category_id": 5, "bbox": [4, 4, 9, 9]} for i in range(4)]
        categories = [{"id": 5, "name": "cup"}]
        content = {"images": images, "annotations": boxes, "categories": categories}
        (folder / "labels.json").write_text(json.dumps(content))


@pytest.fixture
def words(small_tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    model = save(small_tokenizer, tmp_path / "model")
    return ["fit", "--config=small.yaml", f"--data.model={model}", "--trainer.default_root_dir=run"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "task", "classes"),
    [
        ("folders", "classify", ("a", "b")),
        ("yolo", "detect", ("ant", "bee")),
        ("coco", "detect", ("cup",)),
        ("masks", "segment", ("0", "4")),
    ],
)
def test_the_data_say_what_the_head_is_for(
    photos: Callable[[str], Path], words: list[str], kind: str, task: str, classes: tuple[str, ...]
) -> None:
    words.append(f"--data.path={photos(kind)}")
    head_main(words)
    config = load_head("run/head.safetensors").head.config
    assert (config.task, config.classes) == (task, classes)
    assert len(list(Path("runs/codes").glob(f"{kind}-*.parquet"))) == 1
    head_main([*words, "--ckpt_path=last"])  # it was over, and ends at once
    head_main([*words, f"--model.head.task={task}", "--overwrite"])


def test_another_task_is_refused_before_anything_is_tokenized(
    photos: Callable[[str], Path], words: list[str]
) -> None:
    message = (
        r"folders \(a folder per class\) is labelled for classify, and model\.head\.task is detect; leave"
    )
    with pytest.raises(ValueError, match=message):
        head_main([*words, f"--data.path={photos('folders')}", "--model.head.task=detect"])
    assert not Path("runs").exists()


@pytest.mark.parametrize("path", ["nowhere", "empty"])
def test_a_folder_that_is_none_is_one_line(words: list[str], path: str) -> None:
    Path("empty").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=r"nowhere; set data\.path|empty holds nothing"):
        head_main([*words, f"--data.path={path}"])
