import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image

from onedpiece.training.base_module import Monitor
from onedpiece.training.callbacks import (
    Checkpoints,
    ExportWeights,
    ReconstructionGrid,
    TextProgress,
    reconstruction_grid,
)
from onedpiece.training.metrics import ValidationConfig
from onedpiece.weights import load_tokenizer

from .conftest import Tiny


def test_export_is_the_average_in_float16(tiny: Tiny) -> None:
    module = tiny.module()
    tiny.fit(module, ExportWeights(minutes=0))
    loaded = load_tokenizer(tiny.folder / "weights")
    assert torch.equal(loaded.latent_tokens, module.averaged.latent_tokens.half().float())
    assert not torch.equal(loaded.latent_tokens, module.tokenizer.latent_tokens.half().float())


def test_export_and_checkpoint_come_by_time_too(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    tiny_minutes = 1e-9
    with caplog.at_level(logging.INFO, logger="onedpiece"):
        tiny.fit(tiny.module(steps=3), ExportWeights(tiny_minutes), Checkpoints(tiny_minutes))
    # after the second and third step, for the clock starts behind the first, and at the end
    assert sum("weights are in" in text for text in caplog.messages) == 3
    assert sum("checkpoint:" in text for text in caplog.messages) == 3
    assert [path.name for path in (tiny.folder / "checkpoints").iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(("larger", "better", "worse"), [(True, 0.6, 0.4), (False, 0.4, 0.6)])
def test_the_best_of_a_resumed_run_has_to_beat_that_of_before(
    larger: bool, better: float, worse: float
) -> None:
    monitor, before, after = Monitor("val/x", larger), Checkpoints(), Checkpoints()
    assert before._improves(worse, monitor)
    before._best_score = 0.5
    after.load_state_dict(before.state_dict())
    assert [after._improves(score, monitor) for score in (better, 0.5, worse)] == [True, False, False]


def test_checkpoint_is_read_without_running_anything(tiny: Tiny) -> None:
    tiny.fit(tiny.module(steps=2), Checkpoints())
    checkpoint = torch.load(tiny.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["onedpiece"]["batches"] == 2
    assert checkpoint["onedpiece"]["tokenizer"]["num_tokens"] == 16


def test_grid_shows_the_original_first(tiny: Tiny) -> None:
    tokenizer = tiny.module(statistics="none").averaged
    x = torch.rand(2, 3, 32, 32)
    grid = reconstruction_grid(tokenizer, x, (4, 16))
    assert grid.shape == (3, 2 * 32, 3 * 32)
    assert torch.equal(grid[:, 32:, :32], x[1])
    assert torch.equal(grid[:, :32, 64:], tokenizer.detokenize(tokenizer.tokenize(x))[0])


def test_pictures_and_logs_are_written(tiny: Tiny) -> None:
    module = tiny.module(steps=2, validation=ValidationConfig(counts=(4, 16)))
    loggers = [CSVLogger(tiny.folder, name="log"), TensorBoardLogger(tiny.folder, name="board")]
    tiny.fit(module, ReconstructionGrid(images=2), limit_val_batches=1.0, logger=loggers, log_every_n_steps=1)
    (png,) = (tiny.folder / "pictures").iterdir()
    assert png.name == "step-0000002.png"
    assert Image.open(png).size == (3 * 32, 2 * 32)
    header, *rows = (tiny.folder / "log" / "version_0" / "metrics.csv").read_text().splitlines()
    assert {"train/loss", "train/lr", "val/psnr_16", "val/codes_used"} <= set(header.split(","))
    assert len(rows) == 3  # two steps and one validation
    assert list((tiny.folder / "board").rglob("events.*"))


def test_progress_line_says_how_it_goes(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="onedpiece"):
        tiny.fit(tiny.module(steps=4), TextProgress(seconds=1e-9))
    lines = [text for text in caplog.messages if text.startswith("step ")]
    assert len(lines) == 4
    assert lines[1].startswith("step 2 | 0.0 min, 50.0% | ")
    assert "samples/s | loss 0." in lines[1]


def test_the_loss_is_a_batchs_whole_where_batches_are_accumulated(tiny: Tiny) -> None:
    module, lines = tiny.module(steps=2), TextProgress(seconds=1e9)
    trainer = tiny.fit(module, lines, accumulate_grad_batches=2)
    assert float(lines._losses[-1]) == pytest.approx(float(trainer.callback_metrics["train/loss"]))


@pytest.mark.parametrize(("seconds", "rank"), [(0.0, 0), (30.0, 1)])
def test_who_writes_no_lines_keeps_no_losses(tiny: Tiny, seconds: float, rank: int) -> None:
    progress, trainer = TextProgress(seconds), SimpleNamespace(is_global_zero=rank == 0, world_size=2)
    for _ in range(3):
        progress.on_train_batch_end(trainer, tiny.module(), {"loss": torch.ones(())}, torch.ones(2), 0)  # type: ignore[arg-type]
    assert progress._losses == []


def test_folders_can_be_chosen(tiny: Tiny, tmp_path: Path) -> None:
    tiny.fit(tiny.module(steps=1), ExportWeights(folder=str(tmp_path / "here")))
    assert (tmp_path / "here" / "config.json").is_file()
