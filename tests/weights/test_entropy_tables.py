import json
import pickle
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from onedpiece import _providers
from onedpiece.bitstream import Code, EntropyTablesError
from onedpiece.bitstream.packing import known_tables, no_tables
from onedpiece.weights import load
from onedpiece.weights.checkpoint import FILE, bundled_tables, load_tables, tables_beside

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
PRINT = bytes.fromhex(json.loads((GOLDEN / "model" / "config.json").read_text())["fingerprint"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copytree(GOLDEN / "model", tmp_path / "model")


def test_a_loaded_models_tables_write_smaller_files(folder: Path, data: Path) -> None:
    codec = load(folder)
    code = codec.encode(data / "coffee.png")
    assert len(code.to_bytes()) < len(code.to_bytes(no_tables))
    assert code.to_bytes() == code.to_bytes(codec.tables_of)
    assert Code.from_bytes(code.to_bytes()) == Code.from_bytes(code.to_bytes(no_tables)) == code
    assert code[:20].to_bytes()[2] == 0x15  # a prefix of a coded file is coded


def test_a_model_of_one_code_space_reads_what_another_writes(folder: Path, data: Path) -> None:
    """Tables belong to the code space: a decoder that was trained on need not bring its own."""
    code = load(folder).encode(data / "coffee.png")
    coded = code.to_bytes()
    assert len(coded) < len(code.to_bytes(no_tables))
    (folder / FILE).unlink()
    assert load(folder).decode(coded).tobytes() == load(folder).decode(code).tobytes()


def test_a_budget_is_that_of_the_smaller_file(folder: Path, data: Path) -> None:
    codec = load(folder)
    code = codec.encode(data / "coffee.png", max_bytes=30)
    assert len(code.to_bytes()) <= 30 < len(code.to_bytes(no_tables)) + 3


def test_tables_are_no_part_of_a_model(folder: Path) -> None:
    (folder / FILE).unlink()
    assert load(folder).fingerprint == PRINT


def test_a_decoder_without_the_tables_refuses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_providers, "entropy_tables", {})  # what other tests have loaded
    (folder / FILE).unlink()
    with pytest.raises(ValueError, match="the file is entropy coded; it takes the tables"):
        load(folder).decode(GOLDEN / "entropy.odp")
    assert load(GOLDEN / "model").decode(GOLDEN / "entropy.odp").size == (32, 32)
    with pytest.raises(EntropyTablesError, match="it takes the tables"):
        Code.open(GOLDEN / "entropy.odp", no_tables)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "holds no entropy tables"),
        ("[]", "holds no entropy tables"),
        ('{"fingerprint": "00000000"}', "was made for model 00000000, beside it is"),
        (f'{{"fingerprint": "{PRINT.hex()}", "format": 1, "total": 65536}}', "holds no entropy tables"),
    ],
)
def test_damaged_or_other_tables_are_one_line(folder: Path, content: str, message: str) -> None:
    (folder / FILE).write_text(content)
    with pytest.raises(EntropyTablesError, match=message) as caught:
        load_tables(folder, PRINT)
    assert "\n" not in str(caught.value)


def test_bundled_models_have_tables_and_others_have_none() -> None:
    config = json.loads((Path(load.__code__.co_filename).parent / "ti-256" / "config.json").read_text())
    assert bundled_tables(bytes.fromhex(config["fingerprint"])) is not None
    assert bundled_tables(b"none") is None
    assert tables_beside(GOLDEN / "model", PRINT) == load_tables(GOLDEN / "model", PRINT)


SCRIPT = """
import sys, pickle
code = pickle.loads(bytes.fromhex(sys.argv[1]))
assert "onedpiece.weights" not in sys.modules
print(code.to_bytes().hex(), "torch" in sys.modules)
"""


def test_another_process_writes_the_same_bytes_without_torch() -> None:
    config = json.loads((Path(load.__code__.co_filename).parent / "ti-256" / "config.json").read_text())
    code = Code(np.arange(40) * 7 % 4096, 4096, bytes.fromhex(config["fingerprint"]))
    words = [sys.executable, "-c", SCRIPT, pickle.dumps(code).hex()]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [code.to_bytes().hex(), "False"]


def test_what_this_process_was_told_comes_before_the_sources(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = load_tables(folder, PRINT)
    assert ours is not None
    monkeypatch.setattr(_providers, "entropy_tables", {b"told": ours})
    monkeypatch.setattr(_providers, "entropy_table_sources", [{}.get, {b"told": None, b"held": ours}.get])
    assert known_tables(b"told") is ours
    assert known_tables(b"held") is ours
    assert known_tables(b"else") is None
