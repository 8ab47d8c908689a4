"""What a head says, drawn on the picture that it says it of."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import draw_segmentation_masks

from onedpiece.codec.tensors import to_image, to_tensor
from onedpiece.heads import ClassScores, Depth, Detections, Mask, Prediction

SURE = 0.5
"""Score from which on an object is drawn and named."""

_STRIP = 18  # pixels of a line of text below the picture
_OPAQUE = 0.55  # of a mask

Colour = tuple[int, int, int]


def overlay(picture: Image.Image, prediction: Prediction, classes: Sequence[str]) -> Image.Image:
    """Draw a head's answer.

    Args:
        picture: RGB, any size: the whole of what the head was asked about.
        prediction: its answer; masks and depths are stretched over the picture.
        classes: names by number.

    Returns:
        RGB, as wide as the picture; classes and their colours are named in lines below it.
    """
    match prediction:
        case ClassScores():
            text = f"{prediction.name} {prediction.probability:.0%}"
            return _with_lines(picture, [(text, (255, 255, 255))])
        case Mask():
            return _with_mask(picture, prediction.classes, classes)
        case Depth():
            return _with_depth(picture, prediction.meters)
        case Detections():
            return _with_boxes(picture, prediction, classes)


def colour_of(number: int) -> Colour:
    """Return the colour of a class."""
    red, green, blue, _ = colormaps["tab20"](number % 20, bytes=True)
    return int(red), int(green), int(blue)


def _with_mask(picture: Image.Image, mask: Tensor, classes: Sequence[str]) -> Image.Image:
    stretched = Image.fromarray(mask.numpy()).resize(picture.size, Image.Resampling.NEAREST)
    seen = np.unique(np.asarray(stretched))
    masks = torch.from_numpy(np.asarray(stretched)[None] == seen[:, None, None])
    colours = [colour_of(int(number)) for number in seen]
    drawn = draw_segmentation_masks(to_tensor([picture])[0], masks, _OPAQUE, colours)
    names = [(classes[number], colour) for number, colour in zip(seen, colours, strict=True)]
    return _with_lines(to_image(drawn), names)


def _with_depth(picture: Image.Image, meters: Tensor) -> Image.Image:
    near, far = float(meters.min()), float(meters.max())
    shades = (meters - near) / max(far - near, 1e-9)
    colours = Image.fromarray(colormaps["viridis"](shades.numpy(), bytes=True)[..., :3])
    stretched = colours.resize(picture.size, Image.Resampling.BILINEAR)
    text = f"depth {near:.3g} (dark) to {far:.3g} (light)"
    return _with_lines(stretched, [(text, (255, 255, 255))])


def _with_boxes(picture: Image.Image, found: Detections, classes: Sequence[str]) -> Image.Image:
    drawn, font = picture.copy(), ImageFont.load_default(11)
    draw = ImageDraw.Draw(drawn)
    scale = torch.tensor([picture.width, picture.height] * 2)
    for box, label, score in zip(found.boxes, found.labels.tolist(), found.scores.tolist(), strict=True):
        if score >= SURE:
            left, top, right, bottom = (box.cpu() * scale).tolist()
            colour, text = colour_of(label), f"{classes[label]} {score:.0%}"
            draw.rectangle((left, top, right, bottom), outline=colour, width=2)
            draw.rectangle((left, top, left + font.getlength(text) + 4, top + 14), fill=colour)
            draw.text((left + 2, top), text, "white", font)
    return drawn


def _with_lines(picture: Image.Image, words: Sequence[tuple[str, Colour]]) -> Image.Image:
    """Add a strip of words below, each in its colour, wrapped to the picture's width."""
    font = ImageFont.load_default(13)
    places, right, down = [], 4, 0
    for text, colour in words:
        width = int(font.getlength(text)) + 10
        if right + width > picture.width and right > 4:
            right, down = 4, down + 1
        places.append(((right, picture.height + 1 + down * _STRIP), text, colour))
        right += width
    whole = Image.new("RGB", (picture.width, picture.height + (down + 1) * _STRIP), (20, 20, 20))
    whole.paste(picture)
    draw = ImageDraw.Draw(whole)
    for place, text, colour in places:
        draw.text(place, text, colour, font)
    return whole
