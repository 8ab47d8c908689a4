"""onedpiece: a variable-length 1-D image tokenizer and codec.

The public names load lazily, so that ``import onedpiece`` costs neither torch nor lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from onedpiece import _providers

if TYPE_CHECKING:
    from onedpiece import codes, errors, heads, retokenize
    from onedpiece.bitstream import Code
    from onedpiece.codec.codec import Codec
    from onedpiece.errors import OnedpieceError
    from onedpiece.heads import Head, load_head
    from onedpiece.tokenizer import Tokenizer, TokenizerConfig
    from onedpiece.weights.checkpoint import list_models, load
    from onedpiece.weights.writer import save

__version__ = "0.2.0"
__all__ = [
    "Code",
    "Codec",
    "Head",
    "OnedpieceError",
    "Tokenizer",
    "TokenizerConfig",
    "__version__",
    "codes",
    "errors",
    "heads",
    "list_models",
    "load",
    "load_head",
    "register_pillow",
    "retokenize",
    "save",
]

_HOME = {
    "Code": "onedpiece.bitstream",
    "Codec": "onedpiece.codec",
    "Head": "onedpiece.heads",
    "OnedpieceError": "onedpiece.errors",
    "Tokenizer": "onedpiece.tokenizer",
    "TokenizerConfig": "onedpiece.tokenizer",
    "list_models": "onedpiece.weights",
    "load": "onedpiece.weights",
    "load_head": "onedpiece.heads",
    "save": "onedpiece.weights",
}
_MODULES = {"codes", "errors", "heads", "retokenize"}


def register_pillow() -> None:
    """Teach Pillow to open and save .odp files, with the bundled model (see `onedpiece.pillow_plugin`).

    >>> import onedpiece, PIL.Image
    >>> onedpiece.register_pillow()
    >>> PIL.Image.registered_extensions()[".odp"]
    'ODP'
    """
    from onedpiece.pillow_plugin import register

    register()


def _bundled_entropy_tables(fingerprint: bytes) -> Any:
    return import_module("onedpiece.weights.checkpoint").bundled_tables(fingerprint)


def _tensor(values: Any) -> Any:
    try:
        torch = import_module("torch")
    except ModuleNotFoundError as error:
        from onedpiece.errors import MissingExtraError

        raise MissingExtraError("a tensor needs torch: pip install torch, or take code.indices") from error
    return torch.tensor(values)


_providers.entropy_table_sources.append(_bundled_entropy_tables)
_providers.tensor_makers.append(_tensor)
_providers.pretrained_homes.update(
    Tokenizer="onedpiece.weights.pretrained", Head="onedpiece.heads.pretrained"
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"onedpiece.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'onedpiece' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
