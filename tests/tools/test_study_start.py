"""The study of starts takes the first photos of each class, trains from each start and writes its table."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pyarrow")

import onedpiece
from onedpiece.training.codes import ClassFolders, CodeDataset, build_cache
from tools import study_start


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos of each of two classes to train on, in two views, and two to test on."""
    folder = tmp_path_factory.mktemp("start")
    random = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 2)):
        for label in ("a", "b"):
            (folder / "photos" / split / label).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / split / label / f"{i}.png")
    source = ClassFolders(str(folder / "photos"))
    return build_cache(folder / "codes.parquet", source, onedpiece.load(), ("plain", "flip"))


def test_all_views_of_the_first_photos_stay(cache: Path, tmp_path: Path) -> None:
    few = study_start.first_photos(cache, 2, tmp_path / "few.parquet")
    train = CodeDataset(few, "train")
    assert train.keys == [f"train/{label}/{i}.png" for label in "ab" for i in (0, 1) for _ in range(2)]
    assert len(CodeDataset(few, "test").keys) == 4


@pytest.mark.slow
def test_each_start_has_its_row(cache: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("<!-- begin: start -->\n<!-- end: start -->\n")
    words = ["--cache", str(cache), "--photos", "2", "--minutes", "0.01", "--out", str(tmp_path / "out")]
    study_start.main([*words, "--write", str(readme)])
    lines = readme.read_text().splitlines()
    assert lines[1] == "| top-1 %, 4 photos, 0.01 min | 16 tokens | 64 tokens | 256 tokens |"
    assert [line.split("|")[1].strip() for line in lines[3:5]] == ["from scratch", "`segment`"]
