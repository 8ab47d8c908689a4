"""The task heads: the last layers, one module a task."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.errors import HeadError
from onedpiece.heads.backbone import Features
from onedpiece.heads.config import HeadConfig
from onedpiece.heads.outputs import Boxes, ClassLogits, DepthMap, MaskLogits, resize
from onedpiece.tokenizer.transformer import truncated_normal_

SURE = 30.0
"""Logit of "nothing" of a query that is not there."""


class ClassHead(nn.Module):
    """A linear classifier on the class token."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.logits = _linear(config.width, _classes(config))

    def forward(self, features: Features) -> ClassLogits:
        """Score the classes."""
        return ClassLogits(self.logits(features.summary))


class MapHead(nn.Module):
    """Features on the grid, upsampled by convolutions; the pixels of the linear picture join on the way.

    Args:
        config: of the head.
        outputs: channels that come out.
    """

    def __init__(self, config: HeadConfig, outputs: int) -> None:
        super().__init__()
        self.factor, channels = config.upsample, config.channels
        self.side = config.grid * config.upsample
        self.expand = nn.Conv2d(config.width, channels * self.factor**2, 1)
        self.pixels = nn.Conv2d(3, channels, 3, padding=1) if config.linear_picture else None
        self.mix_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.mix_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.out = nn.Conv2d(channels, outputs, 1)

    def forward(self, features: Features) -> Tensor:
        """Return (B, outputs, H, W), H = W = grid · upsample, whatever the side of the features."""
        assert features.feature_map is not None
        x = F.pixel_shuffle(self.expand(features.feature_map), self.factor)
        if self.pixels is not None and features.linear is not None:
            x = x + self.pixels(F.interpolate(features.linear, x.shape[-2:], mode="area"))
        x = x + self.mix_2(F.gelu(self.mix_1(F.gelu(x))))
        out: Tensor = self.out(F.gelu(x))
        return out if out.shape[-1] == self.side else resize(out, self.side)


class MaskHead(MapHead):
    """A class for each cell of the map."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config, _classes(config))

    def forward(self, features: Features) -> MaskLogits:  # type: ignore[override]
        """Score the classes in each cell."""
        return MaskLogits(super().forward(features))


class DepthHead(MapHead):
    """A distance for each cell, learned as its logarithm: relative errors count."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__(config, 1)

    def forward(self, features: Features) -> DepthMap:  # type: ignore[override]
        """Return the distances; between e⁻⁸ and e⁸, so that a bad start overflows nothing."""
        return DepthMap(super().forward(features).float().clamp(-8, 8).exp())


class BoxHead(nn.Module):
    """One object or none for each query, its centre counted from the query's cell.

    A set prediction as in DETR (arXiv 2005.12872); that queries stand on a grid is ours, because free ones
    take hundreds of epochs to spread out. Where a short code has fewer queries, the missing answer "nothing".
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.logits = _linear(config.width, _classes(config) + 1)
        self.hidden = _linear(config.width, config.width)
        self.boxes = _linear(config.width, 4)
        self.count = config.grid**2

    def forward(self, features: Features) -> Boxes:
        """Score and place the objects."""
        assert features.feature_map is not None
        anchors = _anchors(features.feature_map.shape[-1]).to(features.feature_map.device)
        queries = features.feature_map.flatten(2).transpose(1, 2)
        offsets = self.boxes(F.gelu(self.hidden(queries))).float()
        logits, boxes = self.logits(queries), torch.sigmoid(anchors + offsets)
        missing = self.count - queries.shape[1]
        if missing:
            nothing = F.pad(logits.new_full((logits.shape[0], missing, 1), SURE), (logits.shape[-1] - 1, 0))
            logits = torch.cat([logits, nothing], dim=1)
            boxes = F.pad(boxes, (0, 0, 0, missing), value=0.5)
        return Boxes(logits, boxes)


def build_task_head(config: HeadConfig) -> nn.Module:
    """Return the task head that `config` names."""
    modules = {"classify": ClassHead, "segment": MaskHead, "depth": DepthHead, "detect": BoxHead}
    return modules[config.task](config)


def _classes(config: HeadConfig) -> int:
    if not config.classes:
        raise HeadError(f"task {config.task} needs classes; name them in the order of the targets")
    return len(config.classes)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    truncated_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _anchors(grid: int) -> Tensor:
    """Return (grid², 4): the inverse sigmoids of the cells' centres, and of an object a fifth of the side."""
    centres = (torch.arange(grid) + 0.5) / grid
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    side = torch.full_like(x, 0.2)
    return torch.stack([x, y, side, side], dim=-1).flatten(0, 1).logit()
