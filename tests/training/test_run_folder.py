"""What a training command may do to a run's folder: never lose a run (and how a signal ends one)."""

import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from onedpiece.cli.main import main as onedpiece
from onedpiece.training.cli import main
from onedpiece.training.tokenizer_module import TokenizerModule
from onedpiece.weights import load_tokenizer

ROOT = Path(__file__).resolve().parents[2]
SMALL = """
model:
  tokenizer: {image_size: 32, patch_size: 8, num_tokens: 8, width: 32, heads: 2, encoder_layers: 1,
              decoder_layers: 1, linear_size: 16, fsq_grades: [[8, [16, 16, 16]]]}
  statistics: data
  schedule: {steps: 2}
data:
  class_path: onedpiece.training.data.FolderData
  init_args: {size: 32, batch: 2, workers: 0, include: [astronaut.png, coffee.png], val_share: 0}
trainer: {accelerator: cpu, devices: 1, log_every_n_steps: 1}
"""


@pytest.fixture
def words(tmp_path: Path, data: Path) -> list[str]:
    config = tmp_path / "small.yaml"
    config.write_text(SMALL)
    run = f"--trainer.default_root_dir={tmp_path / 'run'}"
    return ["fit", f"--config={config}", f"--data.init_args.path={data}", run]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def batches(run: Path) -> int:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return int(checkpoint["onedpiece"]["batches"])


def test_fast_dev_run_writes_nothing(words: list[str], run: Path) -> None:
    main([*words, "--trainer.fast_dev_run=true"])
    assert digests(run) == {}
    main(words)
    before = digests(run)
    main([*words, "--trainer.fast_dev_run=true"])
    assert digests(run) == before


def test_another_runs_results_are_not_overwritten(words: list[str], run: Path) -> None:
    main(words)
    before = digests(run)
    with pytest.raises(ValueError, match=r"last\.ckpt is another run's result; .*--overwrite"):
        main(words)
    assert digests(run) == before
    (run / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(ValueError, match="weights is another run's result"):
        main(words)
    main([*words, "--overwrite", "--model.schedule.steps=1"])
    assert batches(run) == 1


def test_last_is_this_runs_last(words: list[str], run: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*run/checkpoints/last\.ckpt"):
        main([*words, "--ckpt_path=last"])
    assert not run.exists()
    main(words)
    main([*words, "--ckpt_path=last", "--model.schedule.steps=3"])
    assert batches(run) == 3


@pytest.mark.parametrize("content", [b"", b"no checkpoint"])
def test_a_file_that_is_no_checkpoint_is_named(words: list[str], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cut.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"cut\.ckpt is no checkpoint, or was cut short"):
        main([*words, f"--ckpt_path={tmp_path / 'cut.ckpt'}"])


def test_validating_what_was_never_fitted_asks_for_a_checkpoint(words: list[str], run: Path) -> None:
    with pytest.raises(ValueError, match="give --ckpt_path"):
        main(["validate", *words[1:]])
    main(words)
    main(["validate", *words[1:], "--ckpt_path=last"])


@pytest.mark.parametrize("verb", ["test", "predict"])
def test_what_modules_have_not_is_not_offered(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb])
    assert stop.value.code == 2
    assert "choose from 'fit', 'validate'" in capsys.readouterr().err


def started(words: list[str]) -> "subprocess.Popen[str]":
    """Start a run without end, and wait until it trains."""
    endless = ["--model.schedule.steps=1000000", "--progress.seconds=1e-9", "--trainer.limit_val_batches=0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "onedpiece", "train", *words, *endless],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "step 2 |" in line:
            return process
    raise AssertionError(f"the run ended with {process.wait()}")


SIGNALS = pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@SIGNALS
def test_a_signal_within_a_step_ends_the_run_behind_it(
    words: list[str],
    run: Path,
    signum: int,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before, average = signal.getsignal(signum), TokenizerModule.update_average

    def average_and_signal(module: TokenizerModule) -> None:
        average(module)
        if module.batches == 2:
            signal.raise_signal(signum)

    monkeypatch.setattr(TokenizerModule, "update_average", average_and_signal)
    with pytest.raises(SystemExit) as stop:
        onedpiece(["train", *words, "--model.schedule.steps=1000000", "--trainer.limit_val_batches=0"])
    assert stop.value.code == status
    assert "Traceback" not in capfd.readouterr().err
    assert signal.getsignal(signum) is before
    assert batches(run) == 2
    assert load_tokenizer(run / "weights").config.num_tokens == 8


def test_a_refusal_is_a_line(words: list[str], run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").touch()
    assert onedpiece(["train", *words]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    assert "another run's result" in err


@pytest.mark.slow
@SIGNALS
def test_a_signal_saves_the_run_first(words: list[str], run: Path, signum: int, status: int) -> None:
    process = started(words)
    process.send_signal(signum)
    _, err = process.communicate(timeout=300)
    assert process.returncode == status, err[-2000:]
    assert "Traceback" not in err
    done = batches(run)
    assert done >= 2
    assert load_tokenizer(run / "weights").config.num_tokens == 8
    main([*words, "--ckpt_path=last", f"--model.schedule.steps={done + 1}"])
    assert batches(run) == done + 1


@pytest.mark.slow
def test_a_refusal_is_one_line_and_status_2(words: list[str], run: Path) -> None:
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").touch()
    done = subprocess.run(
        [sys.executable, "-m", "onedpiece", "train", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "another run's result" in done.stderr
