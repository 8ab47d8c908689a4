"""Fine-tuning a classifier through its reducer, on a toy set of two colours."""

import csv
import io
import sys
import tarfile
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

pytest.importorskip("timm")

from onedpiece.cli.main import main
from onedpiece.errors import PictureError
from onedpiece.retokenize import apply
from onedpiece.training.classifier_module import (
    ClassifierConfig,
    ClassifierModule,
    RetokenizerConfig,
    build_classifier,
    normalized,
)
from onedpiece.training.classifier_objectives import ConsistencyObjective, RecalibrationObjective
from onedpiece.training.cli import classifier_main
from onedpiece.training.data.labelled import LabelledData
from onedpiece.training.data.sampling import Labelled
from onedpiece.training.optimizer import ScheduleConfig

SMALL = ClassifierConfig(num_classes=2, options={"img_size": 64, "depth": 4, "embed_dim": 48, "num_heads": 3})
COLOURS = {"blue": (20, 30, 220), "red": (220, 30, 20)}


def _picture(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def toy(tmp_path: Path) -> dict[str, Any]:
    """Eight labelled pictures and one without a label; two to test on."""
    rows = [("key", "set", "source", "label"), ("none", "toy", "x", "")]
    with tarfile.open(tmp_path / "toy.tar", "w") as tar:
        for number in range(9):
            name = "none" if number == 8 else f"{number:02d}"
            label = ("blue", "red")[number % 2]
            data = _picture(COLOURS[label])
            info = tarfile.TarInfo(f"{name}.png")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            if name != "none":
                rows.append((name, "toy", "x", label))
    with (tmp_path / "index.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(rows)
    for label, colour in COLOURS.items():
        (tmp_path / "val" / label).mkdir(parents=True)
        (tmp_path / "val" / label / "a.png").write_bytes(_picture(colour))
    return {"path": str(tmp_path), "index": str(tmp_path / "index.tsv"), "val_path": str(tmp_path / "val")}


def test_labels_follow_their_pictures(toy: dict[str, Any]) -> None:
    data = LabelledData(**toy, size=64, batch=3, workers=0)
    data.setup("fit")
    assert data.classes == ["blue", "red"]
    batches = iter(data.train_dataloader())
    for batch in (next(batches) for _ in range(4)):
        assert torch.equal(batch.x[:, 0, 0, 0] > 100, batch.target == 1)
    (val,) = data.val_dataloader()
    assert val.target.tolist() == [0, 1]


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_image_folders_need_no_index(toy: dict[str, Any], tmp_path: Path, mode: Any) -> None:
    folder = tmp_path / "published"
    for split in ("train", "val"):
        for label, colour in COLOURS.items():
            (folder / split / label).mkdir(parents=True)
            for k in range(3):
                (folder / split / label / f"{k}.png").write_bytes(_picture(colour))
    (folder / "train" / "blue" / "bad.png").write_bytes(b"no picture")
    (folder / "val" / "red" / "bad.png").write_bytes(b"no picture")
    data = LabelledData(str(folder), size=32, batch=5, workers=0, mode=mode, on_error="skip")
    data.setup("fit")
    assert data.classes == ["blue", "red"]
    for batch in islice(data.train_dataloader(), 4):
        assert isinstance(batch, Labelled)
        assert torch.equal(batch.x[:, 0, 0, 0] > 100, batch.target == 1)
    assert torch.cat([batch.target for batch in data.val_dataloader()]).tolist() == [0, 0, 0, 1, 1, 1]
    stopping = LabelledData(str(folder), size=32, batch=8, workers=0, mode=mode)
    with pytest.raises(PictureError, match=r"bad\.png"):
        _two_batches(stopping)


def _two_batches(data: LabelledData) -> None:
    data.setup("fit")
    list(islice(data.train_dataloader(), 2))


def test_an_unknown_folder_is_named(toy: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "val" / "green").mkdir()
    (tmp_path / "val" / "green" / "a.png").write_bytes(_picture((0, 255, 0)))
    with pytest.raises(ValueError, match="has folders green that"):
        LabelledData(**toy, size=64, workers=0).setup("fit")


def test_folders_of_labels_beside_val_leave_it_out(toy: dict[str, Any], tmp_path: Path) -> None:
    for label, colour in COLOURS.items():
        (tmp_path / label).mkdir()
        (tmp_path / label / "b.png").write_bytes(_picture(colour))
    data = LabelledData(str(tmp_path), size=32, workers=0)
    data.setup("fit")
    assert data.classes == ["blue", "red"]
    assert next(iter(data.train_dataloader())).x.shape[0] == 64
    assert [member.key for member in data._members] == ["blue/b.png", "red/b.png"]


def test_a_photo_in_no_folder_is_no_class(toy: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "val" / "stray.png").write_bytes(_picture((0, 255, 0)))
    with pytest.raises(ValueError, match=r"stray\.png lies in no folder that would be its label"):
        LabelledData(**toy, size=64, workers=0).setup("fit")
    (tmp_path / "stray.png").write_bytes(_picture((0, 255, 0)))
    with pytest.raises(ValueError, match=r"stray\.png lies in no folder that would be its label"):
        LabelledData(str(tmp_path), size=64, workers=0).setup("fit")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--data.size=32", "data.size is 32, and model.classifier takes 64 pixels; make them equal"),
        (
            "--model.classifier.num_classes=3",
            "the data have 2 classes, and model.classifier.num_classes is 3",
        ),
    ],
)
def test_data_that_do_not_fit_the_network_are_one_line(
    toy: dict[str, Any], tmp_path: Path, option: str, said: str
) -> None:
    words = [
        "fit",
        f"--trainer.default_root_dir={tmp_path / 'run'}",
        f"--model.classifier={{num_classes: 2, options: {SMALL.options}}}",
        "--model.schedule.steps=2",
        *(f"--data.{name}={value}" for name, value in {**toy, "size": 64, "workers": 0}.items()),
    ]
    with pytest.raises(ValueError, match=f"^{said}[^\n]*$"):
        classifier_main([*words, option])


