"""Image → `Code` → image: the one place where network and bytes meet, and the one reader of pictures.

The codec loads lazily, so that who only reads pictures does not load the network.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onedpiece.codec.codec import Codec, CodeLike
    from onedpiece.errors import WrongModelError

__all__ = ["CodeLike", "Codec", "WrongModelError"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'onedpiece.codec' has no attribute {name!r}")
    from onedpiece.codec import codec

    return getattr(codec, name)
