"""What a teacher sees becomes a target, view by view; here EfficientNet-Lite0 with random weights."""

import io
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

import onedpiece
from onedpiece.codec.view import apply_view, view_named
from onedpiece.errors import MissingWeightsError
from onedpiece.training.codes import CodeDataset, DistilledClasses, Source, TaughtClasses, build_cache
from onedpiece.training.codes.base import TEST, TRAIN, Example, Labelled
from onedpiece.training.codes.cache_file import pack_target, unpack_target
from onedpiece.training.codes.teacher import imagenet_classes, load_teacher
from onedpiece.training.losses.heads import class_loss

timm = pytest.importorskip("timm")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # so that what it says of two pictures differs
            layer.running_var.fill_(0.05)
    path = tmp_path_factory.mktemp("teacher") / "lite0.safetensors"
    save_file({name: each.half() for name, each in network.state_dict().items() if each.ndim}, path)
    return str(path)


def _photos(data: Path, names: tuple[str, ...]) -> dict[str, Image.Image]:
    return {name: Image.open(data / f"{name}.png").convert("RGB") for name in names}


class TwoClasses(Source):
    """The smallest labelled source."""

    task = "classify"
    name = "two"
    classes = ("a", "b")

    def __init__(self, data: Path) -> None:
        self.photos = _photos(data, ("astronaut", "chelsea"))

    def examples(self) -> list[Example]:
        """One to train on, one to test on."""
        labels = {"astronaut": (TRAIN, 1), "chelsea": (TEST, 0)}
        return [
            Example(
                name, split, lambda name=name, label=label: Labelled(self.photos[name], torch.tensor(label))
            )
            for name, (split, label) in labels.items()
        ]


def test_names_are_imagenets_and_unlike_each_other() -> None:
    names = imagenet_classes()
    assert (len(names), len(set(names))) == (1000, 1000)
    assert (names[0], names[217], names[701]) == ("tench", "English springer", "parachute")


@pytest.mark.slow
def test_each_view_gets_what_the_teacher_sees_in_it(weights: str, data: Path, tmp_path: Path) -> None:
    photo = _photos(data, ("astronaut",))["astronaut"]
    file = io.BytesIO()
    photo.save(file, "PNG")
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        info = tarfile.TarInfo("one.png")
        info.size = len(file.getvalue())
        tar.addfile(info, io.BytesIO(file.getvalue()))
    source = DistilledClasses(str(tmp_path), weights, test_share=0.0)
    cache = build_cache(tmp_path / "cache.parquet", source, onedpiece.load(), ("plain", "crop1"))
    data_set = CodeDataset(cache, TRAIN)
    assert isinstance(data_set.targets, torch.Tensor)
    assert data_set.targets.shape == (2, 1000)
    teacher = load_teacher(weights)
    for row, variant in enumerate(("plain", "crop1")):
        seen = teacher(apply_view(photo, view_named(variant, "one")))
        assert torch.allclose(data_set.targets[row].float(), seen, atol=1e-3)
    assert float((data_set.targets[0] - data_set.targets[1]).abs().max()) > 1e-3


@pytest.mark.slow
def test_a_taught_label_lies_between_label_and_teacher(weights: str, data: Path, tmp_path: Path) -> None:
    source = TaughtClasses(TwoClasses(data), weights, imagenet=(7, 900), share=0.4)
    cache = build_cache(tmp_path / "cache.parquet", source, onedpiece.load(), ("plain",))
    seen = load_teacher(weights)(_photos(data, ("astronaut",))["astronaut"])
    # 0.4 of what the teacher sees among the two classes, 0.6 of the label, which is the second.
    expected = 0.4 * seen[[7, 900]] / (seen[7] + seen[900]) + torch.tensor([0.0, 0.6])
    (target,) = CodeDataset(cache, TRAIN).targets
    assert torch.allclose(target.float(), expected, atol=1e-3)
    assert CodeDataset(cache, TEST).targets.tolist() == [0]  # photos to test on keep their labels


def test_two_probabilities_are_no_number() -> None:
    soft, label = torch.tensor([0.25, 0.75]), torch.tensor(123456)
    assert unpack_target(pack_target(soft), "classify", 256).tolist() == [0.25, 0.75]
    assert int(unpack_target(pack_target(label), "classify", 256)) == 123456
    # 0x70 is the mark of probabilities, and the first byte of this number.
    assert int(unpack_target(pack_target(torch.tensor(0x70)), "classify", 256)) == 0x70


def test_the_loss_of_soft_targets_is_their_cross_entropy() -> None:
    logits, soft = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[0.5, 0.25, 0.25]])
    expected = -(soft * F.log_softmax(logits, dim=1)).sum()
    assert class_loss(logits, soft.half(), 0.1).item() == pytest.approx(expected.item(), abs=1e-6)
    # A label is smoothed: 0.9 on it and 0.1 spread over all three.
    smoothed = torch.tensor([[0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3]])
    expected = -(smoothed * F.log_softmax(logits, dim=1)).sum()
    assert class_loss(logits, torch.tensor([0]), 0.1).item() == pytest.approx(expected.item(), abs=1e-6)


def test_what_does_not_fit_is_said(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ImageNet number of each of its 2 classes"):
        TaughtClasses(TwoClasses(data), "weights", imagenet=(1, 2, 3))
    with pytest.raises(MissingWeightsError, match=r"absent\.safetensors"):
        load_teacher(tmp_path / "absent.safetensors")
