from pathlib import Path

import pytest
from PIL import Image

from onedpiece.evaluation.classifier import Judge
from onedpiece.evaluation.photos import read_class_labels


@pytest.mark.slow
def test_judge_knows_the_first_photos(shared: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    judge = Judge(shared / "judge/imagenet_mobilenet_edgetpu.tflite")
    folder = shared / "data/eval/imagenet100"
    labels = read_class_labels(shared / "data/eval/imagenet100.tsv")
    names = sorted(labels)[:48]
    right = sum(
        guess == labels[name]
        for name, guess in zip(
            names, judge.classify([Image.open(folder / name) for name in names]), strict=True
        )
    )
    # BASELINES.md: 91.7 % of the first 48, which is 44.
    assert right == 44


def test_no_model_there(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    (tmp_path / "text.tflite").write_text("not a model")
    with pytest.raises(ValueError, match=r"text\.tflite"):
        Judge(tmp_path / "text.tflite")
