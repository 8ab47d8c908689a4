"""Tokenizers as Hugging Face's habits have them; the hub is a folder here."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open

import onedpiece
from onedpiece import Tokenizer
from onedpiece.errors import HubError, WeightsError
from onedpiece.tokenizer import TokenizerConfig
from onedpiece.weights import fingerprint, save
from onedpiece.weights.writer import INDEX, WHOLE

huggingface_hub = pytest.importorskip("huggingface_hub")
SCORES = {"metrics": {"psnr": 19.12, "lpips": 0.722}, "dataset": "ImageNet", "license": "apache-2.0"}


@pytest.fixture
def tokenizer(small_config: Callable[..., TokenizerConfig]) -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(small_config()).eval()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_round_trip_gives_equal_files(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "a" / "m", model_card_kwargs=SCORES)
    again = Tokenizer.from_pretrained(tmp_path / "a" / "m")
    assert not again.training
    again.save_pretrained(tmp_path / "b" / "m", model_card_kwargs=SCORES)
    first, second = files_of(tmp_path / "a" / "m"), files_of(tmp_path / "b" / "m")
    assert first.keys() == {"README.md", "config.json", WHOLE}
    assert first == second
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(again.tokenize(x), Tokenizer.from_pretrained(tmp_path / "b" / "m").tokenize(x))


@pytest.mark.parametrize("shard_bytes", [2**24, 30_000])
def test_other_tools_read_the_folder(tokenizer: Tokenizer, tmp_path: Path, shard_bytes: int) -> None:
    """In one file and in several with an index, by huggingface_hub's loader and by safetensors' own."""
    folder = save(tokenizer, tmp_path, shard_bytes)
    assert (folder / INDEX).exists() == (shard_bytes == 30_000) != (folder / WHOLE).exists()
    fresh = Tokenizer(tokenizer.config)
    result = huggingface_hub.load_torch_model(fresh, folder, strict=True)
    assert not result.missing_keys
    assert not result.unexpected_keys
    for name, tensor in Tokenizer.from_pretrained(folder).state_dict().items():
        assert torch.equal(tensor, fresh.state_dict()[name]), name
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            assert file.metadata() == {"format": "pt"}  # transformers asks for it


def test_the_bundled_index_is_that_of_its_files() -> None:
    folder = Path(onedpiece.weights.checkpoint.BUNDLED) / "ti-256"
    index = json.loads((folder / INDEX).read_text())
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found |= dict.fromkeys(file.keys(), path.name)
    assert index["weight_map"] == found


def test_an_index_goes_with_its_shards(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save(tokenizer, tmp_path, 30_000)
    assert {path.name for path in save(tokenizer, tmp_path).iterdir()} == {"config.json", WHOLE}


def test_the_card_says_the_scores(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path, repo_id="someone/tiny", model_card_kwargs=SCORES | {"text": "# More"})
    card = huggingface_hub.ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "onedpiece"
    assert card.data.license == "apache-2.0"
    assert [(each.metric_type, each.metric_value, each.dataset_name) for each in card.data.eval_results] == [
        ("psnr", 19.12, "ImageNet"),
        ("lpips", 0.722, "ImageNet"),
    ]
    assert 'onedpiece.load("someone/tiny")' in card.text
    assert fingerprint(tokenizer).hex() in card.text
    assert card.text.endswith("# More\n")


def test_a_card_that_somebody_wrote_stays(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    with pytest.raises(ValueError, match=r"no field scores; there are: metrics, dataset, license, text"):
        tokenizer.save_pretrained(tmp_path, model_card_kwargs={"scores": {}})


def test_checks_are_those_of_load(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"fingerprint": "00000000"}))
    with pytest.raises(WeightsError, match="have fingerprint"):
        Tokenizer.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"reading config\.json"):
        Tokenizer.from_pretrained(tmp_path)


def test_entropy_tables_travel_along(data: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(data / "golden" / "model")
    tokenizer.save_pretrained(tmp_path)
    coded = (data / "golden" / "entropy.odp").read_bytes()
    codec = onedpiece.load(tmp_path)
    assert codec.model.tables is not None
    assert onedpiece.Code.from_bytes(coded, codec.tables_of).to_bytes() == coded


def test_another_models_entropy_tables_do_not_stay(data: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    Tokenizer.from_pretrained(data / "golden" / "model").save_pretrained(tmp_path)
    assert (tmp_path / "entropy.json").is_file()
    save(tokenizer, tmp_path)
    assert not (tmp_path / "entropy.json").exists()
    assert onedpiece.load(tmp_path).tokenizer.config == tokenizer.config


class Hub:
    """What `HfApi` is asked, and a repository as a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, []

    def __call__(self, token: str | None = None) -> "Hub":
        self.asked.append(("token", token))
        return self

    def create_repo(self, repo_id: str, private: bool | None, exist_ok: bool) -> SimpleNamespace:
        self.asked.append(("repo", repo_id, private, exist_ok))
        return SimpleNamespace(repo_id=repo_id)

    def create_branch(self, repo_id: str, branch: str, exist_ok: bool) -> None:
        self.asked.append(("branch", branch))

    def upload_folder(
        self, *, folder_path: Any, allow_patterns: list[str], **options: Any
    ) -> SimpleNamespace:
        self.asked.append(("upload", options))
        for path in Path(folder_path).iterdir():
            assert any(path.match(pattern) for pattern in allow_patterns), path
            (self.folder / path.name).write_bytes(path.read_bytes())
        return SimpleNamespace(commit_url="https://hub/commit/1")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    (tmp_path / "hub").mkdir()
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    return hub


