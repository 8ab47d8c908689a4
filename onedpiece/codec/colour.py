"""How levels become sRGB's 8-bit ones: ICC profiles, PNG's gamma, L*a*b*, and values that are no bytes."""

from collections.abc import Callable, Mapping
from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_RANGES = {"I": (255, 65_535), "F": (1, 255, 65_535)}  # what white may be, by mode
_SLACK = 0.05  # of the range: resampled and sharpened pictures overshoot by so much
_OUTLIERS = 0.001  # of the pixels at either end, which do not decide what the range is
_ENOUGH = 1 << 22  # values that tell a range

_SRGB_GAMMA = 1 / 2.2
_SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # white, red, green, blue: x and y
_ALIKE = 2  # levels by which a profile may differ from sRGB and count as it

Floats = NDArray[np.float64]
Step = Callable[[Image.Image], Image.Image]


def range_of(image: Image.Image) -> tuple[float, float]:
    """Return the values of black and white of a picture in mode I, I;16 or F; odd ones do not count."""
    if image.mode.startswith("I;16"):
        return 0.0, 65_535.0
    values = np.asarray(image).ravel()
    return _value_range(values[:: 1 + values.size // _ENOUGH].astype(np.float64), image.mode[0])


def to_8_bits(image: Image.Image, low: float, high: float) -> Image.Image:
    """Return such a picture, or part of one, as mode L: `low` is black, `high` white, the rest clipped."""
    values = np.asarray(image).astype(np.float64)
    scaled = np.nan_to_num((values - low) * (255 / (high - low)), nan=0.0, posinf=255.0, neginf=0.0)
    return Image.fromarray(np.round(scaled.clip(0, 255)).astype(np.uint8))


def _value_range(values: Floats, mode: str) -> tuple[float, float]:
    """Return black and white: a usual range where nearly all finite values lie in one, else their own."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low = float(np.quantile(finite, _OUTLIERS, method="lower"))
    high = float(np.quantile(finite, 1 - _OUTLIERS, method="higher"))
    if mode == "F" and -1 - _SLACK <= low < -_SLACK and high <= 1 + _SLACK:
        return -1.0, 1.0
    for white in _RANGES[mode]:
        # Floats far below a range's white are of a range of their own, not black.
        dark = mode == "F" and white > 1 and high < white / 16
        if not dark and low >= -_SLACK * white and high <= (1 + _SLACK) * white:
            return 0.0, float(white)
    low = min(low, 0.0)
    return low, high if high > low else low + 1


def as_srgb(image: Image.Image) -> Image.Image:
    """Return colours as RGB, taken for sRGB: the step of a picture whose values need no other."""
    return image.convert("RGB")


def colour_step(mode: str, info: Mapping[str | tuple[int, int], object]) -> tuple[Step, str]:
    """Return what brings colours to sRGB, and what to say of it; nothing for damaged or foreign profiles.

    Args:
        mode: of the colours: L, RGB or CMYK.
        info: what Pillow says of the file: `icc_profile`, or `gamma`, `chromaticity` and `srgb` of a PNG.
    """
    profile = info.get("icc_profile")
    if isinstance(profile, bytes) and profile:
        try:
            return _profile_step(mode, profile)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError):
            return as_srgb, "" if mode != "CMYK" else "CMYK without its profile"
    gamma, primaries = info.get("gamma"), info.get("chromaticity")
    if "srgb" not in info and isinstance(gamma, float) and gamma > 0:
        return _gamma_step(gamma, primaries)
    return as_srgb, ""


def lab_to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture of mode LAB, which Pillow's own `convert` does not know, as sRGB."""
    converted = ImageCms.applyTransform(image, _from_lab())
    assert converted is not None
    return converted


@cache
def _from_lab() -> ImageCms.ImageCmsTransform:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)


_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


def _profile_step(mode: str, data: bytes) -> tuple[Step, str]:
    profile = ImageCms.ImageCmsProfile(BytesIO(data))
    space = profile.profile.xcolor_space.strip()
    if mode == "L" and space == "RGB":
        mode = "RGB"
    if _SPACES[mode] != space:
        return as_srgb, ""
    intent = ImageCms.Intent.PERCEPTUAL if space == "CMYK" else ImageCms.Intent.RELATIVE_COLORIMETRIC
    flags = ImageCms.Flags.NONE if space == "CMYK" else ImageCms.Flags.BLACKPOINTCOMPENSATION
    srgb = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(profile, srgb, mode, "RGB", intent, flags)
    if space != "CMYK" and _is_identity(transform, mode):
        return as_srgb, ""

    def step(colours: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(colours if colours.mode == mode else as_srgb(colours), transform)
        assert converted is not None
        return converted

    return step, f"from the colours of {_profile_name(profile)}"


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return whether colours from all over the cube stay what they are, to rounding."""
    steps = np.linspace(0, 255, 7 if mode == "RGB" else 256).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
    probe = Image.fromarray(cube)
    seen, before = ImageCms.applyTransform(probe, transform), probe.convert("RGB")
    assert seen is not None
    return int(np.abs(np.asarray(seen).astype(int) - np.asarray(before)).max()) <= _ALIKE


def _profile_name(profile: ImageCms.ImageCmsProfile) -> str:
    name = " ".join(str(profile.profile.profile_description or "").split())[:60]
    return name or "its profile"


def _gamma_step(gamma: float, primaries: object) -> tuple[Step, str]:
    """PNG's gAMA and cHRM: a value v is (light)^gamma."""
    named = tuple(float(x) for x in primaries) if isinstance(primaries, tuple) else _SRGB_PRIMARIES
    other_primaries = len(named) == 8 and max(np.abs(np.subtract(named, _SRGB_PRIMARIES))) > 0.01
    if abs(gamma / _SRGB_GAMMA - 1) < 0.05 and not other_primaries:
        return as_srgb, ""
    light = (np.arange(256) / 255) ** (1 / gamma)
    if not other_primaries:
        table = _encode(light).tolist() * 3
        return lambda colours: as_srgb(colours).point(table), f"from gamma {1 / gamma:.3g}"
    try:
        matrix = np.linalg.solve(_to_xyz(_SRGB_PRIMARIES), _to_xyz(named))
    except (np.linalg.LinAlgError, ZeroDivisionError):
        return as_srgb, ""

    def step(colours: Image.Image) -> Image.Image:
        return Image.fromarray(_encode(light[np.asarray(as_srgb(colours))] @ matrix.T))

    return step, f"from gamma {1 / gamma:.3g} and the primaries it names"


def _encode(light: Floats) -> NDArray[np.uint8]:
    """Return light in [0, 1], clipped, as sRGB's 8-bit levels."""
    light = light.clip(0, 1)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(255 * curve).astype(np.uint8))


def _to_xyz(primaries: tuple[float, ...]) -> Floats:
    """Return the matrix of linear RGB to XYZ, (3, 3), relative to the white point: white is (1, 1, 1)."""
    points = np.array(primaries).reshape(4, 2)
    xyz = np.stack([points[:, 0] / points[:, 1], np.ones(4), (1 - points.sum(1)) / points[:, 1]], 1)
    white, columns = xyz[0], xyz[1:].T
    return np.asarray(columns * np.linalg.solve(columns, white) / white[:, None])
