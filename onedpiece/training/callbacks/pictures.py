"""Reconstructions to look at: originals beside what 8, 32, 128 and 256 tokens make of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor

from onedpiece.tokenizer import Tokenizer
from onedpiece.training.module import TokenizerModule
from onedpiece.training.prefix_metrics import counts_within


@torch.no_grad()
def reconstruction_grid(tokenizer: Tokenizer, x: Tensor, counts: Sequence[int]) -> Tensor:
    """Return (3, B·H, (1 + len(counts))·W) in [0, 1]: a row a picture, the original first.

    Args:
        tokenizer: what to look at.
        x: (B, 3, H, W) in [0, 1].
        counts: tokens to decode, one column each.
    """
    with torch.autocast(x.device.type, enabled=False):
        indices = tokenizer.tokenize(x)
        columns = [x, *(tokenizer.detokenize(indices[:, :count]) for count in counts)]
    return torch.cat(columns, dim=3).transpose(0, 1).flatten(1, 2)


class Pictures(Callback):
    """Writes a grid at every validation, to PNG and to TensorBoard where that logger is in use.

    Args:
        images: rows; 0: no grids.
        folder: where the PNGs go; None: `pictures` in the trainer's `default_root_dir`.
    """

    def __init__(self, images: int = 6, folder: str | None = None) -> None:
        self.images = images
        self.folder = folder

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Tensor,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first pictures of the set."""
        assert isinstance(pl_module, TokenizerModule)
        if batch_idx or not self.images or trainer.sanity_checking or not trainer.is_global_zero:
            return
        tokenizer = pl_module.averaged
        counts = counts_within(pl_module.validation.counts, tokenizer.config.num_tokens)
        grid = reconstruction_grid(tokenizer, batch[: self.images], counts)
        _write_png(grid, Path(self.folder or Path(trainer.default_root_dir) / "pictures"), pl_module.batches)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("reconstructions", grid, pl_module.batches)


def _write_png(grid: Tensor, folder: Path, step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = grid.mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels).save(folder / f"step-{step:07d}.png")
