"""What a lower layer asks for and a higher one has, so that imports point down only.

Whoever knows answers adds a source; `onedpiece/__init__.py` adds the package's own, which loads what it needs
when it is first asked.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

entropy_tables: dict[bytes, Any] = {}
"""A fingerprint -> the `bitstream.packing.Tables` of its model, as this process was told."""

entropy_table_sources: list[Callable[[bytes], Any]] = []
"""Asked, in this order, for the tables of a fingerprint that is not above; each may answer None."""

tensor_makers: list[Callable[[Any], Any]] = []
"""The last one makes a torch tensor of an array, so that the layer of files need not know torch."""

pretrained_homes: dict[str, str] = {}
"""A class's name -> the module that has `load_pretrained`, `save_pretrained` and `push_folder` for it."""


class HubOptions(TypedDict, total=False):
    """Where and how the hub is asked for a model; a folder on this machine takes none.

    Attributes:
        revision: branch, tag or commit; None: the main branch.
        token: of one's account; None: the one that this machine is logged in with, if any.
        cache_dir: where files are kept; None: huggingface_hub's own folder.
        force_download: fetch what is there already.
        local_files_only: ask no network.
    """

    revision: str | None
    token: str | bool | None
    cache_dir: str | Path | None
    force_download: bool
    local_files_only: bool


class PushOptions(TypedDict, total=False):
    """How a model is uploaded.

    Attributes:
        commit_message: of the commit.
        private: whether a repository that is made is private; None: as the account's default says.
        token: of one's account; None: the one that this machine is logged in with.
        branch: where to; None: the main one.
        create_pr: propose it, do not commit it.
    """

    commit_message: str
    private: bool | None
    token: str | None
    branch: str | None
    create_pr: bool


class Pretrained:
    """The methods of Hugging Face's `PyTorchModelHubMixin`, by our own loaders, which check what they read.

    Without huggingface_hub (extra `[hub]`) they work on folders.
    """

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | PathLike[str], **options: Unpack[HubOptions]
    ) -> Self:
        """Return a model from a folder or the hub, in evaluation mode and float32, on the CPU.

        Args:
            pretrained_model_name_or_path: a folder that `save_pretrained` wrote, its OWNER/NAME on the hub,
                or what else the class knows by name.
            options: see `HubOptions`.

        Raises:
            WeightsError, HeadError: there is none, it is damaged, or is not what its config says.
        """
        model: Self = cls._home().load_pretrained(str(pretrained_model_name_or_path), **options)
        return model

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[PushOptions],
    ) -> None:
        """Write weights, config and a model card to a folder; an older model there goes, its card stays.

        Args:
            save_directory: made if it does not exist.
            repo_id: OWNER/NAME, for the card and the upload; None: the folder's name.
            push_to_hub: upload the folder too.
            model_card_kwargs: fields of `weights.model_card.CardFields`: metrics, dataset, license, text.
            options: see `PushOptions`.

        Raises:
            HubError: the upload failed.
            OSError: the folder cannot be written.
        """
        self._home().save_pretrained(self, save_directory, repo_id, model_card_kwargs)
        if push_to_hub:
            self._home().push_folder(
                save_directory, repo_id or Path(save_directory).resolve().name, **options
            )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        model_card_kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[PushOptions],
    ) -> str:
        """Upload the model to the hub, a new one where there is none, and return the commit's address.

        Args:
            repo_id: OWNER/NAME.
            model_card_kwargs: as for `save_pretrained`.
            options: see `PushOptions`.

        Raises:
            HubError: huggingface_hub is not installed, or the upload failed.
        """
        from tempfile import TemporaryDirectory  # half of what `import onedpiece` would take

        with TemporaryDirectory() as folder:
            self._home().save_pretrained(self, folder, repo_id, model_card_kwargs)
            return str(self._home().push_folder(folder, repo_id, **options))

    @classmethod
    def _home(cls) -> Any:
        named = (pretrained_homes.get(base.__name__) for base in cls.__mro__)
        return import_module(next(home for home in named if home))
