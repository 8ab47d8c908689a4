"""The study of accuracy beside speed: equal shares, resuming, and its table."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

pytest.importorskip("timm")


@pytest.fixture
def study(tool: Callable[[str], ModuleType]) -> ModuleType:
    return tool("study_retokenize")


def test_every_reducer_keeps_two_thirds(study: ModuleType) -> None:
    x = torch.randn(1, 3, study.SIDE, study.SIDE, generator=torch.Generator().manual_seed(0))
    for entry in study.ENTRIES:
        if entry.reducer.name == "mustdrop":  # what it merges depends on pictures and weights
            continue
        config = study.ClassifierConfig(stem=entry.stem, options={"img_size": study.SIDE})
        kept = study.mean_kept(study.build_classifier(config, entry.reducer).eval(), x)
        assert kept == (1 if entry.reducer.name is None else pytest.approx(0.66, abs=0.02)), entry.label


def test_what_is_done_is_not_done_again(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Fake(study.Study):  # type: ignore[name-defined, misc]
        def base(self, seed: int) -> Path:
            return tmp_path

        def tuned(self, entry: Any, seed: int) -> Path:
            asked.append(f"{entry.label} {seed}")
            return tmp_path

        def score(self, entry: Any, weights: Path) -> Any:
            return study.Score(0.5, 0.66)

    monkeypatch.setattr(study, "ENTRIES", [study.Entry("one"), study.Entry("two", stem=True)])
    fake = Fake(tmp_path, tmp_path / "out")
    study.append(
        tmp_path / "out" / "accuracy.csv", {"label": "one", "seed": 0, "kept": 1, "free": 1, "top1": 1}
    )
    study.train(fake, [0], ["one"])
    assert not asked
    study.train(fake, [0, 1], ["one", "two"])
    study.train(fake, [0, 1], ["one", "two"])
    assert asked == ["two 0", "one 1", "two 1"]
    free = {(row["label"], row["seed"]): row["free"] for row in study.read(tmp_path / "out" / "accuracy.csv")}
    assert free == {("one", "0"): "1", ("two", "0"): "", ("one", "1"): "0.5", ("two", "1"): ""}


def test_the_table_has_means_and_deviations(study: ModuleType, tmp_path: Path) -> None:
    for label, scores in {
        "base": (0.4, 0.5),
        "ToMe": (0.38, 0.47),
        "EViT": (0.3, 0.62),
        "SiT": (0.6,),
    }.items():
        for seed, top1 in enumerate(scores):
            row = {"label": label, "seed": seed, "kept": 0.66, "top1": top1}
            study.append(tmp_path / "accuracy.csv", row | {"free": None if label == "SiT" else 0.3})
    row = {"label": "ToMe", "gflops": 0.254, "rate": 123.4, "ratio": 1.234, "threads": 1}
    study.append(tmp_path / "speed.csv", row)
    lines = study.table(tmp_path, study.REFERENCES).splitlines()[2:]
    # mean 45 %, deviation √(2 · 5²) = 7.07 %; ToMe is 2 and 3 points below, EViT 10 below and 12 above
    assert lines == [
        "| base | 0.66 | – | – | – | 45.0 ± 7.1 |  | 30.0 ± 0.0 | 2 |",
        "| ToMe | 0.66 | 0.25 | 123 | 1.23 | 42.5 ± 6.4 | **-2.5 ± 0.7** | 30.0 ± 0.0 | 2 |",
        "| EViT | 0.66 | – | – | – | 46.0 ± 22.6 | +1.0 ± 15.6 | 30.0 ± 0.0 | 2 |",
        "| SiT | 0.66 | – | – | – | 60.0 ± 0.0 | – | – | 1 |",
    ]
