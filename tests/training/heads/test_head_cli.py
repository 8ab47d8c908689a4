from pathlib import Path

import pytest
import yaml

from onedpiece.heads import load_head
from onedpiece.tokenizer import Tokenizer
from onedpiece.training.heads.cli import main
from onedpiece.weights import fingerprint, load_tokenizer, save

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = sorted((ROOT / "configs").glob("head_*.yaml"))


def test_there_are_configs() -> None:
    assert {"head_classify_imagenette.yaml"} <= {path.name for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_parses(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", f"--config={path}", "--print_config"])
    assert stop.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    written = yaml.safe_load(path.read_text())
    for section in ("head", "schedule"):
        assert printed["model"][section] == printed["model"][section] | written["model"][section]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_opens_with_what_one_has_to_know(path: Path) -> None:
    opening = path.read_text().split("seed_everything")[0]
    assert all(line.startswith("#") for line in opening.strip().splitlines())
    assert all(word in opening for word in ("command:", "hardware:", "duration:", "expected:"))
    assert f"configs/{path.name}" in opening


SMALL = """
model:
  head: {task: depth, width: 32, heads: 2, layers: 1, grid: 2, channels: 8, linear_view: true}
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
    main(words)
    loaded = load_head(run / "head.safetensors")
    assert loaded.fingerprint == fingerprint(load_tokenizer(model))
    assert loaded.note.startswith("tiny; ")
    assert "2 steps; absrel" in loaded.note
    (last,) = run.glob("log/version_*/checkpoints/last.ckpt")
    main([*words, f"--ckpt_path={last}"])  # it was over, and ends at once
    assert "2 steps" in load_head(run / "head.safetensors").note
