"""Released weights to a folder of ours and back, and what is neither."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from onedpiece.cli.main import main
from onedpiece.errors import HubError, WeightsError
from onedpiece.tokenizer import Tokenizer
from onedpiece.weights import load
from onedpiece.weights.hub import RELEASED, read_pickled_state, read_state
from onedpiece.weights.released import convert_back, convert_released


@pytest.fixture
def released(data: Path) -> Path:
    """A small random network in the authors' layout (see tests/tokenizer/test_official.py)."""
    return data / "official_state.safetensors"


def test_there_and_back_gives_the_same_names_and_weights(released: Path, tmp_path: Path) -> None:
    convert_released(released, tmp_path / "ours")
    convert_back(tmp_path / "ours", tmp_path / "back.safetensors")
    before, after = load_file(released), load_file(tmp_path / "back.safetensors")
    assert before.keys() == after.keys()
    codebook = "quantize.embedding.weight"
    unit = torch.nn.functional.normalize(before.pop(codebook), dim=-1)
    torch.testing.assert_close(after.pop(codebook), unit, atol=1e-6, rtol=0)
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor.half().float(), atol=0, rtol=0)


def test_the_folder_is_a_model_like_any_other(released: Path, tmp_path: Path, data: Path) -> None:
    convert_released(released, tmp_path / "ours")
    codec = load(tmp_path / "ours")
    x = load_file(data / "official_io.safetensors")["input"]
    expected = Tokenizer.from_official(load_file(released)).tokenize(x)
    assert (codec.tokenizer.tokenize(x) == expected).float().mean() > 0.98  # float16 moves a few


def test_a_file_of_torch_save_is_read_and_written(released: Path, tmp_path: Path) -> None:
    torch.save(load_file(released), tmp_path / "pytorch_model.bin")
    convert_released(tmp_path / "pytorch_model.bin", tmp_path / "ours")
    convert_back(tmp_path / "ours", tmp_path / "again.bin")
    assert read_pickled_state(tmp_path / "again.bin").keys() == load_file(released).keys()


def test_a_released_name_is_fetched(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = load_file(released)
    monkeypatch.setattr("onedpiece.weights.released.fetch_released", {RELEASED[0]: state}.__getitem__)
    assert load(convert_released(RELEASED[0], tmp_path / "ours")).num_tokens == 32


def test_an_older_file_stays_where_writing_fails(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert_released(released, tmp_path / "ours")
    (tmp_path / "back.bin").write_bytes(b"older")

    def fail(_: object, path: Path) -> None:
        path.write_bytes(b"half of")
        raise OSError("disk full")

    monkeypatch.setattr("torch.save", fail)
    with pytest.raises(OSError, match="disk full"):
        convert_back(tmp_path / "ours", tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == b"older"


def test_what_is_no_released_model_is_said(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(HubError, match=r"a\.safetensors: not a released One-D-Piece state dict"):
        convert_released(tmp_path / "a.safetensors", tmp_path / "ours")
    (tmp_path / "b.safetensors").write_bytes(b"no tensors")
    with pytest.raises(HubError, match=r"b\.safetensors is no safetensors file"):
        read_state(tmp_path / "b.safetensors")
    with pytest.raises(HubError, match=r"there is no file .*nowhere\.bin"):
        read_state(tmp_path / "nowhere.bin")
    with pytest.raises(WeightsError, match="released One-D-Piece code has no such network"):
        convert_back("ti-256-untrained", tmp_path / "c.bin")
    assert not (tmp_path / "c.bin").exists()


def test_the_verb_converts_and_does_not_replace(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, back = str(tmp_path / "ours"), str(tmp_path / "back.safetensors")
    assert main(["convert", str(released), ours]) == 0
    assert main(["convert", ours, back]) == 0
    assert main(["convert", ours, back]) == 2
    assert "is there already; name another, or say --overwrite" in capsys.readouterr().err
    assert main(["convert", ours, back, "--overwrite"]) == 0
    assert main(["convert", "nowhere.bin", str(tmp_path / "x")]) == 2
    assert "there is no file nowhere.bin" in capsys.readouterr().err