def test_what_is_pushed_can_be_fetched(
    tokenizer: Tokenizer, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = tokenizer.push_to_hub("someone/tiny", private=True, branch="dev", token="t", commit_message="m")
    assert address == "https://hub/commit/1"
    assert hub.asked == [
        ("token", "t"),
        ("repo", "someone/tiny", True, True),
        ("branch", "dev"),
        (
            "upload",
            {"repo_id": "someone/tiny", "commit_message": "m", "revision": "dev", "create_pr": False},
        ),
    ]

    def snapshot_download(repo_id: str, **options: Any) -> str:
        assert repo_id == "someone/tiny"
        assert (options["revision"], options["local_files_only"]) == ("dev", True)
        assert INDEX in [
            name for name in [INDEX] for pattern in options["allow_patterns"] if Path(name).match(pattern)
        ]
        return str(hub.folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    again = Tokenizer.from_pretrained("someone/tiny", revision="dev", local_files_only=True)
    assert fingerprint(again) == fingerprint(tokenizer)


def test_saving_can_push(tokenizer: Tokenizer, hub: Hub, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "m", repo_id="someone/tiny", push_to_hub=True)
    assert ("repo", "someone/tiny", None, True) in hub.asked
    assert files_of(hub.folder) == files_of(tmp_path / "m")


def test_the_folder_that_one_is_in_has_a_name_on_the_hub_too(
    tokenizer: Tokenizer, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    tokenizer.save_pretrained(".", push_to_hub=True, create_pr=True)
    assert ("repo", "mine", None, True) in hub.asked
    assert hub.asked[-1][1]["create_pr"]
    assert (tmp_path / "hub" / "README.md").read_text().count("# mine") == 1


def test_the_notice_of_the_sharp_network_is_pushed_too(
    small_config: Callable[..., TokenizerConfig], hub: Hub
) -> None:
    Tokenizer(small_config(sharp_blocks=1)).push_to_hub("someone/sharp")
    assert "LICENSE-Real-ESRGAN.txt" in files_of(hub.folder)


def test_without_the_extra_folders_work_and_the_hub_says_how(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    tokenizer.save_pretrained(tmp_path)
    Tokenizer.from_pretrained(tmp_path)
    for work in (
        lambda: Tokenizer.from_pretrained("someone/tiny"),
        lambda: tokenizer.push_to_hub("someone/tiny"),
    ):
        with pytest.raises(HubError, match=r"^[^\n]*pip install 'onedpiece\[hub\]'$"):
            work()


def test_names_are_listed() -> None:
    assert onedpiece.list_models()[0] == "ti-256"
    assert onedpiece.list_models("*One-D-Piece-S*") == ["turing-motors/One-D-Piece-S-256"]
    assert onedpiece.list_models("none") == []
