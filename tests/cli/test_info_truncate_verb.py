import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onedpiece.bitstream import Code
from onedpiece.bitstream.format import Flag

CODE = Code(np.arange(100, 164), 4096, bytes.fromhex("0badcafe"), (481, 321))

# A torch that cannot be imported, as on a machine where it is not installed.
WITHOUT_TORCH = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "lightning", "torchmetrics", "vector_quantize_pytorch"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
from onedpiece.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """An .odp file of 64 tokens."""
    path = tmp_path / "a.odp"
    path.write_bytes(CODE.to_bytes())
    return path


def test_the_first_tokens_are_a_file(cli: Any, code: Path, tmp_path: Path) -> None:
    result = cli("truncate", code, "--tokens", 16, "-o", tmp_path / "c.odp")
    assert result == (0, f"{tmp_path}/c.odp: 16 tokens, 35 bytes\n".encode(), "")  # 7 + 4 + 24
    assert Code.from_bytes((tmp_path / "c.odp").read_bytes()) == CODE[:16]


def test_the_default_name_says_the_count_and_leaves_the_input(cli: Any, code: Path, tmp_path: Path) -> None:
    assert cli("truncate", code, "--tokens", 16).status == 0
    assert Code.from_bytes((tmp_path / "a.16.odp").read_bytes()) == CODE[:16]
    assert Code.from_bytes(code.read_bytes()) == CODE


def test_a_coded_file_stays_coded_with_its_models_tables(
    cli: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onedpiece._providers.entropy_tables", {})  # no other test's model is known
    golden, out = data / "golden", tmp_path / "c.odp"
    words = ("truncate", golden / "entropy.odp", "--tokens", 20, "-o", out)
    assert cli(*words).status != 0  # it cannot be read without them
    assert cli(*words, "--model", golden / "model").status == 0
    assert out.read_bytes()[2] & Flag.ENTROPY
    assert len(out.read_bytes()) < 7 + 30  # what 20 plain tokens of 12 bits take


def test_standard_input_and_output(cli: Any) -> None:
    result = cli("truncate", "-", "--tokens", 2, "-o", "-", stdin=CODE.to_bytes())
    assert result == (0, CODE[:2].to_bytes(), "standard output: 2 tokens, 14 bytes\n")


@pytest.mark.parametrize("tokens", [0, 65, -3])
def test_counts_out_of_range(cli: Any, code: Path, tmp_path: Path, tokens: int) -> None:
    result = cli("truncate", code, "--tokens", tokens, "-o", tmp_path / "c.odp")
    assert result == (2, b"", f"onedpiece: {code}: tokens is {tokens}; this code has 1 to 64\n")
    assert not (tmp_path / "c.odp").exists()


def test_a_count_must_be_given(cli: Any, code: Path) -> None:
    result = cli("truncate", code)
    assert (result.status, result.out) == (2, b"")
    assert "--tokens" in result.err


def test_the_input_is_not_the_output(cli: Any, code: Path) -> None:
    assert cli("truncate", code, "--tokens", 3, "-o", code).status == 2
    assert Code.from_bytes(code.read_bytes()) == CODE


def test_no_picture_is_overwritten(cli: Any, code: Path, photos: Path) -> None:
    before = (photos / "a.png").read_bytes()
    result = cli("truncate", code, "--tokens", 3, "-o", photos / "a.png")
    assert (result.status, "is named as a picture" in result.err) == (2, True)
    assert (photos / "a.png").read_bytes() == before


def test_a_folder_is_refused(cli: Any, tmp_path: Path, code: Path) -> None:
    result = cli("truncate", tmp_path, "--tokens", 3)
    assert result == (2, b"", f"onedpiece: {tmp_path} is a folder; truncate takes one file\n")


def test_it_needs_no_torch(code: Path, tmp_path: Path) -> None:
    words = ["truncate", str(code), "--tokens", "16", "-o", str(tmp_path / "c.odp")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert Code.from_bytes((tmp_path / "c.odp").read_bytes()) == CODE[:16]


@pytest.mark.slow
@pytest.mark.parametrize("words", [["info", "a.odp"], ["models"], ["--help"], ["decode", "--help"]])
def test_neither_do_these(code: Path, words: list[str]) -> None:
    words = [str(code) if word == "a.odp" else word for word in words]
    command = [sys.executable, "-c", WITHOUT_TORCH, *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_entropy_coded_files_of_a_folders_model(cli: Any, data: Path, tmp_path: Path) -> None:
    golden = data / "golden"
    coded, model = golden / "entropy.odp", golden / "model"
    assert "it takes the tables" in cli("truncate", coded, "--tokens", 3, "-o", tmp_path / "c.odp").err
    assert "it takes the tables" in cli("info", coded).err
    done = cli("truncate", coded, "--tokens", 3, "--model", model, "-o", tmp_path / "c.odp")
    assert (done.status, done.err) == (0, "")
    assert b" 3 tokens of 4096" in cli("info", tmp_path / "c.odp", "--model", model).out
