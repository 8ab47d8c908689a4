"""Photos with depth: those without labels, with the depth that a large network sees, and rendered scenes.

Scenes are boxes and spheres on a floor, drawn by casting rays, so that the depth of every pixel is exact.
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from onedpiece.training.codes.base import TEST, TRAIN, Example, Labelled, Source
from onedpiece.training.codes.teacher import Unlabelled
from onedpiece.weights.third_party import depth_seen, transformers_pair

Teacher = Callable[[Image.Image], Tensor]
"""An RGB picture to its (H, W) float32 depth."""


FAR = 12.0  # metres to the wall that closes every scene
_EYE = np.array([0.0, 1.5, 0.0])  # a standing person's; the floor is at 0
_LIGHT = np.array([0.4, 0.8, -0.45])  # direction to it, of length 1 within 1 %

Array = NDArray[np.float64]


class DistilledDepth(Unlabelled):
    """WebDataset tars, labelled by a depth network of transformers.

    Args:
        path: one tar, or a folder of them.
        network: the hub's name of the network, or a folder; extra `[downstream]`.
        test_share: share of the photos to test on, by the hash of their keys.
        limit: most photos to take, from the first on; None: all.
    """

    task = "depth"
    classes = ()

    def __init__(
        self,
        path: str,
        network: str = "depth-anything/Depth-Anything-V2-Small-hf",
        test_share: float = 0.05,
        limit: int | None = None,
    ) -> None:
        super().__init__(path, test_share, limit)
        self.network = network

    @property
    def name(self) -> str:
        """Say whose depths these are."""
        return f"depth by {self.network}"

    @cached_property
    def teacher(self) -> Teacher:
        """The network, loaded when the first photo is."""
        return load_teacher(self.network)

    def label(self, image: Image.Image) -> Tensor:
        """Return the depth that the network sees."""
        return self.teacher(image)


def load_teacher(network: str) -> Teacher:
    """Return a depth network of transformers as a function of pictures.

    Raises:
        MissingExtraError: transformers is not installed; the message names the extra.
        MissingWeightsError: its weights are neither in the hub's cache nor to be downloaded.
    """
    return partial(depth_seen, *transformers_pair(network, "AutoModelForDepthEstimation"))


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


class Scene(NamedTuple):
    """A picture with its depth.

    Attributes:
        pixels: (S, S, 3) uint8.
        depth: (S, S) float32, metres along the viewing axis, at most `FAR`.
    """

    pixels: NDArray[np.uint8]
    depth: NDArray[np.float32]


class _Hits(NamedTuple):
    """Where rays meet a surface: distance along the axis (infinite: nowhere), normal, colour."""

    depth: Array
    normal: Array
    colour: Array


def render(seed: int, side: int = 256) -> Scene:
    """Draw the scene of a seed.

    Args:
        seed: the same one draws the same scene.
        side: of the square picture, in pixels.
    """
    generator = np.random.default_rng(seed)
    rays = _rays(side)
    surfaces = [_floor(rays, generator), _wall(rays, generator)]
    surfaces += [_thing(rays, generator) for _ in range(generator.integers(2, 7))]
    depths = np.stack([surface.depth for surface in surfaces])
    nearest = depths.argmin(0)[None]
    normal = np.take_along_axis(np.stack([s.normal for s in surfaces]), nearest[..., None], 0)[0]
    colour = np.take_along_axis(np.stack([s.colour for s in surfaces]), nearest[..., None], 0)[0]
    light = 0.35 + 0.65 * np.clip(normal @ _LIGHT, 0, 1)
    pixels = np.round(255 * np.clip(colour * light[..., None], 0, 1)).astype(np.uint8)
    return Scene(pixels, np.take_along_axis(depths, nearest, 0)[0].astype(np.float32))


def _rays(side: int) -> Array:
    """(S, S, 3) directions whose last part is 1, so that lengths along them are depths; 60° wide."""
    spread = np.tan(np.pi / 6) * ((np.arange(side) + 0.5) / side * 2 - 1)
    across, down = np.meshgrid(spread, spread)
    return np.stack([across, -down, np.ones_like(across)], axis=-1)


def _floor(rays: Array, generator: np.random.Generator) -> _Hits:
    with np.errstate(divide="ignore"):
        depth = np.where(rays[..., 1] < 0, -_EYE[1] / rays[..., 1], np.inf)
    places = _EYE + np.where(np.isfinite(depth), depth, 0)[..., None] * rays
    tile = generator.uniform(0.5, 1.5)
    dark = (np.floor(places[..., 0] / tile) + np.floor(places[..., 2] / tile)) % 2
    shades = generator.uniform(0.2, 0.9, (2, 3))
    return _Hits(depth, np.broadcast_to([0.0, 1, 0], rays.shape), shades[dark.astype(int)])


def _wall(rays: Array, generator: np.random.Generator) -> _Hits:
    colour = np.broadcast_to(generator.uniform(0.3, 0.9, 3), rays.shape)
    return _Hits(np.full(rays.shape[:2], FAR), np.broadcast_to([0.0, 0, -1], rays.shape), colour)


def _thing(rays: Array, generator: np.random.Generator) -> _Hits:
    away = generator.uniform(2.5, 9)
    centre = np.array([generator.uniform(-0.5, 0.5) * away, 0.0, away])
    colour = np.broadcast_to(generator.uniform(0.1, 1, 3), rays.shape)
    if generator.random() < 0.5:
        return _sphere(rays, centre, generator.uniform(0.3, 1), colour)
    return _block(rays, centre, generator.uniform(0.2, 1, 3), colour)


def _sphere(rays: Array, foot: Array, radius: float, colour: Array) -> _Hits:
    centre = foot + np.array([0, radius, 0])
    offset = _EYE - centre
    a, b, c = (rays**2).sum(-1), rays @ offset, offset @ offset - radius**2
    under = b**2 - a * c
    depth = np.where(under > 0, (-b - np.sqrt(np.maximum(under, 0))) / a, np.inf)
    places = _EYE + np.where(under > 0, depth, 0)[..., None] * rays
    return _Hits(depth, (places - centre) / radius, colour)


def _block(rays: Array, foot: Array, half: Array, colour: Array) -> _Hits:
    """The slab test: a ray is inside the block while it is between all three pairs of planes."""
    centre = foot + np.array([0, half[1], 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (centre - half - _EYE) / rays, (centre + half - _EYE) / rays
    enter, leave = np.minimum(one, other), np.maximum(one, other)
    depth = enter.max(-1)
    axis = enter.argmax(-1)
    normal = np.eye(3)[axis] * -np.sign(np.take_along_axis(rays, axis[..., None], -1))
    return _Hits(np.where((depth < leave.min(-1)) & (depth > 0), depth, np.inf), normal, colour)
