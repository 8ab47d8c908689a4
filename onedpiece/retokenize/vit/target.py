"""Which models can be reduced, and where in them the blocks are."""

from typing import Any, NamedTuple

from torch import nn

from onedpiece.retokenize.vit.encoder_view import EncoderView, encoder_layout
from onedpiece.retokenize.vit.timm_view import TimmView, timm_layout
from onedpiece.retokenize.vit.view import BlockView, Layout


class Target(NamedTuple):
    """Where a reducer goes in.

    Attributes:
        owner: the module that holds the stack of blocks.
        attribute: its name there.
        view: how to look at one block.
        layout: which tokens are whose.
        dim: channels of a token.
        num_free: how many tokens may be reduced, at the model's own picture size.
    """

    owner: nn.Module
    attribute: str
    view: type[TimmView] | type[EncoderView]
    layout: Layout
    dim: int
    num_free: int

    @property
    def stack(self) -> Any:
        """What stands there now: the model's own stack, or a reduced one."""
        return getattr(self.owner, self.attribute)

    def views(self, stack: nn.Module) -> list[BlockView]:
        """One view for each block of a stack."""
        return [self.view(block) for block in stack.children()]


def find_target(model: nn.Module) -> Target:
    """Find the blocks of a timm `VisionTransformer`, of our encoder, or of a tokenizer's encoder.

    Raises:
        ValueError: the model is none of these.
    """
    if hasattr(model, "blocks") and hasattr(model, "num_prefix_tokens"):
        return _timm_target(model)
    if hasattr(model, "latent_token_positional_embedding") and hasattr(model, "class_embedding"):
        return _encoder_target(model)
    encoder = getattr(model, "encoder", None)
    if isinstance(encoder, nn.Module):
        return find_target(encoder)
    raise ValueError(
        f"{type(model).__name__} cannot be reduced: give a timm VisionTransformer, a Tokenizer or its encoder"
    )


def _timm_target(vit: Any) -> Target:
    return Target(
        vit, "blocks", TimmView, timm_layout(vit), int(vit.embed_dim), int(vit.patch_embed.num_patches)
    )


def _encoder_target(encoder: Any) -> Target:
    patches, dim = encoder.positional_embedding.shape
    return Target(encoder, "transformer", EncoderView, encoder_layout(encoder), int(dim), int(patches) - 1)
