"""`onedpiece evaluate downstream` as a person types it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import models
from torchvision.transforms.functional import pil_to_tensor

from onedpiece.evaluation.downstream import tasks
from onedpiece.weights.third_party import Pretrained


@pytest.fixture(autouse=True)
def _no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real network with random weights, which says class 0 of everything."""
    network = models.squeezenet1_1(weights=None, num_classes=2)
    with torch.no_grad():
        network.classifier[1].bias[0] = 99.0
    pretrained = Pretrained(network.eval(), lambda image: pil_to_tensor(image).float() / 255, ["a", "b"])
    monkeypatch.setattr(tasks, "torchvision_network", lambda _: pretrained)


def test_table_of_originals_ours_and_webp(cli: Any, photos: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.tsv"
    labels.write_text("file\timagenet_class_index\na.png\t0\nb.png\t0\n")
    words = ("--task", "classify", "--labels", labels, "--tokens", "4,16", "--against", "webp")
    result = cli("evaluate", "downstream", photos, *words, "--json", "-o", tmp_path / "t.json")
    assert result.status == 0, result.err
    rows = json.loads(result.out)
    assert [(row["codec"], row["tokens"]) for row in rows] == [
        ("original", None),
        ("tiny", 4),
        ("tiny", 16),
        ("webp", 4),
        ("webp", 16),
    ]
    assert rows[0]["value"] == 100  # the network says 0 of both
    # Our files of up to 16 tokens are shorter than WebP's shortest: its rows say that nothing was shown.
    assert [(row["photos"], row["value"]) for row in rows[3:]] == [(0, None), (0, None)]
    assert json.loads((tmp_path / "t.json").read_text()) == rows
    table = cli("evaluate", "downstream", photos, *words).out.decode()
    assert "bytes of 16" in table
    assert "top-1, %" in table


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--task", "smell"), "no task 'smell'; there are: classify, detect"),
        (("--task", "classify", "--tokens", "17"), "tokens is 17; this code has 1 to 16"),
        (("--task", "classify", "--against", "heic"), "no format 'heic'"),
        (("--task", "classify", "--tokens", ""), "--tokens is ''; give whole numbers by commas"),
        (("--task", "classify", "--tokens", "8,x"), "--tokens is '8,x'; give whole numbers by commas"),
        (("--task", "classify", "--out", "."), "--out is ., a folder; name a file"),
        (("--task", "classify", "--device", "nowhere"), "device 'nowhere' cannot be used"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    cli: Any, photos: Path, words: tuple[str, ...], message: str
) -> None:
    result = cli("evaluate", "downstream", photos / "a.png", *words)
    assert result.status == 2
    assert message in result.err


def test_corrupt_photos_are_named(cli: Any, photos: Path) -> None:
    (photos / "broken.png").write_text("not a picture")
    result = cli("evaluate", "downstream", photos, "--task", "classify", "--tokens", "4", "--against", "")
    assert result.status == 1
    assert "onedpiece: broken.png: not a picture" in result.err
    assert torch.is_grad_enabled()
    for name in ("a.png", "b.png"):
        (photos / name).write_text("not one either")
    result = cli("evaluate", "downstream", photos, "--task", "classify", "--tokens", "4", "--against", "")
    assert result.status == 2
    assert result.err.endswith("onedpiece: none of the photos could be read\n")
