"""Tiny LLaVAs of random weights, prompts for them, and MustDrop on one prompt written out plainly."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

PATCHES = 36  # 6 × 6, so four windows of 3 × 3
IMAGE, PAD = 127, 0


class Inputs(NamedTuple):
    """Two prompts, the second one shorter and padded on the left; three pictures, two of the first prompt."""

    input_ids: Tensor
    attention_mask: Tensor
    pixel_values: Tensor


@pytest.fixture(scope="session")
def make_llava() -> Callable[..., Any]:
    """Build a LLaVA of 18 layers each, whose attention is uneven; "clip" or "siglip"."""
    transformers = pytest.importorskip("transformers")

    def build(tower: str = "clip", **text: Any) -> Any:
        sizes = {
            **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 5, "num_attention_heads": 4},
            **{"image_size": 84, "patch_size": 14},
        }
        vision = {"clip": transformers.CLIPVisionConfig, "siglip": transformers.SiglipVisionConfig}[tower]
        config = transformers.LlavaConfig(
            vision_config=vision(**sizes),
            text_config=transformers.LlamaConfig(
                **{"vocab_size": 128, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 18},
                **{"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": PAD},
                **{"eos_token_id": None, "bos_token_id": None, **text},
            ),
            image_token_index=IMAGE,
            vision_feature_layer=-2,
            vision_feature_select_strategy="default" if tower == "clip" else "full",
        )
        torch.manual_seed(0)
        model = transformers.LlavaForConditionalGeneration._from_config(config, attn_implementation="eager")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.15 * torch.randn_like(parameter))
        return model.eval()

    return build


@pytest.fixture
def inputs() -> Inputs:
    draw = torch.Generator().manual_seed(1)

    def words(count: int) -> list[int]:
        return torch.randint(1, 120, (count,), generator=draw).tolist()

    picture = [IMAGE] * PATCHES
    long = [*words(3), *picture, *words(4), *picture, *words(5)]
    short = [*words(2), *picture, *words(6)]
    padding = len(long) - len(short)
    ids = torch.tensor([long, [PAD] * padding + short])
    mask = torch.ones_like(ids)
    mask[1, :padding] = 0
    pixels = torch.randn(3, 3, 84, 84, generator=draw)
    pixels[0, :, :42] = 0.3  # two flat windows
    pixels[2, :, :, 42:] = -0.5
    return Inputs(ids, mask, pixels)


def prompt_of(inputs: Inputs, row: int) -> Inputs:
    """One prompt without padding."""
    real = inputs.attention_mask[row].bool()
    pictures = slice(0, 2) if row == 0 else slice(2, 3)
    ids = inputs.input_ids[row : row + 1, real]
    return Inputs(ids, torch.ones_like(ids), inputs.pixel_values[pictures])
