"""From a shot's file back to the picture that was scored."""

from collections.abc import Callable

from PIL import Image

from onedpiece.codec import Codec
from onedpiece.evaluation.best_shot import restore
from onedpiece.evaluation.formats import image_format
from onedpiece.evaluation.study import OURS, Shot

Reconstruct = Callable[[Shot], Image.Image]
"""A shot's picture, RGB, at the size at which the study compared."""


def reconstructor(codec: Codec, side: int) -> Reconstruct:
    """Return a function that draws any shot of a study made with `codec` on squares of `side` pixels."""

    def reconstruct(shot: Shot) -> Image.Image:
        if shot.codec == OURS:
            return codec.decode(shot.data)
        return restore(image_format(shot.codec), shot.data, (side, side))

    return reconstruct
