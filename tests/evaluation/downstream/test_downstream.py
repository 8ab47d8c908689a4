"""Each task's measure by hand, and the driver; networks are stand-ins of one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from onedpiece.codec import Codec
from onedpiece.evaluation.downstream import Example, Study, load_task, run
from onedpiece.evaluation.downstream.recognition import (
    Classify,
    Detect,
    Segment,
    confusion,
    mean_iou,
    read_boxes,
)
from onedpiece.evaluation.downstream.similarity import Clip, Depth, affine_error
from onedpiece.evaluation.photos import Photo
from onedpiece.weights.third_party import Pretrained


def _preprocess(image: Image.Image) -> Tensor:
    return pil_to_tensor(image).float() / 255


class _Channels(nn.Module):
    """Says which of red, green and blue there is most of: of a picture, or (pixelwise) of each pixel."""

    def __init__(self, pixelwise: bool = False) -> None:
        super().__init__()
        self.pixelwise = pixelwise

    def forward(self, images: Tensor) -> Any:
        return {"out": images} if self.pixelwise else images.mean((2, 3))


COLOURS = ["red", "green", "blue"]
RED, BLUE = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))


def test_classification_counts_right_answers() -> None:
    task = Classify(Pretrained(_Channels(), _preprocess, COLOURS), labels={"a": 0, "b": 0})
    tally = task.tally()
    tally.add(Example("a", RED), RED)
    tally.add(Example("b", RED), BLUE)
    assert tally.value() == 50
    with pytest.raises(ValueError, match="no line for c"):
        tally.add(Example("c", RED), RED)


def test_classification_without_labels_is_agreement() -> None:
    tally = Classify(Pretrained(_Channels(), _preprocess, COLOURS)).tally()
    tally.add(Example("a", BLUE), BLUE)
    tally.add(Example("b", BLUE), RED)
    assert tally.value() == 50


def test_mean_iou_by_hand() -> None:
    expected, seen = np.array([0, 0, 1, 1, 255]), np.array([0, 1, 1, 1, 0])
    counts = confusion(expected, seen, 3)
    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    # Class 0: 1 of 2; class 1: 2 of 3; class 2 does not occur and does not count; the void pixel neither.
    assert mean_iou(counts) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_segmentation_with_and_without_masks(tmp_path: Path) -> None:
    pretrained = Pretrained(_Channels(pixelwise=True), _preprocess, COLOURS)
    shown = Image.new("RGB", (8, 8), "red")
    shown.paste("blue", (4, 0, 8, 8))
    against_itself = Segment(pretrained).tally()
    against_itself.add(Example("a.webp", RED), shown)
    # Red: 32 of 64 pixels; blue: seen, never expected: 0.
    assert against_itself.value() == pytest.approx(25)
    Image.fromarray(np.full((8, 8), 2, np.uint8)).save(tmp_path / "a.png")
    with_masks = Segment(pretrained, tmp_path).tally()
    with_masks.add(Example("a.webp", RED), BLUE)
    assert with_masks.value() == 100
    with pytest.raises(ValueError, match="has no mask"):
        with_masks.add(Example("b.webp", RED), BLUE)


class _Detector(nn.Module):
    """Finds one object of category 3, of which the picture's brightness moves the right edge."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        right = 4 + 4 * float(images[0].mean())
        return [
            {
                "boxes": torch.tensor([[0.0, 0.0, right, 8.0]]),
                "scores": torch.tensor([0.9]),
                "labels": torch.tensor([3]),
            }
        ]


def test_detection_against_boxes_and_against_itself(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools", reason="detection needs pycocotools")
    categories = ["__background__", "person", "N/A", "car"]
    pretrained = Pretrained(_Detector(), _preprocess, categories)
    white, black = (Image.new("RGB", (8, 8), colour) for colour in ("white", "black"))
    path = tmp_path / "boxes.json"
    path.write_text('{"a": [[1, 0, 0, 8, 8]]}')  # the second of the categories in use: car
    labelled = Detect(pretrained, read_boxes(path)).tally()
    labelled.add(Example("a", white), white)
    assert labelled.value() == pytest.approx(100)
    itself = Detect(pretrained).tally()
    itself.add(Example("a", white), black)
    # IoU 32 / 64 = 0.5 passes one of the ten thresholds 0.50, 0.55 … 0.95.
    assert itself.value() == pytest.approx(10)


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


class _Depth:
    """Takes red for depth."""

    def __call__(self, pixel_values: Tensor) -> Any:
        return type("Output", (), {"predicted_depth": pixel_values[:, 0]})


class _Features:
    """Takes the mean colour for features."""

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        return pixel_values.mean((2, 3))


def _processor(images: Image.Image, return_tensors: str) -> dict[str, Tensor]:
    assert return_tensors == "pt"
    return {"pixel_values": _preprocess(images)[None]}


def test_depth_and_clip_compare_with_the_original(photos: list[Photo]) -> None:
    example = Example(*photos[0])
    depth, clip = Depth(_processor, _Depth()).tally(), Clip(_processor, _Features()).tally()
    for tally, same in ((depth, 0), (clip, 1)):
        tally.add(example, example.image)
        assert tally.value() == pytest.approx(same, abs=1e-5)
    # (1, 0, 0) against (0, 0, 1)
    across = Clip(_processor, _Features()).tally()
    across.add(Example("red", RED), BLUE)
    assert across.value() == pytest.approx(0)


def test_driver_shows_everything_to_everyone(codec: Codec, photos: list[Photo]) -> None:
    task = Classify(Pretrained(_Channels(), _preprocess, COLOURS))
    ticks: list[int] = []
    results = run([Example(*photo) for photo in photos], codec, task, Study((2, 16), ("webp",)), ticks.append)
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
    assert sum(ticks) == 3


def test_classical_files_are_no_longer_than_ours(photos: list[Photo], data: Path) -> None:
    import onedpiece

    codec = onedpiece.load("ti-256-untrained")
    task = Classify(Pretrained(_Channels(), _preprocess, COLOURS))
    results = run([Example(*photos[0])], codec, task, Study((64,), ("webp",)))
    ours, webp = results[1:]
    assert webp.photos == 1
    assert webp.bytes is not None
    assert ours.bytes is not None
    assert webp.bytes <= ours.bytes


def test_tasks_that_are_not_there() -> None:
    with pytest.raises(
        ValueError, match="no task 'smell'; there are: classify, detect, segment, depth, clip"
    ):
        load_task("smell")
    with pytest.raises(ValueError, match="no pretrained network 'nonet'"):
        load_task("classify", "nonet")
    with pytest.raises(ValueError, match="takes no labels"):
        load_task("clip", labels=Path("labels.tsv"))


def test_transformers_extra_is_named() -> None:
    try:
        import transformers  # noqa: F401
    except ImportError:
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'onedpiece\[downstream\]'"):
            load_task("depth")
    else:
        pytest.skip("transformers is installed")


def test_weights_that_cannot_be_had_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    from torchvision import models

    from onedpiece.errors import MissingWeightsError

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
    for name in ("000.png", "002.png", "005.png", "008.png", "011.png", "014.png", "017.png", "020.png"):
        image = Image.open(shared / "data/eval/imagenet100" / name).convert("RGB")
        tally.add(Example(name, image), image)
    # 64.7 % on 1,000 photos (the weights' README); of eight, far more than chance, which is 0.1 %.
    assert tally.value() >= 37.5
