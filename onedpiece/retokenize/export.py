"""Write a reduced vision transformer as ONNX, for onnxruntime and whatever else reads it (extra `[export]`).

ToMe, MCTF, EViT and ImagePiece, whose numbers of tokens follow from the picture's size alone, and slimming.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from onedpiece._files import atomic_path
from onedpiece.errors import MissingExtraError
from onedpiece.retokenize.adapters import find_site
from onedpiece.retokenize.stack import ReducedBlocks

OPSET = 18
MAX_BYTES = 2_000_000_000
"""Of a protobuf message; beyond it weights go into a second file."""


def export_onnx(vit: nn.Module, path: Path | str, image_size: tuple[int, int] | None = None) -> Path:
    """Write a model, reduced or not, as an ONNX file for any number of pictures; returns its path.

    vit: a model that `apply` takes; its weights are float32. image_size: height and width of the pictures,
    the model's own where not given. The input is `pictures`, (batch, 3, height, width), the output `output`.

    Raises:
        ValueError: what the reducer leaves depends on the picture (MustDrop), the weights are too large, or
            the path has another suffix.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ValueError(f"{path.name} is no name for an ONNX file; end it in .onnx")
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise MissingExtraError("ONNX files need an extra: pip install 'onedpiece[export]'")
    site = find_site(vit)
    if isinstance(site.stack, ReducedBlocks) and site.stack.reducer.ragged:
        raise ValueError("what this reducer leaves depends on the picture, which ONNX has no shape for")
    if sum(each.numel() * each.element_size() for each in vit.state_dict().values()) > MAX_BYTES:
        raise ValueError("the weights are larger than the 2 GB that one ONNX file may hold")
    parameter = next(vit.parameters())
    pictures = torch.zeros(
        2, 3, *_image_size(vit, image_size), device=parameter.device, dtype=parameter.dtype
    )
    in_training = [each for each in vit.modules() if each.training]
    vit.eval()
    try:
        program = torch.onnx.export(
            vit,
            (pictures,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["pictures"],
            output_names=["output"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    finally:
        for each in in_training:
            each.training = True
    if program is None:  # what older exporters return; the signature still says so
        raise ValueError("torch wrote no program")
    with atomic_path(path) as beside:
        program.save(str(beside))
    return path


def _image_size(vit: nn.Module, given: tuple[int, int] | None) -> tuple[int, int]:
    size: Any = given or getattr(getattr(vit, "patch_embed", None), "img_size", None)
    if size is None:
        raise ValueError(f"{type(vit).__name__} does not say how large its pictures are; give image_size")
    height, width = size
    return int(height), int(width)
