"""Rendered scenes as a source: the only photos here whose depth is known."""

from functools import partial

import torch
from PIL import Image

from onedpiece.training.codes.render import render
from onedpiece.training.codes.source import TEST, TRAIN, Example, Labelled, Source


class DepthScenes(Source):
    """Scenes drawn from a seed (see `render`).

    Args:
        train: how many to train on.
        test: how many others to test on.
        side: of each in pixels.
    """

    task = "depth"
    name = "scenes"
    classes = ()

    def __init__(self, train: int = 800, test: int = 100, side: int = 256) -> None:
        self.train, self.test, self.side = train, test, side

    def examples(self) -> list[Example]:
        """List the scenes; the test's come first, so that more to train on leave it as it is."""
        return [
            Example(f"scene{seed:05d}", TEST if seed < self.test else TRAIN, partial(_load, seed, self.side))
            for seed in range(self.test + self.train)
        ]


def _load(seed: int, side: int) -> Labelled:
    scene = render(seed, side)
    return Labelled(Image.fromarray(scene.pixels), torch.from_numpy(scene.depth))
