"""The sources on small copies of what they read, and on the real files where they are."""

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onedpiece.errors import MissingWeightsError
from onedpiece.training.codes import BoxTarget, CamVid, DepthScenes, DistilledDepth, Imagenette, PennFudan
from onedpiece.training.codes.depth_sources import load_teacher


def _picture(size: tuple[int, int] = (64, 48)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(file, "WEBP")
    return file.getvalue()


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    with tarfile.open(tmp_path / "train.tar", "w") as file:
        for name in ("a.webp", "b.webp", "unlabelled.webp"):
            info = tarfile.TarInfo(name)
            info.size = len(_picture())
            file.addfile(info, io.BytesIO(_picture()))
    return tmp_path / "train.tar"


def _imagenette(tar: Path, labels: dict[str, str]) -> Imagenette:
    with (tar.parent / "index.tsv").open("w", newline="") as file:
        rows = [("key", "label"), *labels.items(), ("unlabelled", "")]
        csv.writer(file, delimiter="\t").writerows(rows)
    test = tar.parent / "test" / "n03888257"
    test.mkdir(parents=True)
    (test / "c.webp").write_bytes(_picture())
    return Imagenette(str(tar), str(tar.parent / "index.tsv"), str(test.parent))


def test_imagenette_is_what_is_labelled(tar: Path) -> None:
    source = _imagenette(tar, {"a": "n01440764", "b": "n03888257"})
    examples = source.examples()
    assert [(Path(each.key).stem, each.split) for each in examples] == [
        ("a", "train"),
        ("b", "train"),
        ("c", "test"),
    ]
    targets = [each.load().target for each in examples]
    assert [int(target) for target in targets if isinstance(target, torch.Tensor)] == [0, 9, 9]
    assert source.classes[9] == "parachute"
    assert examples[0].load().image.size == (64, 48)


def test_imagenette_knows_its_classes(tar: Path) -> None:
    with pytest.raises(ValueError, match="a has label 'n99999999'; Imagenette has n01440764"):
        _imagenette(tar, {"a": "n99999999"}).examples()


def test_camvid_pairs_photos_with_masks(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "x.webp").write_bytes(_picture())
        Image.fromarray(np.full((48, 64), 11, np.uint8)).save(tmp_path / split / "x.png")
    examples = CamVid(str(tmp_path)).examples()
    assert [(each.key, each.split) for each in examples] == [("train/x", "train"), ("test/x", "test")]
    image, mask = examples[0].load()
    assert isinstance(mask, torch.Tensor)
    assert (mask.dtype, mask.shape, int(mask[0, 0])) == (torch.uint8, (48, 64), 11)
    assert image.size == (64, 48)
    with pytest.raises(FileNotFoundError, match=r"source\.init_args\.path"):
        CamVid(str(tmp_path / "nowhere")).examples()


def test_pennfudan_boxes_are_shares(tmp_path: Path) -> None:
    (tmp_path / "p.webp").write_bytes(_picture())
    (tmp_path / "boxes_xyxy.json").write_text(json.dumps({"p.webp": [[16, 12, 32, 48]], "q.webp": []}))
    (example, empty) = PennFudan(str(tmp_path)).examples()
    target = example.load().target
    assert isinstance(target, BoxTarget)
    assert target.boxes.tolist() == [[0.25, 0.25, 0.5, 1.0]]  # of 64x48 pixels
    assert target.labels.tolist() == [0]
    assert empty.key == "q"


def test_pennfudan_split_is_fixed(shared: Path) -> None:
    examples = PennFudan(str(shared / "data/downstream/pennfudan")).examples()
    test = [each.key for each in examples if each.split == "test"]
    assert (len(examples), len(test)) == (170, 34)
    assert sorted(test)[:3] == ["FudanPed00001", "FudanPed00006", "FudanPed00009"]


def test_imagenette_is_read_as_published(tmp_path: Path) -> None:
    for name in ("train/n01440764/a.JPEG", "train/n03888257/b.JPEG", "val/n03888257/c.JPEG"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_picture())
    examples = Imagenette(str(tmp_path)).examples()
    assert [(each.key, each.split) for each in examples] == [
        ("n01440764/a.JPEG", "train"),
        ("n03888257/b.JPEG", "train"),
        ("n03888257/c.JPEG", "test"),
    ]
    targets = [each.load().target for each in examples]
    assert [int(target) for target in targets if isinstance(target, torch.Tensor)] == [0, 9, 9]


def test_camvid_is_read_as_published(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for folder in (split, f"{split}annot"):
            (tmp_path / folder).mkdir()
        Image.new("RGB", (64, 48), (9, 9, 9)).save(tmp_path / split / "x.png")
        Image.fromarray(np.full((48, 64), 3, np.uint8)).save(tmp_path / f"{split}annot" / "x.png")
    examples = CamVid(str(tmp_path)).examples()
    assert [each.key for each in examples] == ["train/x", "val/x", "test/x"]
    image, mask = examples[0].load()
    assert isinstance(mask, torch.Tensor)
    assert (image.size, int(mask[0, 0])) == ((64, 48), 3)


def test_pennfudan_is_read_as_published(tmp_path: Path) -> None:
    for folder in ("PNGImages", "PedMasks"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (64, 48), (9, 9, 9)).save(tmp_path / "PNGImages" / "FudanPed00001.png")
    numbers = np.zeros((48, 64), np.uint8)
    numbers[12:48, 16:32], numbers[0:24, 32:64] = 1, 2
    Image.fromarray(numbers).save(tmp_path / "PedMasks" / "FudanPed00001_mask.png")
    (example,) = PennFudan(str(tmp_path)).examples()
    target = example.load().target
    assert isinstance(target, BoxTarget)
    assert target.boxes.tolist() == [[0.25, 0.25, 0.5, 1.0], [0.5, 0.0, 1.0, 0.5]]
    assert (example.key, example.split) == ("FudanPed00001", "test")


def test_scenes_to_test_on_stay_when_there_are_more_to_train_on() -> None:
    few, many = DepthScenes(2, 3, 16).examples(), DepthScenes(5, 3, 16).examples()
    assert [each.key for each in many if each.split == "test"] == [
        each.key for each in few if each.split == "test"
    ]
    image, depth = few[0].load()
    assert isinstance(depth, torch.Tensor)
    assert (image.size, depth.shape, depth.dtype) == ((16, 16), (16, 16), torch.float32)


def test_distilled_depth_asks_the_network(tar: Path) -> None:
    source = DistilledDepth(str(tar), limit=2)
    source.__dict__["teacher"] = lambda image: torch.ones(image.height, image.width)
    examples = source.examples()
    assert len(examples) == 2
    target = examples[0].load().target
    assert isinstance(target, torch.Tensor)
    assert target.shape == (48, 64)
    assert source.name == "depth by depth-anything/Depth-Anything-V2-Small-hf"


def test_a_missing_teacher_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Transformers:
        class AutoImageProcessor:
            @staticmethod
            def from_pretrained(name: str) -> None:
                raise OSError(f"We couldn't connect to load {name}")

    def offline(name: str) -> type[Transformers]:
        return Transformers

    monkeypatch.setattr("onedpiece.weights.third_party.import_module", offline)
    with pytest.raises(MissingWeightsError, match="the weights of some/network are neither in"):
        load_teacher("some/network")

    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("onedpiece.weights.third_party.import_module", absent)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'onedpiece\[downstream\]'"):
        load_teacher("some/network")
