"""A whole run over shards of which one is truncated, one is not there and one holds a corrupt picture."""

import logging
from pathlib import Path

import pytest
import torch

from onedpiece.cli.main import main
from onedpiece.training.data.prepare import PrepareConfig, prepare

CONFIG = """
model:
  tokenizer: {image_size: 32, patch_size: 8, num_tokens: 8, width: 32, heads: 2, encoder_layers: 1,
              decoder_layers: 1, linear_size: 16, fsq_grades: [[8, [16, 16, 16]]]}
  schedule: {steps: 4}
data:
  class_path: onedpiece.training.data.StreamedData
  init_args:
    source: {class_path: onedpiece.training.data.TarShards, init_args: {urls: URLS}}
    size: 32
    batch: 4
    workers: WORKERS
    val_share: 0
    val_limit: 2
trainer: {accelerator: cpu, devices: 1, log_every_n_steps: 1}
"""
FAULTS = {
    "whole": "",
    "corrupt": "photo_1 is no readable picture",
    "truncated": "truncated.tar cannot be read behind its picture",
    "missing": "http://127.0.0.1:9/missing.tar cannot be read from its beginning",
}


@pytest.fixture
def shards(data: Path, tmp_path: Path) -> Path:
    """Three shards of four pictures each; the third is cut in its last one."""
    from PIL import Image

    for shard in ("whole", "corrupt", "truncated"):
        for k, name in enumerate(("astronaut", "chelsea", "coffee", "rocket")):
            (tmp_path / shard).mkdir(exist_ok=True)
            Image.open(data / f"{name}.png").convert("RGB").save(tmp_path / shard / f"photo_{k}.png")
        prepare([tmp_path / shard], tmp_path / f"{shard}s", PrepareConfig(size=32, format="png"))
        (tmp_path / f"{shard}s" / "000000.tar").rename(tmp_path / f"{shard}.tar")
    corrupt = (tmp_path / "corrupt.tar").read_bytes()
    second = corrupt.index(b"\x89PNG", corrupt.index(b"photo_1"))
    (tmp_path / "corrupt.tar").write_bytes(corrupt[:second] + b"\0" * 64 + corrupt[second + 64 :])
    cut = (tmp_path / "truncated.tar").read_bytes()
    (tmp_path / "truncated.tar").write_bytes(cut[: cut.index(b"photo_3") + 700])
    return tmp_path


def words(folder: Path, names: str, on_error: str, workers: int = 0) -> list[str]:
    urls = "::".join(
        "http://127.0.0.1:9/missing.tar" if name == "missing" else str(folder / f"{name}.tar")
        for name in names.split()
    )
    config = folder / "config.yaml"
    config.write_text(CONFIG.replace("URLS", f'"{urls}"').replace("WORKERS", str(workers)))
    run = f"--trainer.default_root_dir={folder / 'run'}"
    return ["train", "fit", f"--config={config}", run, f"--data.init_args.on_error={on_error}"]


@pytest.mark.parametrize("fault", ["corrupt", "truncated", "missing"])
def test_a_fault_is_named_in_one_line_and_ends_the_run(
    shards: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(shards, f"whole {fault}", "stop")) == 2
    last = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert last.startswith("onedpiece: ")
    assert FAULTS[fault] in last
    assert "set data.init_args.on_error to skip" in last


def test_what_was_learned_before_the_fault_is_kept(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*words(shards, "whole truncated", "stop"), "--data.init_args.shuffle=0"]
    assert main(command) == 2
    last = shards / "run" / "checkpoints" / "last.ckpt"
    state = torch.load(last, weights_only=True)
    assert state["onedpiece"]["batches"] == 1  # the second batch ends in the cut picture
    assert state["StreamedData"]["positions"] == {"0": [0, 4]}
    (shards / "truncated.tar").write_bytes((shards / "whole.tar").read_bytes())
    assert main([*command, "--ckpt_path=last"]) == 0
    assert torch.load(last, weights_only=True)["onedpiece"]["batches"] == 4
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_the_run_goes_on_over_all_faults_and_counts_them(
    shards: Path, workers: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.WARNING, logger="onedpiece"):
        assert main(words(shards, "whole corrupt truncated missing", "skip", workers)) == 0
    text = caplog.text + capfd.readouterr().err
    for fault in FAULTS.values():
        assert fault in text
    assert "pictures and " in caplog.text
    assert "shards that could not be read" in caplog.text
    assert (shards / "run" / "weights" / "config.json").is_file()
