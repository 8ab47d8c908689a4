"""DeiT's augmentation of what classifiers are trained on, by timm: RandAugment, mixup and CutMix."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from onedpiece.errors import MissingExtraError

IMAGENET_GREY = (124, 116, 104)
"""ImageNet's mean colour in bytes, which fills what a rotation leaves empty."""


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Let the global generators of `random` and NumPy, which timm draws from, follow `seed` inside.

    They are put back, so that nothing else of the process draws other numbers for it.
    """
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 (timm's)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


class RandAugment:
    """Random colour, contrast and geometry changes of one photo.

    Args:
        policy: timm's name of it, as `rand-m9-mstd0.5-inc1`, which is DeiT's.
        size: side of the photos in pixels.

    Raises:
        ValueError: there is no such policy.
        MissingExtraError: timm is not installed.

    Source: RandAugment, arXiv 1909.13719.
    """

    def __init__(self, policy: str, size: int) -> None:
        try:
            from timm.data.auto_augment import rand_augment_transform
        except ImportError as error:
            raise MissingExtraError(
                "RandAugment needs an extra: pip install 'onedpiece[retokenize]'"
            ) from error
        try:
            self._transform: Any = rand_augment_transform(
                policy, {"translate_const": int(size * 0.45), "img_mean": IMAGENET_GREY}
            )
        except (AssertionError, ValueError, KeyError) as error:
            raise ValueError(
                f"data.rand_augment is {policy!r}; use one of timm's, as rand-m9-mstd0.5-inc1"
            ) from error

    def __call__(self, pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        """Return (3, S, S) pixels changed as `seed` says."""
        with drawn_from(seed):
            changed = self._transform(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))))
        return np.ascontiguousarray(np.asarray(changed).transpose(2, 0, 1))


@dataclass(frozen=True)
class MixConfig:
    """How pictures of a batch, and their labels, are mixed; nothing by default.

    Attributes:
        mixup: alpha of Beta(alpha, alpha), which the share of a picture is drawn from; DeiT: 0.8.
        cutmix: likewise of CutMix, which pastes a rectangle; DeiT: 1.0.
        probability: share of the batches that are mixed.
        switch: share of these that take CutMix, where both are on.

    Raises:
        ValueError: on construction, a number out of range.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    probability: float = 1.0
    switch: float = 0.5

    def __post_init__(self) -> None:
        shares = (self.probability, self.switch)
        if min(self.mixup, self.cutmix) < 0 or not all(0 <= share <= 1 for share in shares):
            raise ValueError(
                "model.mix needs mixup ≥ 0, cutmix ≥ 0, and probability and switch in [0, 1]; got "
                f"{self.mixup}, {self.cutmix}, {self.probability} and {self.switch}"
            )

    @property
    def mixes(self) -> bool:
        """Whether anything is mixed."""
        return self.probability > 0 and max(self.mixup, self.cutmix) > 0


class Mixing:
    """Mixes a batch with itself in reverse order.

    Args:
        config: by how much.
        classes: of the labels.

    Source: mixup, arXiv 1710.09412; CutMix, arXiv 1905.04899.
    """

    def __init__(self, config: MixConfig, classes: int) -> None:
        from timm.data.mixup import Mixup

        # Smoothing is the objective's.
        mixup: Any = Mixup
        self._mix = mixup(
            config.mixup,
            config.cutmix,
            prob=config.probability,
            switch_prob=config.switch,
            label_smoothing=0.0,
            num_classes=classes,
        )

    def __call__(self, x: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mix pictures x (B, 3, H, W) and labels (B,) into pictures and shares (B, classes).

        Args:
            x: left as it is.
            target: int64.
            generator: of the draws, on the CPU.

        Raises:
            ValueError: the batch is odd.
        """
        if len(x) % 2:
            raise ValueError(f"model.mix needs an even batch; data.batch is {len(x)}")
        seed = int(torch.randint(2**31, (), generator=generator))
        with drawn_from(seed):
            mixed, shares = self._mix(x.clone(), target)
        return mixed, shares
