"""What stands in for `LlavaModel.forward` while a reducer is applied."""

from dataclasses import fields
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava.modeling_llava import LlavaModelOutputWithPast

from onedpiece.retokenize.vlm.cache import pruned_layers
from onedpiece.retokenize.vlm.decoder import DropOptions, Prefill, check_decoder, decode, prefill
from onedpiece.retokenize.vlm.sequence import TEXT, Marks, Sequence, number
from onedpiece.retokenize.vlm.towers import MergeOptions, VisionTower

# The cache's name in and out of a forward: `past_key_values` up to transformers 5.
_CACHE = (
    "cache" if "cache" in {field.name for field in fields(LlavaModelOutputWithPast)} else "past_key_values"
)


class Pictures(NamedTuple):
    """P pictures of a batch, encoded.

    Attributes:
        features: (P, V, C), projected to the language model's width.
        marks: which of the places are left, and which must stay.
    """

    features: Tensor
    marks: Marks


class MustdropForward:
    """Run a LLaVA with all three stages of MustDrop; called as `LlavaModel.forward` is.

    Args:
        llava: the `LlavaModel`, whose modules are used and not changed.
        merging: the first stage's options.
        dropping: the second stage's.

    Raises:
        ValueError: a part of the model would be computed wrongly.
    """

    def __init__(self, llava: Any, merging: MergeOptions, dropping: DropOptions) -> None:
        self.llava, self.merging, self.dropping = llava, merging, dropping
        self.tower = VisionTower(llava.vision_tower)
        check_decoder(llava.language_model, dropping)
        self.vision_tokens: Tensor | None = None
        self.last: Prefill | None = None

    def __call__(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        mm_encoder_outputs: dict[str, Any] | None = None,
        **options: Any,
    ) -> LlavaModelOutputWithPast:
        """See `LlavaModel.forward`; hidden states of dropped tokens are zero.

        Raises:
            ValueError: maps or states of every layer are asked for, whose lengths differ; a mask or positions
                of another kind come in; or pictures come with a cache that is not empty.
        """
        _check(attention_mask, options)
        cache = options.get("cache", options.get("past_key_values"))
        x = self.llava.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        valid = _valid(attention_mask, x)
        layers = [] if cache is None else pruned_layers(cache)
        encoded = self._pictures(pixel_values, mm_encoder_outputs, options)
        if layers:
            if encoded is not None:
                raise ValueError("a picture came in a later turn; MustDrop needs it in the first, start anew")
            first = min(self.dropping.layers, default=len(layers))
            hidden = decode(self.llava.language_model, x, valid, layers, first)
            return _output(hidden, cache)
        _check_positions(position_ids, valid)
        prompt, stays = self._prompt(input_ids, x, valid, encoded)
        done = prefill(self.llava.language_model, prompt, stays, self.dropping)
        self.last = done._replace(hidden=done.hidden[:0], layers=[])
        if cache is None and use_cache is not False and self.llava.config.text_config.use_cache:
            cache = DynamicCache()
        if cache is not None:
            cache.layers = list(done.layers)
        return _output(done.hidden, cache)

    def get_image_features(
        self,
        pixel_values: Tensor,
        vision_feature_layer: int | list[int] | None = None,
        vision_feature_select_strategy: str | None = None,
        **options: Any,
    ) -> BaseModelOutputWithPooling:
        """See `LlavaModel.get_image_features`; features are zero where a place was merged into another one.

        `generate` of transformers 5 calls this first, and hands the outputs on.
        """
        encoded = self._encode(pixel_values, vision_feature_layer, vision_feature_select_strategy, options)
        pictures = list(encoded.features)
        for each, *marks in zip(pictures, *encoded.marks, strict=True):
            each.marks = Marks(*marks)  # beams repeat the list, not the tensors
        return BaseModelOutputWithPooling(pooler_output=cast(Any, pictures))

    def _pictures(
        self, pixels: Tensor | None, outputs: dict[str, Any] | None, options: dict[str, Any]
    ) -> Pictures | None:
        if pixels is not None:
            layer, strategy = (
                options.get(name) for name in ("vision_feature_layer", "vision_feature_select_strategy")
            )
            return self._encode(pixels, layer, strategy, options)
        image = (outputs or {}).get("image")
        if image is None:
            return None
        features = list(image.pooler_output)
        if not all(hasattr(each, "marks") for each in features):
            raise ValueError("the pictures were encoded without the reducer; give pixel_values instead")
        marks = zip(*(each.marks for each in features), strict=True)
        return Pictures(torch.stack(features), Marks(*map(torch.stack, marks)))

    def _encode(
        self, pixels: Tensor, layer: int | list[int] | None, strategy: str | None, options: dict[str, Any]
    ) -> Pictures:
        if options.get("image_sizes") is not None:
            raise ValueError("image_sizes belong to another vision tower; leave them out")
        config = self.llava.config
        layer = config.vision_feature_layer if layer is None else layer
        strategy = config.vision_feature_select_strategy if strategy is None else strategy
        encoded = self.tower.encode(pixels, layer, strategy, self.merging)
        self.vision_tokens = encoded.tokens
        projected = self.llava.multi_modal_projector(encoded.features)
        return Pictures(projected.masked_fill(~encoded.marks.stays[..., None], 0), encoded.marks)

    def _prompt(
        self, input_ids: Tensor | None, x: Tensor, valid: Tensor, encoded: Pictures | None
    ) -> tuple[Sequence, Tensor]:
        """Put the pictures in their places; (B, N) bool says which are padding or were merged into others."""
        origin = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2]).masked_fill(~valid, -1)
        key = torch.zeros_like(valid)
        if encoded is None:
            return Sequence(x, origin, torch.full_like(origin, TEXT), key), valid
        if input_ids is None:
            raise ValueError("pictures came without input_ids, which say where they stand")
        places = input_ids == self.llava.config.image_token_id
        picture = number(places, len(encoded.features), encoded.features.shape[1])
        x = x.masked_scatter(places[..., None], encoded.features.to(x.dtype))
        key = key.masked_scatter(places, encoded.marks.key)
        stays = valid & (~places).masked_scatter(places, encoded.marks.stays)
        return Sequence(x, origin, picture, key), stays


def _output(hidden: Tensor, cache: DynamicCache | None) -> LlavaModelOutputWithPast:
    kinds: Any = LlavaModelOutputWithPast  # its fields differ between the versions
    output: LlavaModelOutputWithPast = kinds(last_hidden_state=hidden, **{_CACHE: cache})
    return output


def _valid(mask: Tensor | None, x: Tensor) -> Tensor:
    """Which of the tokens (B, Q, C) that come in now are not padding: (B, Q) bool."""
    if mask is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    return mask[:, mask.shape[1] - x.shape[1] :].bool()


def _check_positions(positions: Tensor | None, valid: Tensor) -> None:
    if positions is None:
        return
    plain = (positions == valid.cumsum(dim=1) - 1) | ~valid
    unpadded = positions == torch.arange(valid.shape[1], device=valid.device)
    if not bool(plain.all()) and not bool(unpadded.all()):
        raise ValueError(
            "position_ids do not count the prompt's tokens; MustDrop numbers them, leave them out"
        )


def _check(mask: Tensor | None, options: dict[str, Any]) -> None:
    for name in ("output_attentions", "output_hidden_states"):
        if options.get(name):
            raise ValueError(f"layers hold unequally many tokens under MustDrop; leave {name} out")
    if mask is not None and mask.ndim != 2:
        raise ValueError(f"attention_mask has {mask.ndim} axes; give one of (batch, length)")
