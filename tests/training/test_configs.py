"""Every shipped config parses, and opens with what one has to know before starting it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from onedpiece.tokenizer import TokenizerConfig
from onedpiece.training.cli import classifier_main as train_classifier
from onedpiece.training.cli import head_main as train_head
from onedpiece.training.cli import main as train
from onedpiece.training.cli import sharp_main as train_sharp
from onedpiece.training.tokenizer_module import as_config
from onedpiece.weights.checkpoint import read_config


class Trained(NamedTuple):
    """A command line, and the parts of `model` that each of its configs has to say."""

    main: Callable[[list[str]], None]
    says: set[str]


ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
KINDS = {
    "head": Trained(train_head, {"head", "schedule"}),
    "retokenize": Trained(train_classifier, {"schedule"}),
    "sharp": Trained(train_sharp, {"schedule", "init_from"}),
    "onedpiece": Trained(train, {"schedule", "tail_drop"}),
    "smoke": Trained(train, {"schedule"}),
    "stream": Trained(train, {"schedule"}),
    "tokenizer": Trained(train, {"schedule"}),
}


def test_every_command_has_a_config() -> None:
    assert {path.stem.split("_")[0] for path in CONFIGS} == set(KINDS)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_parses(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind = KINDS[path.stem.split("_")[0]]
    with pytest.raises(SystemExit) as stop:
        kind.main(["fit", f"--config={path}", "--print_config"])
    assert stop.value.code == 0
    printed, written = yaml.safe_load(capsys.readouterr().out), yaml.safe_load(path.read_text())
    assert kind.says <= written["model"].keys()
    for name, section in written["model"].items():
        if isinstance(section, dict):
            assert printed["model"][name] == printed["model"][name] | section, name
    if kind.main is train:
        assert printed["data"]["class_path"] == written["data"]["class_path"]


@pytest.mark.parametrize("path", sorted(CONFIGS[0].parent.rglob("*.yaml")), ids=lambda path: path.stem)
def test_config_names_nothing_outside_the_repository(path: Path) -> None:
    text = path.read_text()
    assert "../" not in text
    if "data/" in text.split("\ndata:")[-1] and "tests/data" not in text:
        assert path.parent.name == "ablations" or "configs/README.md" in text.split("\nseed_everything")[0]


def test_what_starts_from_bundled_weights_has_their_geometry() -> None:
    models = [
        yaml.safe_load(path.read_text()).get("model") or {} for path in CONFIGS[0].parent.rglob("*.yaml")
    ]
    models = [model for model in models if "onedpiece/weights" in model.get("init_from", "")]
    assert models
    for model in models:
        given = model["tokenizer"]
        asked = as_config(given if isinstance(given, str) else TokenizerConfig.from_dict(given))
        assert asked == TokenizerConfig.from_dict(read_config(ROOT / model["init_from"])["tokenizer"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_opens_with_what_one_has_to_know(path: Path) -> None:
    opening = path.read_text().split("\nseed_everything")[0]
    assert all(line.startswith("#") for line in opening.strip().splitlines())
    assert all(word in opening for word in ("command:", "hardware:", "duration:", "expected:"))
    assert f"configs/{path.name}" in opening
