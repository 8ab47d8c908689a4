"""Vision encoders of transformers with MustDrop's first stage in them: flat windows merged, key tokens found.

CLIP's and SigLIP's towers. Behind the first block windows of patches are merged; padding of size 0 makes the
pictures of a batch equally long, and no token looks at it. There is no log size over the keys, as in the
authors' code. Merging is decided for each picture alone and keeps the raster order, where the authors
merge as many windows in all pictures of a batch as in the one with the fewest, and put them first.
"""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.clip.modeling_clip import CLIPEncoderLayer
from transformers.models.siglip.modeling_siglip import SiglipEncoderLayer

from onedpiece.retokenize.block import attention_map
from onedpiece.retokenize.groups import Reduction
from onedpiece.retokenize.mustdrop import kept_positions, key_set, merge_windows
from onedpiece.retokenize.selection import above_knee, scope
from onedpiece.retokenize.vlm.sequence import Marks


class MergeOptions(NamedTuple):
    """How a vision encoder merges.

    Attributes:
        window: patches a side.
        threshold: mean pairwise cosine from which on a window is flat; above 1 nothing is merged.
        key_ratio: part of the tokens left that no later stage may drop.
        choose: "all" of the tokens left go on, those of "scope", or those above the "knee" (see `selection`).
        scope_tokens: how many tokens of a picture SCOPE keeps.
    """

    window: int = 3
    threshold: float = 0.8
    key_ratio: float = 0.08
    choose: Literal["all", "scope", "knee"] = "all"
    scope_tokens: int = 0


class Encoded(NamedTuple):
    """Features of P pictures, at the places that they have in a prompt.

    Attributes:
        features: (P, V, C), zero where a place was merged into another one.
        marks: which places stay, and which must.
        tokens: (layers, P) int64, how many tokens went into each block.
    """

    features: Tensor
    marks: Marks
    tokens: Tensor


