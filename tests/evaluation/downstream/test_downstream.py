"""Each task's measure on a real network with random weights, and the driver."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import onedpiece
from onedpiece.codec import Codec
from onedpiece.errors import MissingWeightsError
from onedpiece.evaluation.downstream import DownstreamConfig, Example, load_task, run, tasks
from onedpiece.evaluation.downstream.recognition import (
    Classify,
    Detect,
    Segment,
    confusion,
    mean_iou,
    read_boxes,
)
from onedpiece.evaluation.downstream.similarity import affine_error
from onedpiece.evaluation.photos import Photo
from onedpiece.weights.third_party import Pretrained

DARK, BRIGHT = (Image.new("RGB", (64, 64), colour) for colour in ("black", "white"))


def test_classification_counts_right_answers(classifier: Pretrained) -> None:
    task = Classify(classifier, labels={"a": 1, "b": 1})
    tally = task.tally()
    tally.add(Example(0, "a", BRIGHT), BRIGHT)
    tally.add(Example(1, "b", BRIGHT), DARK)
    assert tally.value() == 50
    with pytest.raises(ValueError, match="no line for c"):
        tally.add(Example(2, "c", BRIGHT), BRIGHT)


def test_classification_without_labels_is_agreement_by_place_not_name(classifier: Pretrained) -> None:
    tally = Classify(classifier).tally()
    # Two photos of one name: each is compared with itself.
    for at, image in enumerate((DARK, BRIGHT)):
        tally.add(Example(at, "x.png", image), image)
    assert tally.value() == 100
    tally.add(Example(2, "x.png", DARK), BRIGHT)
    assert tally.value() == pytest.approx(200 / 3)


def test_mean_iou_by_hand() -> None:
    expected, seen = np.array([0, 0, 1, 1, 255]), np.array([0, 1, 1, 1, 0])
    counts = confusion(expected, seen, 3)
    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    # Class 0: 1 of 2; class 1: 2 of 3; class 2 does not occur and does not count; the void pixel neither.
    assert mean_iou(counts) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_segmentation_with_and_without_masks(
    segmenter: Pretrained, photo: Image.Image, tmp_path: Path
) -> None:
    itself = Segment(segmenter).tally()
    itself.add(Example(0, "a.webp", photo), photo)
    assert itself.value() == 100
    seen = Segment(segmenter).predict(photo)
    assert seen.shape == (256, 256)
    half = seen.copy()
    half[:128] = 255  # void counts for nothing
    Image.fromarray(half.astype(np.uint8)).save(tmp_path / "a.png")
    with_masks = Segment(segmenter, tmp_path).tally()
    with_masks.add(Example(0, "a.webp", photo), photo)
    assert with_masks.value() == 100
    with pytest.raises(ValueError, match="has no mask"):
        with_masks.add(Example(1, "b.webp", photo), photo)


def test_detection_against_boxes_and_against_itself(
    detector: Pretrained, photo: Image.Image, tmp_path: Path
) -> None:
    pytest.importorskip("pycocotools", reason="detection needs pycocotools")
    task = Detect(detector)
    found = task.predict(photo)
    assert set(found["labels"].tolist()) == {3}
    itself = task.tally()
    itself.add(Example(0, "a", photo), photo)
    assert itself.value() == pytest.approx(100)
    # The same boxes as labels: the second of the categories in use is the car, category 3.
    rows = [[1, *box] for box in found["boxes"].tolist()]
    path = tmp_path / "boxes.json"
    path.write_text(f'{{"a": {rows}}}')
    labelled = Detect(detector, read_boxes(path)).tally()
    labelled.add(Example(0, "a", photo), photo)
    assert labelled.value() == pytest.approx(100)


def test_no_object_anywhere_is_no_number(detector: Pretrained, photo: Image.Image, codec: Codec) -> None:
    pytest.importorskip("pycocotools", reason="detection needs pycocotools")
    results = run([Example(0, "a", photo)], codec, Detect(detector, {}), DownstreamConfig((4,), ()))
    assert [result.value for result in results] == [None, None]


def test_boxes_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text('{"a": [[0, 0, 8, 8]]}')
    with pytest.raises(ValueError, match="not a mapping of file names"):
        read_boxes(path)


def test_depth_error_is_blind_to_scale_and_shift() -> None:
    expected = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert affine_error(expected, 5 * expected - 7) == pytest.approx(0, abs=1e-12)
    # A flat map is best fitted by the mean, 2.5: differences 1.5, 0.5, 0.5, 1.5 over the mean value 2.5.
    assert affine_error(expected, np.ones((2, 2))) == pytest.approx(1 / 2.5)


def test_clip_compares_projected_features(clip_folder: Path, photos: list[Photo]) -> None:
    task: Any = load_task("clip", str(clip_folder))
    first, second = (Example(at, *photo) for at, photo in enumerate(photos[:2]))
    tally = task.tally()
    tally.add(first, first.image)
    assert tally.value() == pytest.approx(1, abs=1e-5)
    tally.add(second, first.image)
    pixels = task.processor(images=[e.image for e in (first, second)], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        pooled = task.model.vision_model(pixel_values=pixels).pooler_output
        features = task.model.visual_projection(pooled)
    cosine = torch.nn.functional.cosine_similarity(features[0], features[1], dim=0).item()
    assert tally.scores[1] == pytest.approx(cosine, abs=1e-5)


@pytest.mark.parametrize("as_output", [False, True])
def test_clip_of_transformers_4_and_5(
    clip_folder: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch, as_output: bool
) -> None:
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    task: Any = load_task("clip", str(clip_folder))
    expected = task.predict(photo)

    def features(pixel_values: torch.Tensor) -> Any:
        projected = task.model.visual_projection(task.model.vision_model(pixel_values).pooler_output)
        return BaseModelOutputWithPooling(pooler_output=projected) if as_output else projected

    monkeypatch.setattr(task.model, "get_image_features", features)
    torch.testing.assert_close(task.predict(photo), expected)


def test_depth_map_has_the_photos_size(depth_folder: Path, data: Path) -> None:
    wide = Image.open(data / "chelsea_451x300.png").convert("RGB")
    task: Any = load_task("depth", str(depth_folder))
    assert task.predict(wide).shape == (300, 451)
    tally = task.tally()
    tally.add(Example(0, "a", wide), wide)
    assert tally.value() == pytest.approx(0, abs=1e-6)
    tally.add(Example(0, "a", wide), Image.new("RGB", wide.size))
    assert tally.value() > 0


def test_driver_shows_everything_to_everyone(
    codec: Codec, photos: list[Photo], classifier: Pretrained
) -> None:
    ticks: list[tuple[int, int]] = []
    examples = [Example(at, *photo) for at, photo in enumerate(photos)]
    config = DownstreamConfig((2, 16), ("webp",), batch_size=2)
    results = run(examples, codec, Classify(classifier), config, lambda *tick: ticks.append(tick))
    assert [(r.codec, r.tokens, r.photos) for r in results] == [
        ("original", None, 3),
        ("tiny", 2, 3),
        ("tiny", 16, 3),
        ("webp", 2, 0),
        ("webp", 16, 0),
    ]
    assert results[0].value == 100
    assert results[1].bytes == len(codec.encode(photos[0].image).first(2).to_bytes())
    assert results[3].value is None  # said, not skipped
    assert ticks == [(2, 3), (3, 3)]


def test_labels_of_a_name_that_two_photos_have_are_refused(
    codec: Codec, photos: list[Photo], classifier: Pretrained
) -> None:
    twins = [Example(at, "x.png", photo.image) for at, photo in enumerate(photos[:2])]
    with pytest.raises(ValueError, match=r"2 photos are called x\.png, and labels are found by name"):
        run(twins, codec, Classify(classifier, {"x.png": 1}), DownstreamConfig((2,), ()))
    originals = run(twins, codec, Classify(classifier), DownstreamConfig((2,), ()))[0]
    assert originals.value == 100


def test_classical_files_are_no_longer_than_ours(photos: list[Photo], classifier: Pretrained) -> None:
    codec = onedpiece.load("ti-256-untrained")
    examples = [Example(0, *photos[0])]
    ours, webp = run(examples, codec, Classify(classifier), DownstreamConfig((64,), ("webp",)))[1:]
    assert webp.photos == 1
    assert webp.bytes is not None
    assert ours.bytes is not None
    assert webp.bytes <= ours.bytes


def test_configs_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="no token counts"):
        DownstreamConfig(())
    with pytest.raises(ValueError, match="batch_size is 0"):
        DownstreamConfig(batch_size=0)


def test_tasks_that_are_not_there() -> None:
    with pytest.raises(
        ValueError, match="no task 'smell'; there are: classify, detect, segment, depth, clip"
    ):
        load_task("smell")
    with pytest.raises(ValueError, match="no pretrained network 'nonet'"):
        load_task("classify", "nonet")
    with pytest.raises(ValueError, match="takes no labels"):
        load_task("clip", labels=Path("labels.tsv"))


def test_tasks_by_name(classifier: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "torchvision_network", lambda _: classifier)
    labels = tmp_path / "labels.tsv"
    labels.write_text("file\timagenet_class_index\na.png\t7\n")
    with_labels, without = load_task("classify", labels=labels), load_task("segment")
    assert (with_labels.labelled, with_labels.measure, with_labels.square) == (True, "top-1, %", True)
    assert (without.labelled, without.square) == (False, False)


def test_transformers_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'onedpiece\[downstream\]'"):
        load_task("depth")


def test_weights_that_cannot_be_had_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    from torchvision import models

    def refuse(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(models, "get_model", refuse)
    with pytest.raises(MissingWeightsError, match="torchvision's squeezenet1_1") as caught:
        load_task("classify")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("torch_home")
def test_squeezenet_for_real(shared: Path) -> None:
    task = load_task("classify", labels=shared / "data/eval/imagenet100.tsv")
    tally = task.tally()
    names = ("000.png", "002.png", "005.png", "008.png", "011.png", "014.png", "017.png", "020.png")
    for at, name in enumerate(names):
        image = Image.open(shared / "data/eval/imagenet100" / name).convert("RGB")
        tally.add(Example(at, name, image), image)
    # 64.7 % on 1,000 photos (the weights' README); of eight, far more than chance, which is 0.1 %.
    assert tally.value() >= 37.5
