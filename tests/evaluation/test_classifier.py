from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onedpiece.evaluation.classifier import HeldOutClassifier, score_probabilities
from onedpiece.evaluation.photos import read_class_labels


@pytest.mark.slow
def test_classifier_knows_the_first_photos(shared: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    classifier = HeldOutClassifier(shared / "judge/imagenet_mobilenet_edgetpu.tflite")
    folder = shared / "data/eval/imagenet100"
    labels = read_class_labels(shared / "data/eval/imagenet100.tsv")
    names = sorted(labels)[:48]
    right = sum(
        guess == labels[name]
        for name, guess in zip(
            names, classifier.classify([Image.open(folder / name) for name in names]), strict=True
        )
    )
    # BASELINES.md: 91.7 % of the first 48, which is 44.
    assert right == 44


def test_no_model_there(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    (tmp_path / "text.tflite").write_text("not a model")
    with pytest.raises(ValueError, match=r"text\.tflite"):
        HeldOutClassifier(tmp_path / "text.tflite")


def test_scores_of_known_probabilities() -> None:
    probabilities = np.array([[0.5, 0.2, 0.2, 0.1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1]], np.float32)
    assert score_probabilities(probabilities, [0, 6]) == [(True, True, 0.5), (True, True, 1.0)]
    # Of equal ones the lower class goes first; a class of probability 0 is no guess, whatever its place.
    second, zero = score_probabilities(probabilities, [2, 0])
    assert second == (False, True, pytest.approx(0.2))
    assert zero == (False, False, 0.0)
