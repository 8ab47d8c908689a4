"""`Head`: codes of any length - one, several of different lengths, a batch - to a prediction."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from onedpiece._providers import Pretrained
from onedpiece.errors import HeadError
from onedpiece.heads.backbone import Augment, CodeBackbone
from onedpiece.heads.batch import Codes, check_codes, pad_codes
from onedpiece.heads.config import HeadConfig
from onedpiece.heads.outputs import Output, Prediction, to_predictions
from onedpiece.heads.reduce import in_groups
from onedpiece.heads.task_heads import build_task_head
from onedpiece.tokenizer import Kept, Tokenizer, cut_to_longest
from onedpiece.tokenizer.tokenizer import evaluating
from onedpiece.weights.checkpoint import fingerprint


class Head(Pretrained, nn.Module):
    """A network that reads tokens instead of pixels; one for all token counts.

    >>> head = Head.from_pretrained("classify")
    >>> tuple(head(torch.randint(2000, (4, 16))).logits.shape), len(head.config.classes)
    ((4, 10), 10)

    Args:
        config: task and geometry; `build_head` takes the tokenizer's part from a tokenizer.

    Attributes:
        code_space: the 4 bytes of the codes that it reads (`Codec.fingerprint`); None: not checked.
        note: what its maker wrote: data, minutes, scores.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.code_space: bytes | None = None
        self.note = ""
        self.config = config
        self.backbone = CodeBackbone(config)
        self.task_head = build_task_head(config)

    def forward(self, indices: Codes, lengths: Tensor | Sequence[int] | None = None) -> Output:
        """Predict for a batch; differentiable in the parameters.

        Args:
            indices: (B, k) integers, 1 ≤ k ≤ N; or codes, files and rows of any lengths, which bring their
                lengths along (see `Codes`).
            lengths: (B,) in 1…k beside a padded tensor (what stands behind a sample's length is ignored);
                None: all k.

        Returns:
            By task: `ClassLogits`, `MaskLogits`, `DepthMap` or `Boxes`.

        Raises:
            HeadError: k, a length or an index is out of range.
        """
        batch = pad_codes(indices)
        device = self.backbone.class_embedding.device
        tokens, kept = self._checked(batch.indices, batch.lengths if lengths is None else lengths)
        tokens, kept = tokens.to(device), None if kept is None else kept.to(device)
        if kept is None:
            return self._predict(tokens)
        if self.config.reducer.keep_ratio < 1:
            return in_groups(self._predict, tokens, kept, keys=kept)
        if self.config.grid and self.config.growth:
            sides = torch.tensor([self.config.side(length) for length in kept.tolist()], device=device)
            return in_groups(self._predict, tokens, kept, keys=sides)
        return self._predict(tokens, kept)

    def _predict(self, indices: Tensor, lengths: Tensor | None = None) -> Output:
        return self.read(self.backbone.codebook(indices), lengths)

    def read(self, codes: Tensor, lengths: Tensor | None = None, augment: Augment | None = None) -> Output:
        """Predict from code vectors (B, k, code_dim), which training may have mixed; else as `forward`.

        Args:
            codes: the vectors.
            lengths: as for `forward`.
            augment: what training does to the standardised linear picture.
        """
        output: Output = self.task_head(self.backbone(codes, lengths, augment))
        return output

    def predict(self, codes: Codes) -> list[Prediction]:
        """Return one plain result for each photo, in evaluation mode.

        Raises:
            HeadError: as `forward`; or a Code is of another code space than the head's.
        """
        if self.code_space is not None:
            check_codes(codes, self.code_space)
        with evaluating(self), torch.inference_mode():
            return to_predictions(self(codes), self.config)

    def _checked(self, indices: Tensor, lengths: Tensor | Sequence[int] | None) -> Kept:
        """Cut to the longest length; a batch of equal lengths then needs no mask."""
        limit = self.config.num_tokens
        if not 1 <= indices.shape[1] <= limit:
            raise HeadError(f"codes of {indices.shape[1]} tokens; this head reads 1 to {limit}")
        kept = None
        if lengths is not None:
            try:
                indices, kept = cut_to_longest(indices, lengths)
            except ValueError as error:
                raise HeadError(str(error)) from error
        sizes = self.backbone.codebook.sizes[: indices.shape[1]].to(indices.device)
        outside = ((indices < 0) | (indices >= sizes)).nonzero()
        if len(outside):
            sample, position = outside[0].tolist()
            raise HeadError(
                f"token {position} has index {indices[sample, position]}; its codebook has "
                f"0…{int(sizes[position]) - 1}"
            )
        return Kept(indices, kept)


def build_head(config: HeadConfig, tokenizer: Tokenizer) -> Head:
    """Return a fresh head for the codes of a tokenizer.

    Args:
        config: task and geometry; its `tokenizer` is replaced by that of the one given.
        tokenizer: whose codebook, and where it sees the linear picture whose linear path, the head takes.

    Raises:
        HeadError: they do not fit together.
    """
    head = Head(replace(config, tokenizer=tokenizer.config))
    head.backbone.take(tokenizer)
    head.code_space = fingerprint(tokenizer)
    return head
