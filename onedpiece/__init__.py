"""onedpiece: a variable-length 1-D image tokenizer and codec.

The public names load lazily, so that ``import onedpiece`` costs neither torch nor lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from onedpiece import _providers

if TYPE_CHECKING:
    from onedpiece import codes
    from onedpiece.bitstream import Code
    from onedpiece.codec.codec import Codec
    from onedpiece.errors import OnedpieceError
    from onedpiece.tokenizer import Tokenizer, TokenizerConfig
    from onedpiece.weights.checkpoint import load

__version__ = "0.2.0"
__all__ = [
    "Code",
    "Codec",
    "OnedpieceError",
    "Tokenizer",
    "TokenizerConfig",
    "__version__",
    "codes",
    "load",
    "register_pillow",
]

_HOME = {
    "Code": "onedpiece.bitstream",
    "Codec": "onedpiece.codec",
    "OnedpieceError": "onedpiece.errors",
    "Tokenizer": "onedpiece.tokenizer",
    "TokenizerConfig": "onedpiece.tokenizer",
    "load": "onedpiece.weights",
}


def register_pillow() -> None:
    """Teach Pillow to open and save .odp files, with the bundled model (see `onedpiece.pillow_plugin`)."""
    from onedpiece.pillow_plugin import register

    register()


def _bundled_entropy_tables(fingerprint: bytes) -> Any:
    return import_module("onedpiece.weights.checkpoint").bundled_tables(fingerprint)


_providers.entropy_table_sources.append(_bundled_entropy_tables)


def __getattr__(name: str) -> Any:
    if name == "codes":
        return import_module("onedpiece.codes")
    if name not in _HOME:
        raise AttributeError(f"module 'onedpiece' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
