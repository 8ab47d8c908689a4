"""A classifier that takes part in no training loss, to tell whether it still sees what a picture shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_CLASSES = 1000


class Judge:
    """A TFLite ImageNet classifier on raw 8-bit RGB pictures, one at a time on one core."""

    def __init__(self, path: Path) -> None:
        """Load the model at `path`.

        Raises:
            ModuleNotFoundError: ai-edge-litert is not installed.
            ValueError: no model can be read there, or it takes no (1, H, W, 3) 8-bit pictures.
        """
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ModuleNotFoundError(
                "a TFLite judge needs an extra: pip install 'onedpiece[judge]'"
            ) from error
        try:
            self._interpreter: Any = Interpreter(str(path), num_threads=1)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        self._interpreter.allocate_tensors()
        taken = self._interpreter.get_input_details()[0]
        if taken["dtype"] is not np.uint8 or len(taken["shape"]) != 4 or taken["shape"][3] != 3:
            raise ValueError(
                f"{path} takes {taken['dtype'].__name__} {list(taken['shape'])}, not 8-bit RGB pictures"
            )
        self._input: int = taken["index"]
        self._output: int = self._interpreter.get_output_details()[0]["index"]
        self._size = int(taken["shape"][2]), int(taken["shape"][1])

    def classify(self, images: Sequence[Image.Image]) -> list[int]:
        """Return the ImageNet class index, 0 to 999, that each RGB picture most looks like."""
        return [self._classify_one(image) for image in images]

    def _classify_one(self, image: Image.Image) -> int:
        pixels = np.asarray(image.convert("RGB").resize(self._size, Image.Resampling.BILINEAR))
        self._interpreter.set_tensor(self._input, pixels[None])
        self._interpreter.invoke()
        # 1001 outputs are a background class and then the thousand.
        return int(self._interpreter.get_tensor(self._output)[0][-_CLASSES:].argmax())
