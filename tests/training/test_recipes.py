"""Every recipe runs where nothing but the repository is: on data that the test makes, for three steps."""

import csv
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from onedpiece.cli.main import main as onedpiece
from onedpiece.heads import HeadConfig, build_head, save_head
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.tokenizer.pixel_heads import SharpNetwork
from onedpiece.tokenizer.vqgan import VQGAN
from onedpiece.training import sharp_module
from onedpiece.training.classifier_module import ClassifierConfig, build_classifier
from onedpiece.training.codes import DistilledDepth
from onedpiece.training.codes.sources import CLASSES
from onedpiece.weights import load, save

from .conftest import RandomFeatures
from .test_configs import CONFIGS, KINDS, ROOT

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {
    "image_size": 64,
    "patch_size": 16,
    "num_tokens": 16,
    "width": 32,
    "heads": 2,
    "encoder_layers": 1,
    "decoder_layers": 1,
}
LATTICE = SMALL | {"fsq_grades": [[16, [16, 16, 16]]], "linear_size": 32}
PLAIN = SMALL | {"quantizer": "vq", "vq_codebook_size": 16, "linear_path": False}
PUBLISHED = PLAIN | {
    "pixel_head": "vqgan",
    "released_latent_layout": True,
    "vqgan_channels": 32,
    "vqgan_multipliers": [1, 1, 1, 1, 1],
    "vqgan_codebook_size": 16,
    "vqgan_codebook_dim": 8,
}
DEIT = {"img_size": 96, "embed_dim": 48, "num_heads": 3}


