import json
from pathlib import Path
from shutil import copytree

import pytest

from onedpiece.bitstream import Code, EntropyTablesError, entropy
from onedpiece.bitstream.entropy import FILE, bundled_tables, load_tables
from onedpiece.weights import load

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
PRINT = bytes.fromhex(json.loads((GOLDEN / "model" / "config.json").read_text())["fingerprint"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copytree(GOLDEN / "model", tmp_path / "model")


def test_a_model_loads_with_its_tables_and_writes_smaller_files(folder: Path, data: Path) -> None:
    coded = load(folder).encode(data / "coffee.png")
    (folder / FILE).unlink()
    plain = load(folder).encode(data / "coffee.png")
    assert coded == plain
    assert len(coded.to_bytes()) < len(plain.to_bytes())
    assert load(folder).fingerprint == PRINT  # tables are no part of it


def test_a_decoder_without_the_tables_refuses(folder: Path) -> None:
    (folder / FILE).unlink()
    with pytest.raises(ValueError, match="the file is entropy coded; it takes the tables"):
        load(folder).decode(GOLDEN / "entropy.odp")
    assert load(GOLDEN / "model").decode(GOLDEN / "entropy.odp").size == (32, 32)


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


def test_bundled_tables_are_found_by_the_files_fingerprint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (GOLDEN / "entropy.odp").read_bytes()
    with pytest.raises(EntropyTablesError, match="it takes the tables"):
        Code.from_bytes(data)
    monkeypatch.setattr(entropy, "BUNDLED", folder.parent)
    bundled_tables.cache_clear()
    code = Code.from_bytes(data)
    bundled_tables.cache_clear()
    assert code[:20].to_bytes()[2] == 0x14  # a prefix of a coded file is coded


def test_unknown_models_have_no_bundled_tables() -> None:
    assert bundled_tables(b"none") is None
