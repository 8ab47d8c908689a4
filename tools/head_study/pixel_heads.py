"""A head's own network on pixels in the place of tokens: the same layers, trained for the same time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from onedpiece.heads import Head, Output
from onedpiece.heads.backbone import PICTURE_MEAN, PICTURE_STD
from onedpiece.heads.embeddings import PIXELS
from onedpiece.training.augment import draw_views
from onedpiece.training.codes import BoxTarget
from onedpiece.training.data.sampling import endless_rows, generator_for
from onedpiece.training.head_module import attention_kernels
from onedpiece.training.losses.heads import ObjectiveConfig, head_loss
from onedpiece.training.metrics import TaskMetric
from tools.head_study.settings import Settings

Targets = Tensor | list[BoxTarget]
_BATCH = 100  # photos that are tested together


class PixelHead(nn.Module):
    """A head whose linear picture is a picture that it is given, and whose code tokens are left out.

    It starts from the head's own weights, so that it has the same past.

    Args:
        head: whose network sees the linear picture.

    Raises:
        ValueError: the head sees code tokens alone.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        if not head.config.linear_picture:
            raise ValueError("this head reads code tokens alone, which pixels have none of")
        self.head = Head(replace(head.config, codes=False))
        mine = self.head.state_dict()
        self.head.load_state_dict({name: each for name, each in head.state_dict().items() if name in mine})

    def forward(self, pictures: Tensor) -> Output:
        """Predict from pictures (B, 3, S, S) in [0, 1]."""
        output: Output = self.read((pictures - PICTURE_MEAN) / PICTURE_STD)
        return output

    def read(self, pictures: Tensor) -> Output:
        """Predict from standardised pictures (B, 3, S, S)."""
        output: Output = self.head.task_head(self.head.backbone.read_picture(pictures))
        return output

    def side(self, count: int) -> int:
        """Return the side of the linear picture that the head draws from `count` tokens, in pixels."""
        return PIXELS * self.head.config.side(count)


class Pictures(NamedTuple):
    """Photos at the bytes of one token count.

    Attributes:
        pixels: (R, 3, S, S) in [0, 1].
        targets: (R, ...) where they are tensors, else a list of boxes.
    """

    pixels: Tensor
    targets: Targets


def rows_of(targets: Targets, rows: Sequence[int]) -> Targets:
    """Return the targets of some rows."""
    if isinstance(targets, Tensor):
        return targets[torch.as_tensor(rows, dtype=torch.int64)]
    return [targets[row] for row in rows]


def mirrored(targets: Targets, coin: Tensor) -> Targets:
    """Return targets left to right where the coin (B,) says so."""
    if not isinstance(targets, Tensor):
        flip = torch.tensor([-1.0, 1, -1, 1]), torch.tensor([1.0, 0, 1, 0])
        return [
            t._replace(boxes=t.boxes[:, [2, 1, 0, 3]] * flip[0] + flip[1]) if turned else t
            for t, turned in zip(targets, coin.tolist(), strict=True)
        ]
    return targets if targets.ndim < 3 else torch.where(coin[:, None, None], targets.flip(2), targets)


def pixel_loss(
    sets: dict[int, Pictures], settings: Settings, seed: int
) -> Callable[[PixelHead, int], Tensor]:
    """Return the loss of batch number n, whose photos are all at the bytes of one random token count.

    Args:
        sets: the training photos by token count.
        settings: batch, and the views that pictures go through; photos are mirrored where the head's were.
        seed: of everything that is drawn.
    """
    counts = sorted(sets)
    walks: dict[int, Iterator[Tensor]] = {
        count: endless_rows(0, len(sets[count].pixels), settings.batch, seed + count) for count in counts
    }

    def loss(network: PixelHead, step: int) -> Tensor:
        count = int(np.random.default_rng([seed, step]).choice(counts))
        rows, generator = next(walks[count]), generator_for("cpu", "views", seed, step)
        x = (sets[count].pixels[rows] - PICTURE_MEAN) / PICTURE_STD
        targets = rows_of(sets[count].targets, rows.tolist())
        if "flip" in settings.variants:
            coin = torch.rand(len(x), generator=generator) < 0.5
            x, targets = torch.where(coin[:, None, None, None], x.flip(3), x), mirrored(targets, coin)
        if settings.views.alters:
            views = draw_views(len(x), settings.views, generator)
            x = views.picture(x)
            if isinstance(targets, Tensor) and targets.ndim == 3:
                targets = views.mask(targets)
        with attention_kernels(x.device, (x.shape[-1] // PIXELS) ** 2):
            return head_loss(network.read(x), targets, ObjectiveConfig())

    return loss


@torch.inference_mode()
def score(network: PixelHead, pictures: Pictures) -> float:
    """Return the network's score on photos, in float32."""
    config = network.head.config
    metric = TaskMetric(config.task, len(config.classes))
    for start in range(0, len(pictures.pixels), _BATCH):
        rows = range(start, min(start + _BATCH, len(pictures.pixels)))
        metric.update(network(pictures.pixels[start : start + _BATCH]), rows_of(pictures.targets, rows))
    return metric.value()