class VisionTower:
    """The blocks of a CLIP or SigLIP vision tower.

    Args:
        tower: `CLIPVisionModel` or `SiglipVisionModel`.

    Raises:
        ValueError: it is another one.
    """

    def __init__(self, tower: nn.Module) -> None:
        root: Any = getattr(tower, "vision_model", tower)  # transformers 4 has a module in between
        blocks = getattr(getattr(root, "encoder", None), "layers", None)
        if blocks is None or not all(
            type(block) in (CLIPEncoderLayer, SiglipEncoderLayer) for block in blocks
        ):
            raise ValueError(
                f"a vision tower of class {type(tower).__name__} cannot be reduced; CLIP's and SigLIP's can"
            )
        self.root, self.blocks = root, list(blocks)
        self.prefix = int(hasattr(root.embeddings, "class_embedding"))

    def encode(
        self, pictures: Tensor, layer: int | list[int], strategy: str, options: MergeOptions
    ) -> Encoded:
        """Return what a projector is given, (P, 3, H, W) to (P, V, C), and the marks.

        layer, strategy: as in `LlavaConfig`: of which block (its number from the front or the back, counting
        the embedding as 0), and whether the class token is cut off ("default") or stays ("full").

        Raises:
            ValueError: a layer lies in front of the merging, or a token would be cut off that is none.
        """
        wanted = self._states_of(layer, strategy)
        patch = self.root.embeddings.patch_size
        grid = (pictures.shape[-2] // patch, pictures.shape[-1] // patch)
        x = self.root.embeddings(pictures.to(self.root.embeddings.patch_embedding.weight.dtype))
        if hasattr(self.root, "pre_layrnorm"):  # spelled so
            x = self.root.pre_layrnorm(x)
        lengths = [torch.full((len(x),), x.shape[1])]
        merged = merge_windows(
            _run(self.blocks[0], x, None), grid, None, options.window, options.threshold, self.prefix
        )
        real = merged.size[..., 0] > 0
        states, mask = [merged.x], None if bool(real.all()) else real[:, None, None]
        for block in self.blocks[1 : max(len(self.blocks) - 1, *wanted)]:
            states.append(_run(block, states[-1], mask))
        lengths += [real.sum(dim=1).cpu()] * (len(states) - 1)
        last = self.blocks[-1]
        importance = self._importance(last, states[len(self.blocks) - 2], real)
        key = key_set(importance, options.key_ratio, self.prefix, merged.size)
        picked = torch.cat([states[index - 1] for index in wanted], dim=-1)
        if options.choose != "all":
            merged = merged._replace(
                source=merged.source * self._chosen(picked, importance, options)[..., None]
            )
        features, marks = self._place(picked, merged, key, self.prefix if strategy == "default" else 0)
        return Encoded(features, marks, torch.stack(lengths))

    def _chosen(self, x: Tensor, importance: Tensor, options: MergeOptions) -> Tensor:
        """The tokens that another rule than MustDrop's keeps: (B, N) bool; a class token always."""
        x, importance = x[:, self.prefix :], importance[:, self.prefix :]
        by_scope = options.choose == "scope"
        chosen = scope(x, importance, options.scope_tokens) if by_scope else above_knee(importance)
        return F.pad(chosen, (self.prefix, 0), value=True)

    def _states_of(self, layer: int | list[int], strategy: str) -> list[int]:
        states = len(self.blocks) + 1
        wanted = [each % states for each in ([layer] if isinstance(layer, int) else layer)]
        if min(wanted) < 1 or len(self.blocks) < 2:
            raise ValueError(
                f"vision_feature_layer is {layer}; windows are merged behind the first block, take a later"
            )
        if strategy == "default" and not self.prefix:
            raise ValueError(
                "vision_feature_select_strategy 'default' cuts a class token off, and this has none"
            )
        return wanted

    def _importance(self, block: Any, x: Tensor, real: Tensor) -> Tensor:
        """Attention that tokens get in a block from the class token, or from all of them: (B, N), float32."""
        attn = block.self_attn
        rows = slice(0, 1) if self.prefix else slice(None)
        normed = block.layer_norm1(x)
        q, k = _heads(attn, attn.q_proj(normed[:, rows])), _heads(attn, attn.k_proj(normed))
        bias = torch.zeros_like(real, dtype=q.dtype).masked_fill(~real, -torch.inf)[:, None, None]
        seen = attention_map(q, k, bias).mean(dim=1, dtype=torch.float32)
        return (seen * real[:, rows, None]).sum(dim=1)

    def _place(self, x: Tensor, merged: Reduction, key: Tensor, cut: int) -> tuple[Tensor, Marks]:
        """Put the tokens left back to where their first patch was, without the first `cut` ones."""
        places = merged.source.shape[2]
        spare = kept_positions(merged)[:, cut:]
        # Padding goes behind the last place, which is cut off again.
        target = spare.masked_fill(spare < 0, places) - cut
        width = places - cut
        features = x.new_zeros(len(x), width + 1, x.shape[2])
        features.scatter_(1, target[..., None].expand(-1, -1, x.shape[2]), x[:, cut:])
        stays = torch.zeros(len(x), width + 1, dtype=torch.bool, device=x.device)
        keys = stays.scatter(1, target, key[:, cut:])
        return features[:, :width], Marks(stays.scatter(1, target, True)[:, :width], keys[:, :width])


def _run(block: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    """Run one block by its projections, as the form of a mask depends on how a model attends.

    x: (B, N, C); mask: (B, 1, 1, N) bool, which tokens may be looked at.
    """
    attn, normed = block.self_attn, block.layer_norm1(x)
    q, k, v = (_heads(attn, project(normed)) for project in (attn.q_proj, attn.k_proj, attn.v_proj))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    x = x + attn.out_proj(out.transpose(1, 2).flatten(2))
    done: Tensor = x + block.mlp(block.layer_norm2(x))
    return done


def _heads(attn: Any, x: Tensor) -> Tensor:
    """(B, N, H·D) to (B, H, N, D)."""
    return x.view(*x.shape[:2], attn.num_heads, x.shape[2] // attn.num_heads).transpose(1, 2)
