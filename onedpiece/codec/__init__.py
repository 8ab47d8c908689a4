"""Image → `Code` → image: the one place where network and bytes meet, and the one reader of pictures.

The codec loads lazily, so that who only reads pictures does not load the network.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onedpiece.codec.codec import Codec, CodeLike
    from onedpiece.codec.model import EncodeResult
    from onedpiece.errors import WrongModelError

__all__ = ["CodeLike", "Codec", "EncodeResult", "WrongModelError"]

_HOME = {
    "CodeLike": "onedpiece.codec.codec",
    "Codec": "onedpiece.codec.codec",
    "EncodeResult": "onedpiece.codec.model",
    "WrongModelError": "onedpiece.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'onedpiece.codec' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