@pytest.mark.parametrize(
    ("objective", "reducer", "stem"),
    [
        ("labels", {}, True),
        ("labels", {"name": "imagepiece", "keep_ratio": 0.5}, True),
        ("consistency", {"name": "mctf", "options": {"r": 2}}, False),
        ("recalibration", {"name": "slimming", "options": {"layers": [1, 3]}}, False),
    ],
)
def test_fit_learns_and_leaves_weights(
    toy: dict[str, Any], tmp_path: Path, objective: str, reducer: dict[str, Any], stem: bool
) -> None:
    twin = tmp_path / "twin.safetensors"
    config: dict[str, Any] = {
        "trainer": {"accelerator": "cpu", "devices": 1, "default_root_dir": str(tmp_path / "run")},
        "model": {
            "schedule": {"steps": 12},
            "optimizer": {"lr": 1e-3},
            "classifier": {"num_classes": 2, "stem": stem, "options": SMALL.options},
            "reducer": reducer,
            "objective": objective,
        },
        "data": {**toy, "size": 64, "batch": 8, "workers": 0},
    }
    config["trainer"] |= {"val_check_interval": 12, "log_every_n_steps": 1, "enable_progress_bar": False}
    if objective == "recalibration":
        save_file(build_classifier(SMALL).state_dict(), twin)
        config["model"]["teacher_weights"] = str(twin)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    classifier_main(["fit", f"--config={path}"])
    with next((tmp_path / "run" / "log").rglob("metrics.csv")).open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    assert [float(row["val/accuracy"]) for row in rows if row["val/accuracy"]] == [1.0]
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    assert any(key.startswith("blocks.0.") for key in weights)


