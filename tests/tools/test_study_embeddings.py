"""The study of embeddings trains, scores and tells them apart, on next to nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

pytest.importorskip("pyarrow")

from onedpiece.codec import Codec
from onedpiece.training.codes import ClassFolders, build_cache
from tools import study_embeddings
from tools.study_embeddings import EMBEDDINGS, Classifier, Result, table


@pytest.fixture(scope="module")
def codec(small_codec: Callable[..., Codec]) -> Codec:
    return small_codec(b"\x01\x02\x03\x04", num_tokens=64, linear_size=32, fsq_grades=((64, (15, 15, 15)),))


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_every_embedding_reads_every_count(name: str, codec: Codec) -> None:
    torch.manual_seed(0)
    kind = EMBEDDINGS[name]
    network = Classifier(kind.make(codec), kind.layers, classes=3).eval()
    indices = torch.randint(15**3, (2, 64))
    with torch.no_grad():
        answers = [network(indices[:, :count]) for count in (1, 7, 64)]
    assert [tuple(answer.shape) for answer in answers] == [(2, 3)] * 3
    assert not torch.allclose(answers[1][0], answers[1][1], atol=1e-4)  # two photos are told apart
    assert not torch.allclose(answers[1], answers[2], atol=1e-4)  # and so is what more tokens say


@pytest.fixture
def cache(codec: Codec, tmp_path: Path) -> Path:
    for label, colour in (("red", (200, 20, 20)), ("blue", (20, 20, 200))):
        for split, count in (("train", 4), ("test", 2)):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (32, 32), tuple(c + 5 * i for c in colour)).save(folder / f"{i}.png")
    return build_cache(tmp_path / "codes.parquet", ClassFolders(str(tmp_path / "photos")), codec, ("plain",))


@pytest.mark.slow
def test_what_is_finished_is_not_done_again(
    codec: Codec, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_embeddings.onedpiece, "load", lambda name=None: codec)
    readme = tmp_path / "README.md"
    readme.write_text("<!-- begin: embeddings -->\n<!-- end: embeddings -->\n")
    words = ["--cache", str(cache), "--minutes", "0.005", "--out", str(tmp_path / "out"), "--seeds", "0"]
    words += ["--embeddings", "bands,both", "--write", str(readme)]
    study_embeddings.main(words)
    first = readme.read_text()
    assert first.count("\n| ") == 4  # the head, its rule and two rows
    stored = json.loads((tmp_path / "out" / "bands-0.json").read_text())
    assert stored["steps"] > 0
    monkeypatch.setattr(study_embeddings, "train", lambda *_: pytest.fail("trained again"))
    study_embeddings.main(words)
    assert readme.read_text() == first


def test_the_table_has_means_deviations_and_the_ratio() -> None:
    top1 = dict.fromkeys(study_embeddings.COUNTS, 40.0)
    cost = {count: float(count) for count in study_embeddings.COUNTS}
    more = dict.fromkeys(study_embeddings.COUNTS, 42.0)
    text = table([Result("bands", 0, 100, top1, cost), Result("bands", 1, 102, more, cost)])
    # Mean 41, deviation sqrt(1² + 1²) = 1.41; 16 / 256 = 0.06.
    cells = ["101", *["41.0 ± 1.4"] * 6, "16.00", "256.00", "0.06"]
    assert text.splitlines()[2] == f"| four neighbouring tokens as one | {' | '.join(cells)} |"
