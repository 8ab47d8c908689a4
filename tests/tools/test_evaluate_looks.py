"""The tool that measures how real pictures look, on a tiny model and random networks."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

import onedpiece
from onedpiece.codec import Codec
from onedpiece.codec.tensors import to_tensor
from onedpiece.metrics.pixel import psnr


@pytest.fixture
def looks(tool: Callable[[str], ModuleType], codec: Codec, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = tool("evaluate_looks")
    monkeypatch.setattr(onedpiece, "load", lambda model=None, device="cpu": codec)
    monkeypatch.setattr(module, "mesh_ratio", lambda pixels, period: torch.full((len(pixels),), 1.5))
    return module


@pytest.fixture
def folder(tmp_path: Path, data: Path) -> Path:
    """Three photos, of which the table labels two and a WordNet id none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("astronaut", "chelsea", "coffee"):
        (folder / f"{name}.png").write_bytes((data / f"{name}.png").read_bytes())
    (tmp_path / "photos.tsv").write_text("file\timagenet_class_index\nastronaut.png\t7\nchelsea.png\t281\n")
    return folder


@pytest.mark.usefixtures("random_lpips")
def test_tables_of_means_and_of_photos(
    looks: ModuleType, folder: Path, tmp_path: Path, codec: Codec, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(folder), "--tokens", "4,16", "--batch-size", "2", "--out", str(tmp_path / "out")]
    assert looks.main(words) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "out.md").read_text(encoding="utf-8").strip() == printed.strip()
    assert "| original | – |" in printed
    assert "top-1" not in printed  # no classifier was named
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [(row["tokens"], row["sharpness"]) for row in rows] == [("", ""), ("4", "0.0"), ("16", "0.0")]
    photos = list(csv.DictReader((tmp_path / "out.photos.csv").open()))
    assert len(photos) == 9
    photo = Image.open(folder / "coffee.png").convert("RGB")
    code = codec.encode(photo)[:4]
    (row,) = (r for r in photos if (r["photo"], r["tokens"]) == ("coffee.png", "4"))
    expected = psnr(to_tensor([photo]), to_tensor([codec.decode(code)])).item()
    assert float(row["psnr"]) == pytest.approx(expected, abs=1e-4)
    assert float(row["bytes"]) == len(code.to_bytes())
    assert float(row["lpips-alex"]) > 0
    mean = sum(float(r["psnr"]) for r in photos if r["tokens"] == "4") / 3
    assert float(rows[1]["psnr"]) == pytest.approx(mean)


def test_runs_side_by_side_pool_to_the_table_of_one(
    looks: ModuleType, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "others"
    other.mkdir()
    (folder / "coffee.png").rename(other / "coffee.png")
    options = ["--tokens", "4,16", "--out"]
    assert looks.main(["--data", str(folder), str(other), *options, str(tmp_path / "both")]) == 0
    of_one_run = capsys.readouterr().out
    scored = []
    for each in (folder, other):
        assert looks.main(["--data", str(each), *options, str(tmp_path / each.name)]) == 0
        scored.append(str(tmp_path / f"{each.name}.photos.csv"))
    assert "together" not in capsys.readouterr().out
    assert looks.main(["--scored", *scored]) == 0
    assert capsys.readouterr().out == of_one_run
    assert "All folders together, 3 photos" in of_one_run
    # Of 2 and 1 photos: the mean over photos, not that over folders.
    photos = list(csv.DictReader((tmp_path / "both.photos.csv").open()))
    mean = sum(float(row["psnr"]) for row in photos if row["tokens"] == "16") / 3
    assert (
        f"| 16 | 0 | {sum(float(r['bytes']) for r in photos if r['tokens'] == '16') / 3:.0f} | {mean:.2f}"
        in (of_one_run.split("together")[1])
    )


def test_classes_are_means_over_the_labelled(looks: ModuleType, folder: Path, codec: Codec) -> None:
    class Sevens:
        """Stands for the TFLite network, whose weights no package has: it says 7 with a half."""

        def score(self, images: list[Image.Image], labels: list[int]) -> list[Any]:
            from onedpiece.evaluation.classifier import ClassifierScore

            return [ClassifierScore(label == 7, label == 7, 0.5 * (label == 7)) for label in labels]

    networks = looks.Networks({}, None, Sevens())
    found = looks.measure(codec, looks.labelled_photos(folder, None), [looks.Setting(4, 0.0)], networks, 2)
    top1 = looks.mean_of(found.scores[looks.ORIGINAL]["top1"])
    # 100 and 0 of the two that are labelled: mean 50, deviation 70.7, over √2
    assert top1 == pytest.approx((50.0, 50.0))
    assert looks.mean_of(found.scores[looks.Setting(4, 0.0)]["probability"]).value == 25


def test_no_sharpness_asks_for_the_faithful_picture(looks: ModuleType, codec: Codec) -> None:
    class Sharpening:
        asked: list[dict[str, float]] = []  # noqa: RUF012

        class tokenizer:  # noqa: N801
            @staticmethod
            def detokenize(indices: torch.Tensor, **options: float) -> torch.Tensor:
                Sharpening.asked.append(options)
                return torch.zeros(1, 3, 4, 4)

    for sharpness in (None, 0.0, 0.5):
        looks._detokenize(Sharpening, torch.zeros(1, 4, dtype=torch.int64), sharpness)
    assert [options["sharpness"] for options in Sharpening.asked] == [0.0, 0.0, 0.5]


def test_labels_by_wordnet_folder_and_an_even_limit(looks: ModuleType, tmp_path: Path) -> None:
    for wnid in ("n01440764", "n03888257"):
        (tmp_path / wnid).mkdir()
        for number in range(4):
            Image.new("RGB", (8, 8)).save(tmp_path / wnid / f"{number}.png")
    photos = looks.labelled_photos(tmp_path, 4)
    assert [(photo.name, photo.label) for photo in photos] == [
        ("n01440764/0.png", 0),
        ("n01440764/2.png", 0),
        ("n03888257/0.png", 701),
        ("n03888257/2.png", 701),
    ]
    assert len(looks.labelled_photos(tmp_path, None)) == 8
