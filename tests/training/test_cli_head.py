from pathlib import Path

import pytest

from onedpiece.heads import load_head
from onedpiece.tokenizer import Tokenizer
from onedpiece.training.cli import head_main
from onedpiece.weights import fingerprint, load_tokenizer, save

SMALL = """
model:
  head: {task: depth, width: 32, heads: 2, layers: 1, grid: 2, channels: 8, linear_picture: true}
  schedule: {steps: 2}
  counts: [2, 16]
  note: tiny
data:
  source: {class_path: onedpiece.training.codes.DepthScenes, init_args: {train: 4, test: 2, side: 32}}
  variants: [plain]
  batch: 2
trainer: {accelerator: cpu, devices: 1, log_every_n_steps: 1}
"""


def test_fit_writes_a_head_that_loads(small_tokenizer: Tokenizer, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    model, run, config = save(small_tokenizer, tmp_path / "model"), tmp_path / "run", tmp_path / "small.yaml"
    config.write_text(SMALL)
    words = [
        "fit",
        f"--config={config}",
        f"--data.model={model}",
        f"--data.cache={tmp_path / 'scenes.parquet'}",
        f"--trainer.default_root_dir={run}",
    ]
    head_main(words)
    loaded = load_head(run / "head.safetensors")
    assert loaded.code_space == fingerprint(load_tokenizer(model))
    assert loaded.note.startswith("tiny; ")
    assert "2 steps; absrel" in loaded.note
    assert (run / "checkpoints" / "best.ckpt").is_file()
    asked = tmp_path / "asked" / "depth.safetensors"
    head_main([*words, "--overwrite", f"--export.folder={asked}"])
    assert "2 steps; absrel" in load_head(asked).note
    assert load_head(run / "head.safetensors").note == loaded.note
    head_main([*words, "--ckpt_path=last"])  # it was over, and ends at once
    assert "2 steps" in load_head(run / "head.safetensors").note
