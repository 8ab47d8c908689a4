"""Draw the pieces that a re-tokenizer makes of a photo, one panel for each block of the network.

    python -m tools.draw_tokens photo.jpg -o pieces.png --reducer tome --share 0.25
    python -m tools.draw_tokens photo.jpg -o out.png --model deit_small_patch16_224 --weights deit.safetensors

Without --model the network is the bundled tokenizer's encoder; else a timm VisionTransformer, whose
weights come from a safetensors file or, with --pretrained, from timm. Each piece is filled with its mean
colour; dark patches were discarded; the first panel is the photo.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import center_crop, normalize, resize, to_pil_image, to_tensor

import onedpiece
from onedpiece.codec.images import read_picture
from onedpiece.retokenize import apply, trace
from onedpiece.retokenize.adapters import find_site
from tools.pieces import paint, piece_map

REDUCERS = ("mctf", "tome", "imagepiece", "evit", "slimming")
GAP = 4  # pixels between panels


def load_model(options: argparse.Namespace) -> tuple[nn.Module, int]:
    """Return the network and the side of its pictures."""
    if options.model is None:
        tokenizer = onedpiece.load().tokenizer
        return tokenizer, tokenizer.config.image_size
    import timm
    from safetensors.torch import load_file

    vit = timm.create_model(options.model, pretrained=options.pretrained)
    if options.weights:
        vit.load_state_dict(load_file(options.weights))
    side: int = vit.patch_embed.img_size[0]  # type: ignore[union-attr, index, assignment]
    return vit.eval(), side


def prepare(photo: Path, side: int) -> Tensor:
    """Read a photo as (3, side, side) in [0, 1]: short side resized, centre cropped."""
    picture = to_tensor(read_picture(photo))
    cropped: Tensor = center_crop(resize(picture, [side], antialias=True), [side, side])
    return cropped.clamp(0, 1)


def draw(model: nn.Module, picture: Tensor) -> Tensor:
    """Run the reduced model and lay the panels side by side: (3, H, W)."""
    target = find_site(model)
    side = round(target.num_free**0.5)
    wants_unit_range = hasattr(model, "encoder")
    inputs = picture if wants_unit_range else normalize(picture, [0.5] * 3, [0.5] * 3)
    states = trace(model, inputs[None]).states
    panels = [picture]
    for state in states:
        assert state.source is not None
        panels.append(paint(picture, piece_map(state.source, (side, side), target.layout.prefix)[0]))
    gap = torch.ones(3, picture.shape[1], GAP)
    return torch.cat([part for panel in panels for part in (panel, gap)][:-1], dim=2)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--reducer", choices=REDUCERS, default="tome")
    parser.add_argument("--share", type=float, default=0.25, help="of the patches left behind the last block")
    parser.add_argument("--model", help="a timm VisionTransformer; default: the bundled tokenizer")
    parser.add_argument("--weights", type=Path, help="a safetensors state dict for --model")
    parser.add_argument("--pretrained", action="store_true", help="let timm download weights for --model")
    return parser.parse_args()


def main() -> None:
    """Draw one photo."""
    options = parse_arguments()
    model, side = load_model(options)
    apply(model, options.reducer, keep_ratio=options.share)
    to_pil_image(draw(model, prepare(options.photo, side))).save(options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