def photo(seed: int, width: int = 96, height: int = 80) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def write(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all public data sets in small, in their published layouts, and what goes before."""
    folder = tmp_path_factory.mktemp("world")
    for k in range(8):
        write(folder / "photos" / f"{k}.png", photo(k))
    for name in ("train", "imagenet", "drawn"):
        words = ["data", "prepare", str(folder / "photos"), str(folder / "data" / name)]
        assert onedpiece([*words, "--size", "64", "--shards", "4", "--jobs", "1"]) == 0
    for split in ("train", "val"):
        for k, label in enumerate(CLASSES):
            write(folder / "data/imagenette2-320" / split / label / f"{k}.png", photo(k))
    for split in ("train", "val", "test"):
        for k in range(2):
            write(folder / "data/CamVid" / split / f"{k}.png", photo(k))
            mask = Image.fromarray(np.full((80, 96), k, np.uint8))
            write(folder / "data/CamVid" / f"{split}annot" / f"{k}.png", mask)
    boxes = np.zeros((80, 96), np.uint8)
    boxes[10:40, 20:60] = 1
    for k in range(1, 7):  # a hash of the names puts 1 and 6 to the tests
        write(folder / "data/PennFudanPed/PNGImages" / f"FudanPed{k:05d}.png", photo(k))
        write(folder / "data/PennFudanPed/PedMasks" / f"FudanPed{k:05d}_mask.png", Image.fromarray(boxes))
    return folder


def weights(config: dict[str, Any], folder: Path) -> None:
    torch.manual_seed(0)
    save(Tokenizer(TokenizerConfig.from_dict(config)), folder)


def heads_before(folder: Path, model: dict[str, Any]) -> None:
    """Write a head to start from, and a teacher of random weights."""
    path = folder / model.get("init_from", "segment")
    if path.suffix:
        codec = load()
        config = HeadConfig(**(model["head"] | {"task": "classify", "classes": ("any",), "layers": 1}))
        save_head(build_head(config, codec.tokenizer), path, codec.fingerprint)
    (folder / "priors").mkdir(exist_ok=True)
    teacher = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    state = {name: each.contiguous() for name, each in teacher.items() if each.ndim}
    save_file(state, folder / "priors" / "efficientnet_lite0.safetensors")


def before(stem: str, folder: Path, model: dict[str, Any]) -> list[str]:
    """Write what a recipe starts from, and return the options that make it small."""
    if stem.startswith("retokenize"):
        given = model["classifier"]
        small = ClassifierConfig(given["name"], 10, stem=given.get("stem", False), options=DEIT)
        if "weights" in given:
            (folder / given["weights"]).parent.mkdir(parents=True)
            save_file(build_classifier(small).state_dict(), folder / given["weights"])
        options = given.get("options", {}) | DEIT
        return [
            f"--model.classifier.options={options}",
            "--data.size=96",
            "--data.batch=4",
            "--data.workers=0",
        ]
    if stem.startswith("head"):
        heads_before(folder, model)
        options = ["--data.batch=2", "--data.variants=[plain]", "--model.head.layers=1"]
        if stem == "head_depth_synthetic":
            options += ["--data.source.init_args.train=4", "--data.source.init_args.test=2"]
        if stem == "head_own":  # starts from a bundled head, whose layers it has
            return ["--data.batch=2", "--data.variants=[plain]", "--data.path=data/imagenette2-320"]
        return options + (["--data.split=train"] if "distilled" in stem else [])
    loader = ["--data.init_args.batch=2", "--data.init_args.workers=0", "--data.init_args.size=64"]
    loader.append("--data.init_args.val_share=0")  # of eight photos a hundredth is none
    if stem == "sharp":
        weights(LATTICE, folder / model["init_from"])
        (folder / "priors").mkdir()
        state = {name: each.contiguous() for name, each in SharpNetwork(1).state_dict().items()}
        save_file(state, folder / model["sharp_from"])
        return [*loader, "--model.blocks=1", "--model.crop=32"]
    config = PUBLISHED if stem.startswith("onedpiece") else PLAIN if "plain" in stem else LATTICE
    if "init_from" in model:
        weights(config, folder / model["init_from"])
    options = [f"--model.tokenizer={yaml.safe_dump(config, default_flow_style=True, width=10**6).strip()}"]
    if model.get("statistics") == "bundled":
        options.append("--model.statistics=data")
    if "proxy" in model:
        save_file(VQGAN(TokenizerConfig.from_dict(config)).state_dict(), folder / "vqgan.safetensors")
        options.append("--model.proxy.vqgan=vqgan.safetensors")
    return [*loader, *options]


@pytest.fixture
def small_networks(random_lpips: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random networks in place of those whose weights are fetched, and no compiler."""
    monkeypatch.setattr(sharp_module, "SqueezeNet", RandomFeatures)
    monkeypatch.setattr(sharp_module, "EfficientNetLite", RandomFeatures)
    tiny = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)]
    monkeypatch.setattr("torchvision.models.convnext_small", lambda weights: ConvNeXt(tiny))
    monkeypatch.setattr("torch.compile", lambda network: network)
    ones = staticmethod(lambda image: torch.ones(image.height, image.width))
    monkeypatch.setattr(DistilledDepth, "teacher", ones)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_three_steps_of_every_recipe(
    path: Path, world: Path, tmp_path: Path, small_networks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    (tmp_path / "data").symlink_to(world / "data")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ONEDPIECE_SHARED", raising=False)
    model = yaml.safe_load(path.read_text())["model"]
    kind = KINDS[path.stem.split("_")[0]]
    words = ["--model.schedule.steps=3", "--model.schedule.minutes=null", "--trainer.accelerator=cpu"]
    words += [
        "--trainer.precision=32-true",
        "--trainer.val_check_interval=3",
        "--trainer.log_every_n_steps=1",
    ]
    words += ["--trainer.accumulate_grad_batches=1", "--trainer.limit_val_batches=1"]
    kind.main(["fit", f"--config={path}", *before(path.stem, tmp_path, model), *words])
    run = tmp_path / yaml.safe_load(path.read_text())["trainer"]["default_root_dir"]
    with (run / "log" / "version_0" / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 3
    assert np.isfinite(losses).all()
    assert (run / "checkpoints" / "last.ckpt").is_file()


def test_the_five_commands_run_in_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "configs" / "README.md").read_text(encoding="utf-8")
    block = text.split("```bash\n")[1].split("```")[0]
    commands = [shlex.split(line) for line in block.splitlines()]
    assert len(commands) == 5
    for name in ("configs", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ONEDPIECE_SHARED", raising=False)
    assert commands[0][:2] == ["python", "-m"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *commands[0][1:]], check=True, timeout=300, env=environment)
    for program, *words in commands[1:]:
        assert program == "onedpiece"
        assert onedpiece(words) == 0
    state = torch.load(tmp_path / "runs/stream/checkpoints/last.ckpt", weights_only=True)
    assert state["onedpiece"]["steps"] == state["onedpiece"]["batches"] == 20
    assert (tmp_path / "drawn.odp").stat().st_size > 50
    versions = sorted(path.name for path in (tmp_path / "runs/stream/log").iterdir())
    assert versions == ["version_0", "version_1"]
