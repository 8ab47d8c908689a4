import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from onedpiece.training.cli import classifier_main, head_main, main, reason, sharp_main
from onedpiece.training.data.prepare import PrepareConfig, prepare
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
def small(tmp_path: Path, data: Path) -> list[str]:
    config = tmp_path / "small.yaml"
    config.write_text(SMALL)
    return [
        "fit",
        f"--config={config}",
        f"--data.init_args.path={data}",
        f"--trainer.default_root_dir={tmp_path / 'run'}",
    ]


def test_unknown_field_is_named(small: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*small, "--model.tokenizer.widht=3"])
    assert stop.value.code == 2
    assert "widht" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--data.init_args.batch=0", "the data's batch is 0; give 1 or more"),
        (
            "--data.init_args.size=16",
            "data.init_args.size is 16, model.tokenizer.image_size 32; make them equal",
        ),
        ("--data.init_args.include=[rocket.png]", "needs at least 2 pictures.*model.statistics to none"),
        ("--model.tokenizer.num_tokens=9", "fsq_grades cover 8 tokens, num_tokens is 9"),
    ],
)
def test_what_does_not_fit_is_one_line(small: list[str], option: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^.*{said}[^\n]*$"):
        main([*small, option])


@pytest.mark.parametrize("run", [main, sharp_main, head_main, classifier_main])
def test_help_says_what_every_option_of_ours_is(
    run: Callable[[list[str]], object], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(["fit", "--help"])
    option = re.compile(r"^  (--[\w.]+)[^\n]*?(?:  +([^\n]*))?\n((?: {10,}[^\n]*\n)*)", re.MULTILINE)
    found = {name: f"{first}{rest}".strip() for name, first, rest in option.findall(capsys.readouterr().out)}
    ours = {name: said for name, said in found.items() if not name.startswith("--trainer.")}
    assert len(ours) > 20
    assert [name for name, said in ours.items() if not said or said.startswith("(type:")] == []


def test_a_config_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config=nowhere.yaml"])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert len(said.splitlines()) == 1
    assert "nowhere.yaml" in said


def test_fit_writes_a_model_that_loads(small: list[str], tmp_path: Path) -> None:
    main(small)
    run = tmp_path / "run"
    assert load_tokenizer(run / "weights").config.num_tokens == 8
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert (run / "log" / "version_0" / "metrics.csv").is_file()
    assert (
        yaml.safe_load((run / "log" / "version_0" / "config.yaml").read_text())["model"]["schedule"]["steps"]
        == 2
    )
    assert [path.name for path in (run / "pictures").iterdir()] == ["step-0000002.png"]


def test_fit_resumes(small: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    main(small)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    main([*small, "--model.schedule.steps=4", f"--ckpt_path={checkpoint}"])
    assert "step 4: weights are in" in caplog.text
    assert (tmp_path / "run" / "log" / "version_1" / "metrics.csv").is_file()


TOGETHER = {
    "pixels": ["--trainer.val_check_interval=00:00:00:01"],
    "streamed": [],
    "adversarial": ["--model.adversarial={weight: 0.1, start: 0.3, head_start: 0.1, width: 8, lecam: 0.1}"],
    "accumulated": [
        "--model.adversarial={weight: 0.1, start: 0, width: 8}",
        "--trainer.accumulate_grad_batches=2",
    ],
    "vq": [
        "--model.statistics=none",
        "--model.tokenizer.linear_path=false",
        "--model.tokenizer.quantizer=vq",
        "--model.tokenizer.vq_codebook_size=16",
    ],
}
STREAMED = {
    "class_path": "onedpiece.training.data.StreamedData",
    "init_args": {
        "source": {"class_path": "onedpiece.training.data.TarShards", "init_args": {}},
        **{"size": 32, "batch": 2, "workers": 1, "val_share": 0.0},
    },
}
DRIVER = """
import hashlib, json, sys
from types import SimpleNamespace
from lightning.pytorch.loops import training_epoch_loop
from onedpiece.training.cli import TokenizerCLI, main

def tell(cli):
    state = cli.model.state_dict()
    digest = hashlib.sha256(b"".join(tensor.cpu().numpy().tobytes() for tensor in state.values()))
    rank, steps = cli.trainer.global_rank, cli.model.steps
    sys.stderr.write(f"state of {rank}: {digest.hexdigest()} of {steps} steps\\n")

def hurry(cli, before=TokenizerCLI.before_fit):
    before(cli)
    if cli.trainer._val_check_time_interval:
        cli.trainer._val_check_time_interval = 0.05
    if cli.trainer.global_rank == 1:  # a clock by which it is never time to validate
        training_epoch_loop.time = SimpleNamespace(monotonic=lambda: 0.0)

if __name__ == "__main__":
    TokenizerCLI.after_fit, TokenizerCLI.before_fit = tell, hurry
    for words in json.loads(sys.argv[1]):
        main(words)
"""


@pytest.mark.slow
def test_two_processes_train_together(small: list[str], tmp_path: Path, data: Path) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    prepare([data], tmp_path / "shards", PrepareConfig(size=32, shards=4))
    streamed = yaml.safe_load(SMALL) | {"data": STREAMED}
    streamed["data"]["init_args"]["source"]["init_args"]["urls"] = str(tmp_path / "shards")
    (tmp_path / "streamed.yaml").write_text(yaml.safe_dump(streamed))
    runs = [
        [
            *(["fit", f"--config={tmp_path / 'streamed.yaml'}"] if name == "streamed" else small[:-1]),
            f"--trainer.default_root_dir={tmp_path / name}",
            "--trainer.devices=2",
            "--trainer.strategy=ddp",
            "--model.schedule.steps=20",
            *words,
        ]
        for name, words in TOGETHER.items()
    ]
    # Lightning starts the second process at the first of the runs; both spend most of their time on imports.
    done = subprocess.run(
        [sys.executable, driver, json.dumps(runs)],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "MEMBER: 2/2" in done.stderr
    states = re.findall(r"state of (\d): (\w+) of 20 steps", done.stderr)
    for rank in "01":
        assert sum(found == rank for found, _ in states) == len(TOGETHER)
    # Parameters, buffers and averages of both processes are the same, bit for bit.
    assert len({digest for _, digest in states}) == len(TOGETHER)
    state = torch.load(tmp_path / "streamed" / "checkpoints" / "last.ckpt", weights_only=True)["StreamedData"]
    assert (state["readers"], sorted(state["positions"])) == (2, ["0", "1"])  # what both processes have drawn
    validations = done.stderr.count("validation: ")
    assert validations > len(TOGETHER)  # "pixels" validates more than once, and nobody waits for ever
    for name in TOGETHER:
        config = load_tokenizer(tmp_path / name / "weights").config
        assert (config.num_tokens, config.quantizer) == (8, "vq" if name == "vq" else "fsq")


def test_of_the_types_that_were_tried_one_line_is_left() -> None:
    tried = """Parser key "model.tokenizer":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'str'>, <class 'Config'>]
  Errors:
    - Expected a <class 'str'>
    - Problem with given class_path 'Config':
        Option 'widht' is not accepted
  Given value type: <class 'Arg'>
  Given value: Arg(key='widht', val='3')"""
    assert (
        reason(tried)
        == "model.tokenizer: Problem with given class_path 'Config': Option 'widht' is not accepted"
    )
    untold = tried.replace("Problem with given class_path 'Config'", "Expected a <class 'NoneType'>")
    untold = untold.replace(":\n        Option 'widht' is not accepted", "")
    assert reason(untold) == "model.tokenizer: expected str or NoneType, found Arg(key='widht', val='3')"
    assert reason("unrecognized\n arguments: --x") == "unrecognized arguments: --x"
