"""Files from the Hugging Face hub, and the released One-D-Piece weights among them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Unpack

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from onedpiece._files import one_line
from onedpiece._providers import HubOptions
from onedpiece.errors import HubError
from onedpiece.tokenizer import Tokenizer

RELEASED = tuple(f"turing-motors/One-D-Piece-{size}-256" for size in "SBL")
RELEASED_FILE = "pytorch_model.bin"
FOLDER_FILES = ("config.json", "entropy.json", "*.safetensors", "*.safetensors.index.json")


def download(repo_id: str, filename: str, **options: Unpack[HubOptions]) -> Path:
    """Return the local path of a hub file, fetched into huggingface_hub's cache if it is not there yet.

    Args:
        repo_id: "owner/name".
        filename: its path inside the repository.
        options: as huggingface_hub takes them.

    Raises:
        HubError: huggingface_hub is not installed, the hub cannot be reached, or it has no such file.
    """
    with _asking(repo_id, filename):
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(repo_id, filename, **options))


def fetch_folder(repo_id: str, **options: Unpack[HubOptions]) -> Path:
    """Return the local folder of a model that `save_pretrained` wrote and somebody uploaded.

    Args:
        repo_id: "owner/name".
        options: as huggingface_hub takes them.

    Raises:
        HubError: as `download`.
    """
    with _asking(repo_id, "the model (it is no folder here)"):
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(repo_id, allow_patterns=[*FOLDER_FILES], **options))


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    commit_message: str = "Upload a model of onedpiece",
    private: bool | None = None,
    token: str | None = None,
    branch: str | None = None,
    create_pr: bool = False,
) -> str:
    """Upload a model's folder, and return the commit's address; the repository is made where it is not.

    Args:
        folder: what `save_pretrained` wrote.
        repo_id: "owner/name".
        commit_message: of the commit.
        private: whether a repository that is made is private; None: as the account's default says.
        token: of one's account; None: the one that this machine is logged in with.
        branch: where to; None: the main one.
        create_pr: propose it, do not commit it.

    Raises:
        HubError: huggingface_hub is not installed, or the hub refuses or cannot be reached.
    """
    with _asking(repo_id, "leave to write", verb="upload"):
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if branch:
            api.create_branch(name, branch=branch, exist_ok=True)
        info = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            commit_message=commit_message,
            revision=branch,
            create_pr=create_pr,
            allow_patterns=[*FOLDER_FILES, "README.md", "LICENSE-*.txt"],
        )
        return str(info.commit_url)


@contextmanager
def _asking(repo_id: str, what: str, verb: str = "fetch") -> Iterator[None]:
    """Turn what can go wrong at the hub into one line; its client would print one for every retry."""
    try:
        import_module("huggingface_hub")
    except ImportError:
        lead = "is no folder here; to ask" if verb == "fetch" else "cannot be written to; to reach"
        raise HubError(
            f"{repo_id} {lead} the Hugging Face hub for it takes an extra: pip install 'onedpiece[hub]'"
        ) from None
    try:
        with without_retries():
            yield
    except Exception as error:  # its clients' errors have no common base, and change with its version
        said = f"fetch {what} of {repo_id} from" if verb == "fetch" else f"upload {repo_id} to"
        raise HubError(
            f"could not {said} the Hugging Face hub; check the name and the "
            f"network ({one_line(error, named=True)})"
        ) from error


@contextmanager
def without_retries() -> Iterator[None]:
    """Keep huggingface_hub, which is installed, from a line for every retry inside the block."""
    import_module("huggingface_hub.file_download")  # which sets the level as it is imported
    client = logging.getLogger("huggingface_hub")
    level = client.level
    client.setLevel(logging.ERROR)
    try:
        yield
    finally:
        client.setLevel(level)


def read_pickled_state(path: Path) -> dict[str, Tensor]:
    """Read a `torch.save`d state dict as tensors on the CPU, running nothing that the file names.

    Raises:
        HubError: the file is damaged, or holds anything but tensors by name.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever the bytes lead it to
        reason = one_line(error, named=True).split(". ")[0]
        raise HubError(
            f"{path} is not a plain PyTorch state dict; delete it and fetch again ({reason})"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise HubError(f"{path} holds {type(state).__name__}, not tensors by name; delete it and fetch again")
    return state


def read_state(name: str | Path) -> dict[str, Tensor]:
    """Read tensors by name, on the CPU, from a file or the hub.

    Args:
        name: a .safetensors file, or one of torch.save; or OWNER/NAME/FILE of the hub.

    Raises:
        HubError: there is no such file, it cannot be fetched, or it holds anything but tensors by name.
    """
    path, parts = Path(name), str(name).split("/", 2)
    if not path.is_file():
        if len(parts) < 3 or path.is_absolute():
            raise HubError(f"there is no file {name}, and it is no OWNER/NAME/FILE of the hub")
        path = download("/".join(parts[:2]), parts[2])
    if path.suffix != ".safetensors":
        return read_pickled_state(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise HubError(f"{path} is no safetensors file, or was cut short ({one_line(error)})") from error


def fetch_released(repo_id: str, **options: Unpack[HubOptions]) -> dict[str, Tensor]:
    """Fetch the released state dict of one of `RELEASED`, for `Tokenizer.from_official`.

    Raises:
        HubError: the name is no released model, or as `download` and `read_pickled_state`.
    """
    if repo_id not in RELEASED:
        raise HubError(f"{repo_id} is not a released One-D-Piece; there are: {', '.join(RELEASED)}")
    return read_pickled_state(download(repo_id, RELEASED_FILE, **options))


def load_official(repo_id: str, **options: Unpack[HubOptions]) -> Tokenizer:
    """Return the tokenizer of one of `RELEASED`, fetched on first use; in evaluation mode, on the CPU.

    Raises:
        HubError: as `fetch_released`, or the file holds no One-D-Piece.
    """
    state_dict = fetch_released(repo_id, **options)
    try:
        return Tokenizer.from_official(state_dict)
    except ValueError as error:
        raise HubError(f"{RELEASED_FILE} of {repo_id}: {error}") from error