@pytest.mark.slow
def test_a_run_with_mixtures_over_image_folders_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for label, colour in COLOURS.items():
            (tmp_path / split / label).mkdir(parents=True)
            for k in range(4):
                (tmp_path / split / label / f"{k}.png").write_bytes(_picture(colour))
    words = [
        "fit",
        "--trainer.accelerator=cpu",
        "--trainer.val_check_interval=4",
        f"--model.classifier={{num_classes: 2, options: {SMALL.options}}}",
        "--model.reducer={name: tome, keep_ratio: 0.5}",
        "--model.mix={mixup: 0.8, cutmix: 1.0}",
        "--model.schedule.steps=8",
        f"--data.path={tmp_path}",
        "--data={size: 64, batch: 4, workers: 0, mode: stream, rand_augment: rand-m9-mstd0.5-inc1}",
    ]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    classifier_main([*words, f"--trainer.default_root_dir={whole}"])
    classifier_main([*words, f"--trainer.default_root_dir={parts}", "--trainer.max_steps=3"])
    assert torch.load(parts / "checkpoints" / "last.ckpt", weights_only=True)["onedpiece"]["steps"] == 3
    classifier_main([*words, f"--trainer.default_root_dir={parts}", "--ckpt_path=last"])
    expected, found = (load_file(folder / "weights.safetensors") for folder in (whole, parts))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert (parts / "checkpoints" / "best.ckpt").is_file()


def test_the_weak_branch_differs_and_comes_back() -> None:
    torch.manual_seed(0)
    vit = apply(build_classifier(SMALL), "mctf", r=4, layers=(1, 2, 3))
    objective = ConsistencyObjective(teacher_r=0)
    step = objective(vit, torch.randn(2, 3, 64, 64), torch.tensor([0, 1]), torch.Generator())
    assert step.loss.requires_grad
    assert vit.blocks.reducer.r == 4  # type: ignore[union-attr]


# 7 beside the published r = 16; 7/16 · 4 = 1.75; a share has no proportion to keep
@pytest.mark.parametrize(("r", "weak"), [(16, 7), (4, 2), (0.35, 7)])
def test_the_weak_branch_is_weak_in_proportion(r: float, weak: int) -> None:
    module = ClassifierModule(
        ScheduleConfig(steps=1), SMALL, RetokenizerConfig("mctf", {"r": r}), "consistency"
    )
    assert isinstance(module.objective, ConsistencyObjective)
    assert module.objective.teacher_r == weak


def test_pictures_are_normalized_a_channel() -> None:
    x = torch.tensor([0.485, 0.456 + 0.224, 0.406]).view(1, 3, 1, 1)
    assert normalized(x).flatten().tolist() == pytest.approx([0, 1, 0], abs=1e-6)


def test_the_twin_learns_nothing() -> None:
    torch.manual_seed(0)
    twin = build_classifier(SMALL)
    vit = apply(build_classifier(SMALL), "slimming", layers=(2,))
    objective = RecalibrationObjective(twin, kept=(8,), ends=(3,), num_tokens=16)
    step = objective(vit, torch.randn(2, 3, 64, 64), torch.tensor([0, 1]), torch.Generator())
    step.loss.backward()
    assert all(parameter.grad is None for parameter in twin.parameters())
    assert not [name for name, _ in objective.named_parameters() if "teacher" in name]
    assert all(parameter.grad is not None for parameter in vit.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "consistency"}, "objective consistency needs reducer mctf, not None"),
        ({"objective": "recalibration"}, "needs the reducer slimming and teacher_weights"),
    ],
)
def test_objectives_name_what_they_need(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassifierModule(ScheduleConfig(steps=1), SMALL, **options)


def test_slimming_starts_on_a_full_network_and_goes_on_from_its_own(tmp_path: Path) -> None:
    full, own = tmp_path / "full.safetensors", tmp_path / "own.safetensors"
    reducer = RetokenizerConfig("slimming", {"layers": (2,)})
    save_file(build_classifier(SMALL).state_dict(), full)
    slim = build_classifier(replace(SMALL, weights=str(full)), reducer)
    save_file(slim.state_dict(), own)
    again = build_classifier(replace(SMALL, weights=str(own)), reducer)
    assert all(torch.equal(value, slim.state_dict()[key]) for key, value in again.state_dict().items())
    with pytest.raises(ValueError, match=r"own\.safetensors does not fit this classifier"):
        build_classifier(replace(SMALL, weights=str(own)))


def test_share_and_options_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"reducer\.keep_ratio chooses the options itself"):
        RetokenizerConfig("tome", {"r": 3}, 0.5)


def test_without_timm_one_line_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert main(["train-classifier", "fit", "--config", "configs/retokenize_base.yaml"]) == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1].endswith("classifiers need an extra: pip install 'onedpiece[retokenize]'")
    assert "Traceback" not in said
