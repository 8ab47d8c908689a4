"""The study on a handful of pictures: every part runs, and the numbers are those of what was shown."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("timm")
pytest.importorskip("pyarrow")

from onedpiece.codec import Codec
from onedpiece.heads import HeadConfig, LoadedHead, build_head
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.training.codes import DepthScenes, build_cache
from onedpiece.training.optimizer import OptimizerConfig
from onedpiece.weights import load, save
from tools.head_study.coded import best_webp_file, webp_pixels
from tools.head_study.dense import dense_scores, draw_answers
from tools.head_study.fit import fit
from tools.head_study.settings import Settings, read_settings

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


@pytest.fixture(scope="module")
def codec(small_config: Callable[..., TokenizerConfig], tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """A model in a folder, as `onedpiece train-head` takes it."""
    torch.manual_seed(0)
    config = small_config(num_tokens=256, linear_size=32, fsq_grades=((256, (16, 16, 16)),))
    return load(str(save(Tokenizer(config), tmp_path_factory.mktemp("model"))))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A second of training of a tiny head."""
    (tmp_path / "head.yaml").write_text(
        """
trainer: {accelerator: cpu, devices: 1, precision: bf16-mixed, enable_progress_bar: false}
model:
  schedule: {minutes: 8, warmup: 0.05, min_lr_ratio: 0.01}
  head: {task: classify, width: 32, layers: 1, heads: 1}
  optimizer: {lr: 1.0e-3}
data:
  cache: any
  variants: [plain, flip, crop1]
  batch: 4
"""
    )
    return read_settings(tmp_path / "head.yaml", minutes=0.01)


def test_webp_keeps_to_its_budget() -> None:
    image = Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 50).convert("RGB")
    small, large = best_webp_file(image, 80), best_webp_file(image, 400)
    assert 0 < len(small) <= 80 < len(large) <= 400
    errors = [
        np.square(np.asarray(image, float) - webp_pixels(each, (64, 64))).mean() for each in (small, large)
    ]
    assert errors[1] < errors[0]
    assert best_webp_file(image, 20) == b""  # no WebP file is so small
    assert (webp_pixels(b"", (3, 2)) == np.full((2, 3, 3), 128)).all()


def test_training_learns_and_averages(settings: Settings) -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 1)
    x, wanted = torch.randn(32, 3), torch.tensor([[1.0], [2.0], [3.0]])

    def loss(network: torch.nn.Module, step: int) -> torch.Tensor:
        missed: torch.Tensor = (network(x).float() - x @ wanted).square().mean()
        return missed

    before = float(loss(net, 0).detach())
    counted = replace(settings.schedule, minutes=None, steps=100)  # minutes say little on a busy machine
    numbers = OptimizerConfig(lr=0.05, weight_decay=0)
    fitted = fit(net, loss, replace(settings, schedule=counted, optimizer=numbers))
    assert fitted.steps == 100
    assert float(loss(fitted.network, 0)) < 0.1 * before


def test_the_shipped_config_is_what_the_study_trains() -> None:
    settings = read_settings(CONFIGS / "head_classify_imagenette.yaml", minutes=2)
    assert (settings.schedule.minutes, settings.schedule.clock) == (2, "processor")
    assert settings.head.task == "classify"


def test_dense_heads_are_scored_and_drawn(codec: Codec, tmp_path: Path) -> None:
    source = DepthScenes(1, 2, 32)
    cache = build_cache(tmp_path / "scenes.parquet", source, codec, ("plain",))
    config = HeadConfig(task="depth", width=32, layers=1, heads=1, grid=4)
    head = LoadedHead(build_head(config, codec.tokenizer).eval(), codec.fingerprint, "")
    scores = dense_scores(head, cache, (8, 64))
    assert [(score.name, score.tokens) for score in scores] == [("absrel", 8), ("absrel", 64)]
    drawn = draw_answers(head, source, codec, tmp_path / "drawn", (8,), photos=2)
    assert [path.name for path in drawn] == ["scene00000-008.png", "scene00001-008.png"]
    assert Image.open(io.BytesIO(drawn[0].read_bytes())).width == 32
