from pathlib import Path

import pytest
import yaml

from onedpiece.training.heads.cli import main

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
