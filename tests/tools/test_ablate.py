"""The comparisons' tool: every row parses, rows are shared and kept, tables say what was measured."""

import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from onedpiece.codec import Codec
from onedpiece.evaluation.photos import Photo
from onedpiece.evaluation.token_table import Evaluators
from onedpiece.metrics.registry import Scorer
from onedpiece.training.cli import main as train_main

ROOT = Path(__file__).resolve().parents[2]
COUNTS = [8, 64, 256]
Load = Callable[[str], ModuleType]


@pytest.fixture
def ablate(tool: Load) -> ModuleType:
    return tool("ablate")


def measured(row: str) -> dict[str, Any]:
    """As `run_rows` finds it: LPIPS .8, a judge of 10 %, and 20 dB plus a hundredth a token."""
    scores = {f"psnr_{k}": 20 + k / 100 for k in COUNTS} | {f"lpips_{k}": 0.8 for k in COUNTS}
    judged = {f"judge_{k}": 0.1 for k in COUNTS}
    return {"row": row, "device": "a core", "photos": 16, "minutes": 2.0, "decode_ms": 30.4} | scores | judged


@pytest.mark.slow
@pytest.mark.parametrize("name", ["recipe", "trade"])
def test_every_row_is_a_run_that_parses(
    ablate: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    study = ablate.read_study(name)
    assert len({row.folder for row in study.rows}) == len(study.rows) >= 4
    for row in study.rows:
        with pytest.raises(SystemExit) as stop:
            train_main([*ablate.words(study, row, Path("run"), []), "--print_config"])
        assert stop.value.code == 0, row.name
        printed = yaml.safe_load(capsys.readouterr().out)
        assert printed["trainer"]["default_root_dir"] == "run"
        for key, value in row.set.items():
            found = printed
            for part in key.split("."):
                found = found[part]
            assert found == value, f"{row.name}: {key}"


def test_a_folder_is_claimed_by_one_at_a_time(ablate: ModuleType, tmp_path: Path) -> None:
    with ablate.claimed(tmp_path / "row") as first, ablate.claimed(tmp_path / "row") as second:
        assert (first, second) == (True, False)
    with ablate.claimed(tmp_path / "row") as third:
        assert third


def test_photos_and_minutes_are_read_off_the_log(ablate: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("data: {init_args: {batch: 8}}\n")
    (tmp_path / "metrics.csv").write_text("step,train/minutes\n0,0.1\n4,1.5\n4,\n")
    assert ablate.took(tmp_path) == ablate.Run(photos=40, minutes=1.5)  # steps 0 to 4 of 8 photos


def test_rows_that_are_there_or_claimed_are_not_run_again(
    ablate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablate, "STUDIES", tmp_path)
    measured: list[str] = []

    def measure(row: Any, folder: Path) -> dict[str, Any]:
        measured.append(f"{row.name} in {folder.name}")
        assert folder.is_dir(), "a run writes into its folder"
        return {"device": "d", "psnr_8": 16.0}

    rows = [ablate.Row(name, "") for name in ("a", "b b", "c")]
    ablate.append_result(tmp_path / "x.csv", {"row": "a", "device": "d", "psnr_8": 1.0})
    with ablate.claimed(tmp_path / "runs" / "x" / "c"):  # another process is at it
        ablate.run_rows("x", rows, tmp_path / "runs", measure)
        ablate.run_rows("x", rows, tmp_path / "runs", measure)
    assert measured == ["b b in b_b"]
    ablate.run_rows("x", rows, tmp_path / "runs", measure)
    assert measured == ["b b in b_b", "c in c"]
    assert {name: row["psnr_8"] for name, row in ablate.read_results(tmp_path / "x.csv").items()} == {
        "a": "1",
        "b b": "16",
        "c": "16",
    }


def test_a_codec_is_scored_by_token_count(ablate: ModuleType, codec: Codec, photos: list[Photo]) -> None:
    found = ablate.score(codec, photos, [4, 16], Evaluators(Scorer(["psnr"])))
    assert list(found) == ["psnr_4", "judge_4", "psnr_16", "judge_16"]
    assert found["psnr_16"] > found["psnr_4"] > 5
    assert math.isnan(found["judge_16"]), "there was no judge"


def test_table_and_picture(ablate: ModuleType, tmp_path: Path) -> None:
    rows = [ablate.Row(name, f"tries {name}") for name in ("a", "b", "c")]
    study = ablate.Study("base.yaml", 10, ["psnr", "lpips"], COUNTS, [64, 256], rows)
    for name in ("c", "a"):
        ablate.append_result(tmp_path / "x.csv", measured(name))
    results = ablate.read_results(tmp_path / "x.csv")
    _, _, first, second, _, note = ablate.table(study, results).splitlines()
    assert first == (
        "| a | tries a | 2.0 | 16 | 30 | 20.08 / 20.64 / 22.56 | 0.800 / 0.800 / 0.800 | 10 / 10 |"
    )
    assert second.startswith("| c |")
    assert note == "100 photos of Imagenette's test split; decode: one whole code. Device: a core."
    figure = ablate.draw_trade(study, results)
    _, judged = figure.axes
    at_64 = [line for line in judged.lines if line.get_color() == "C1"]  # the second count's colour
    assert [line.get_xydata().tolist() for line in at_64] == 2 * [[[20.64, 0.1]]]  # PSNR and judge
    assert len({line.get_marker() for line in at_64}) == 2
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "c", *(f"{n} tokens" for n in COUNTS)]


def test_imagenette_classes_are_judged_by_their_folder(ablate: ModuleType, shared: Path) -> None:
    photos, labels = ablate.judged_photos(shared / "data", 2)
    assert len(photos) == 20
    assert sorted(labels.values()) == sorted(2 * list(ablate.IMAGENETTE.values()))
