"""What TensorBoard shows of a run: the event file of a small one, read with TensorBoard's own reader."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onedpiece.training.callbacks import prefix_table
from onedpiece.training.cli import main

pytest.importorskip("tensorboard")

CONFIG = """
model:
  tokenizer: {image_size: 32, patch_size: 8, num_tokens: 16, width: 32, heads: 2, encoder_layers: 1,
              decoder_layers: 1, linear_size: 16, fsq_grades: [[16, [16, 16, 16]]]}
  statistics: data
  schedule: {steps: 4}
  adversarial: {weight: 0.1, start: 0, head_start: 0, width: 8}
  validation: {counts: [2, 8, 16, 256]}
data:
  class_path: onedpiece.training.data.FolderData
  init_args: {size: 32, batch: 2, workers: 0, include: [astronaut.png, coffee.png], val_share: 0}
trainer: {accelerator: cpu, devices: 1, log_every_n_steps: 1, val_check_interval: 2}
"""


@pytest.mark.slow
def test_curves_tables_and_grids_are_there(tmp_path: Path, data: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tmp_path / "config.yaml").write_text(CONFIG)
    run = tmp_path / "run"
    main(
        [
            "fit",
            f"--config={tmp_path / 'config.yaml'}",
            f"--data.init_args.path={data}",
            f"--trainer.default_root_dir={run}",
        ]
    )
    (events,) = (run / "tensorboard").rglob("events.*")
    shown = EventAccumulator(str(events.parent))
    shown.Reload()
    tags = shown.Tags()
    losses = {f"train/{name}" for name in ("loss", "pixel", "adversarial", "quantizer", "discriminator")}
    others = {"train/lr", "train/grad_norm", "train/discriminator_grad_norm", "val/codes_used"}
    prefixes = {f"val/psnr_{count}" for count in (2, 8, 16)}
    assert losses | others | prefixes <= set(tags["scalars"])
    norms = [event.value for event in shown.Scalars("train/grad_norm")]
    assert len(norms) == 4
    assert min(norms) > 0
    rates = [event.value for event in shown.Scalars("train/lr")]
    assert rates[1] > rates[-1] > 0
    assert tags["images"] == ["reconstructions"]
    grids = shown.Images("reconstructions")
    assert [grid.step for grid in grids] == [2, 4]
    assert (grids[0].width, grids[0].height) == (32 * 4, 32 * 2)  # the original and three counts
    table = shown.Tensors("prefixes/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert table.splitlines()[0] == "| tokens | psnr |"
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["2", "8", "16"]
    drawn = np.asarray(Image.open(sorted((run / "pictures").iterdir())[-1]))
    assert drawn.shape == (64, 128, 3)


def test_the_table_has_a_row_for_each_count_in_order() -> None:
    metrics = {"val/psnr_32": 18.0, "val/psnr_8": 15.5, "val/lpips_8": 0.5, "val/lpips_32": 0.25}
    assert prefix_table(metrics | {"val/codes_used": 1.0, "train/loss_8": 3.0}) == (
        "| tokens | psnr | lpips |\n| ---: | ---: | ---: |\n| 8 | 15.5 | 0.5 |\n| 32 | 18 | 0.25 |"
    )
    assert prefix_table({"val/codes_used": 1.0}) == ""
