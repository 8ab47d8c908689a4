"""Fetching released weights, with the network taken away."""

import logging
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from onedpiece.errors import HubError
from onedpiece.weights import WeightsError, load
from onedpiece.weights.hub import download, fetch_released, load_official, read_pickled_state

huggingface_hub = pytest.importorskip("huggingface_hub")
errors = pytest.importorskip("huggingface_hub.errors")
SMALL = "turing-motors/One-D-Piece-S-256"


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


def serve(monkeypatch: pytest.MonkeyPatch, path: Path) -> list[tuple[str, str]]:
    """Let the hub answer every request with `path`; the requests are listed."""
    asked: list[tuple[str, str]] = []

    def hf_hub_download(repo_id: str, filename: str) -> str:
        asked.append((repo_id, filename))
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    return asked


def fail(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def hf_hub_download(repo_id: str, filename: str) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)


@pytest.mark.parametrize("size", ["S", "B", "L"])
def test_released_weights_come_from_pytorch_model_bin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: str
) -> None:
    name = f"turing-motors/One-D-Piece-{size}-256"
    state = {"latent_tokens": torch.arange(6.0).view(2, 3)}
    torch.save(state, tmp_path / "made.bin")
    asked = serve(monkeypatch, tmp_path / "made.bin")
    fetched = fetch_released(name)
    assert asked == [(name, "pytorch_model.bin")]
    assert list(fetched) == ["latent_tokens"]
    torch.testing.assert_close(fetched["latent_tokens"], state["latent_tokens"])


def test_a_folder_on_the_hub_is_a_model(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    asked: list[str] = []

    def snapshot_download(repo_id: str, allow_patterns: list[str]) -> str:
        asked.append(repo_id)
        assert {"config.json", "entropy.json"} <= set(allow_patterns)
        return str(data / "golden" / "model")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    codec = load("someone/some-model")
    assert asked == ["someone/some-model"]
    assert codec.decode(data / "golden" / "entropy.odp").size == (32, 32)


@pytest.mark.parametrize("name", ["./nowhere/model", "/nowhere/model", "nowhere", "a/b/c"])
def test_a_path_is_not_asked_for(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    with pytest.raises(WeightsError, match="it is no folder and no OWNER/NAME"):
        load(name)


def test_retries_are_not_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def hf_hub_download(repo_id: str, filename: str) -> str:
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s")
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    caplog.set_level(logging.INFO, "huggingface_hub")
    with pytest.raises(HubError):
        download(SMALL, "pytorch_model.bin")
    assert caplog.messages == []
    assert logging.getLogger("huggingface_hub").level == logging.INFO  # somebody else may want to hear it


def test_other_names_are_refused_before_the_network_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = serve(monkeypatch, tmp_path)
    with pytest.raises(HubError, match=r"someone/else is not a released One-D-Piece; there are: .*-L-256"):
        fetch_released("someone/else")
    assert asked == []


def test_code_in_a_pickle_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"latent_tokens": Malicious()}, tmp_path / "bad.bin")
    with pytest.raises(HubError, match=r"bad\.bin is not a plain PyTorch state dict"):
        read_pickled_state(tmp_path / "bad.bin")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"hello world", b"PK\x03\x04 half a zip"])
def test_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    with pytest.raises(HubError, match=r"pytorch_model\.bin is not a plain PyTorch state dict") as caught:
        read_pickled_state(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [torch.zeros(2), {"model": {"latent_tokens": torch.zeros(2)}}])
def test_anything_but_tensors_by_name_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "odd.bin")
    with pytest.raises(HubError, match="not tensors by name"):
        read_pickled_state(tmp_path / "odd.bin")


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("no route\nto host"),
        errors.LocalEntryNotFoundError("not in the cache\nand no network"),
        errors.EntryNotFoundError("404\nnot there"),
        errors.HFValidationError("Repo id must be\nowner/name"),
        Exception("of a client that has errors\nof its own"),
    ],
)
def test_no_network_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    fail(monkeypatch, error)
    with pytest.raises(HubError, match=r"could not fetch pytorch_model\.bin of .*network") as caught:
        fetch_released(SMALL)
    assert type(error).__name__ in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubError, match=r"pip install 'onedpiece\[hub\]'"):
        download(SMALL, "pytorch_model.bin")


def test_offline_hub_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The real client, told to stay off the network, with an empty cache.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HubError, match="could not fetch") as caught:
        fetch_released(SMALL)
    assert "\n" not in str(caught.value)


def test_released_file_becomes_a_tokenizer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path
) -> None:
    torch.save(load_file(data / "official_state.safetensors"), tmp_path / "pytorch_model.bin")
    serve(monkeypatch, tmp_path / "pytorch_model.bin")
    vectors = load_file(data / "official_io.safetensors")
    assert torch.equal(load_official(SMALL).tokenize(vectors["input"]), vectors["indices"])
    assert load(SMALL).num_tokens == 32  # no folder of ours is asked for


def test_another_networks_weights_are_an_error_of_the_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    serve(monkeypatch, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin of .*S-256.* missing: latent_tokens"):
        load_official(SMALL)
