"""MustDrop on tiny LLaVAs: without dropping `generate` as ever, with it what the paper says."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers")

from onedpiece.retokenize import vlm
from tests.retokenize.vlm import plain_mustdrop
from tests.retokenize.vlm.conftest import Inputs, prompt_of

OFF = {"global_threshold": 0.0, "individual_threshold": 0.0, "window_threshold": 2.0}
ON = {"global_threshold": 0.03, "individual_threshold": 0.05, "window_threshold": 0.5}
TOWERS = ("clip", "siglip")


def generate(model: Any, inputs: Inputs, **options: Any) -> Tensor:
    """20 new tokens."""
    options = {"max_new_tokens": 20, "do_sample": False, **options}
    ids: Tensor = model.generate(**inputs._asdict(), **options)
    return ids[:, inputs.input_ids.shape[1] :]


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("tower", TOWERS)
def test_with_dropping_off_the_tokens_are_those_of_generate(
    make_llava: Callable[..., Any], inputs: Inputs, tower: str, beams: int
) -> None:
    model = make_llava(tower)
    before = generate(model, inputs, num_beams=beams)
    vlm.apply(model, "mustdrop", **OFF)
    after = generate(model, inputs, num_beams=beams)
    assert before.shape == (2, 20)
    assert torch.equal(before, after)


@pytest.mark.parametrize("tower", TOWERS)
def test_with_dropping_off_the_logits_are_the_model_s(
    make_llava: Callable[..., Any], inputs: Inputs, tower: str
) -> None:
    model = make_llava(tower)
    real = inputs.attention_mask.bool()
    with torch.no_grad():
        before = model(**inputs._asdict()).logits
        off = vlm.apply(model, "mustdrop", **OFF)(**inputs._asdict()).logits
        assert vlm.measure(model).vision_tokens == 54  # (72 + 36) / 2
        on = vlm.apply(model, "mustdrop", tokens=64)(**inputs._asdict()).logits
        removed = model.remove()(**inputs._asdict()).logits
    torch.testing.assert_close(off[real], before[real], atol=2e-5, rtol=1e-4)
    assert on.shape == before.shape
    assert torch.equal(removed, before)
    assert not {"forward", "get_image_features"} & set(vars(model.model))


@pytest.mark.slow
@pytest.mark.parametrize("tower", TOWERS)
def test_a_padded_batch_of_two_pictures_is_dropped_as_the_paper_says(
    make_llava: Callable[..., Any], inputs: Inputs, tower: str
) -> None:
    model = vlm.apply(make_llava(tower), "mustdrop", **ON)
    tokens = generate(model, inputs)
    last = model.model.forward.last
    for row in range(2):
        prompt = prompt_of(inputs, row)
        plain = plain_mustdrop.generate(
            model, prompt.input_ids, prompt.pixel_values, (0.03, 0.05), ON["window_threshold"], 20
        )
        assert tokens[row].tolist() == plain.tokens
        assert last.cached[:, row].tolist() == plain.cached
        assert int(last.vision[0, row]) == sum(plain.merged)
    assert (last.vision[0] < last.whole_vision).all()  # windows were merged
    assert (last.vision[-1] < last.vision[0]).all()  # the prefill dropped
    # Layers 0 and 1 keep what came in; those behind hold the final set (ALGORITHMS.md, section 6).
    assert torch.equal(last.cached[:2], last.tokens[:2])
    assert torch.equal(last.cached[2:], last.tokens[-1:].expand(16, 2))


@pytest.mark.slow
def test_beams_reorder_the_cut_cache(make_llava: Callable[..., Any], inputs: Inputs) -> None:
    model = vlm.apply(make_llava(), "mustdrop", **ON)
    together = generate(model, inputs, num_beams=3)
    for row in range(2):
        assert torch.equal(generate(model, prompt_of(inputs, row), num_beams=3)[0], together[row])


def test_a_second_turn_goes_on_with_the_cache(make_llava: Callable[..., Any], inputs: Inputs) -> None:
    model = vlm.apply(make_llava(), "mustdrop", **OFF)
    more = torch.tensor([[5, 6, 7], [8, 9, 10]])
    ids = torch.cat([inputs.input_ids, more], dim=1)
    mask = torch.cat([inputs.attention_mask, torch.ones_like(more)], dim=1)
    with torch.no_grad():
        whole = model(input_ids=ids, attention_mask=mask, pixel_values=inputs.pixel_values).logits
        first = model(**inputs._asdict())
        cache = first[1]
        name = next(name for name in ("cache", "past_key_values") if getattr(first, name, None) is cache)
        second = model(input_ids=more, attention_mask=mask, **{name: cache}).logits
    torch.testing.assert_close(second, whole[:, -3:], atol=2e-5, rtol=1e-4)
    assert cache.get_seq_length() == ids.shape[1]
    with pytest.raises(ValueError, match="a picture came in a later turn"):
        model(input_ids=more, pixel_values=inputs.pixel_values, **{name: cache})
    model.remove()
    with pytest.raises(ValueError, match="cut by a reducer that has been removed"):
        model(input_ids=more, attention_mask=mask, **{name: cache})


def test_text_alone_is_left_alone(make_llava: Callable[..., Any]) -> None:
    model, ids = make_llava(), torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        before = model(input_ids=ids).logits
        after = vlm.apply(model, "mustdrop", tokens=64)(input_ids=ids).logits
    torch.testing.assert_close(after, before, atol=2e-5, rtol=1e-4)


def test_qwen_decodes_as_llama_does(make_llava: Callable[..., Any], inputs: Inputs) -> None:
    import transformers

    model = make_llava("siglip")
    sizes = model.config.text_config.to_dict()
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    text = transformers.Qwen2Config(num_key_value_heads=2, **{name: sizes[name] for name in names})
    model.model.language_model = transformers.Qwen2Model(text).eval()
    with torch.no_grad():
        before = model(**inputs._asdict()).logits
        after = vlm.apply(model, "mustdrop", **OFF)(**inputs._asdict()).logits
    real = inputs.attention_mask.bool()
    torch.testing.assert_close(after[real], before[real], atol=2e-5, rtol=1e-4)


def test_operations_are_those_that_torch_counts(make_llava: Callable[..., Any]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    from onedpiece.retokenize.vlm.cost import cache_bytes, layer_flops

    decoder = make_llava().model.language_model
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder(input_ids=torch.ones(1, 50, dtype=torch.long), use_cache=False)
    # transformers 4 multiplies positions by frequencies as matrices: 600 operations of 46 million.
    assert counter.get_total_flops() == pytest.approx(18 * layer_flops(decoder.config, 50), rel=1e-4)
    assert cache_bytes(decoder.config, 50, 4) == 2 * 2 * 12 * 50 * 4


def test_the_published_saving_follows_from_the_published_tokens() -> None:
    from types import SimpleNamespace

    from onedpiece.retokenize.vlm.cost import layer_flops

    vicuna = SimpleNamespace(
        hidden_size=4096, num_attention_heads=32, num_key_value_heads=32, intermediate_size=11008
    )
    # 92.2 % of 576 gone are 45 left; with the 25 words of a short question, -88.4 % (published: -88.5 %).
    assert 1 - layer_flops(vicuna, 45 + 25) / layer_flops(vicuna, 576 + 25) == pytest.approx(0.885, abs=0.005)


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize(("name", "options"), [("scope", {"tokens": 10}), ("knee", {})])
def test_neighbours_choose_in_front_of_the_language_model(
    make_llava: Callable[..., Any], inputs: Inputs, tower: str, name: str, options: dict[str, int]
) -> None:
    model = vlm.apply(make_llava(tower), name, **options)
    together = generate(model, inputs, max_new_tokens=4)
    last = model.model.forward.last
    assert (last.vision == last.vision[:1]).all()  # nothing is dropped behind
    assert torch.equal(last.cached, last.tokens)
    if name == "scope":
        assert last.vision[0].tolist() == [20, 10]
    else:
        assert (last.vision[0] < last.whole_vision).all()
    assert torch.equal(generate(model, prompt_of(inputs, 1), max_new_tokens=4)[0], together[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 100}, "tokens is 100; the authors give thresholds for 192, 128 and 64"),
        ({}, "give tokens=192, 128 or 64, or both"),
        ({"tokens": 64, "layers": (2, 17)}, r"layers is \(2, 17\); of 18 decoder layers"),
        ({"name": "tome", "tokens": 64}, "no reducer of language models is called 'tome'"),
        ({"name": "scope"}, "scope takes tokens="),
        ({"name": "knee", "tokens": 64}, "knee takes nothing"),
    ],
)
def test_wrong_settings_are_named(
    make_llava: Callable[..., Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        vlm.apply(make_llava(), **options)


def test_what_would_be_wrong_is_refused(make_llava: Callable[..., Any], inputs: Inputs) -> None:
    model = make_llava()
    with pytest.raises(ValueError, match="LlamaModel cannot be reduced; transformers' LlavaFor"):
        vlm.apply(model.model.language_model, tokens=64)
    with pytest.raises(ValueError, match="no prompt to measure"):
        vlm.measure(vlm.apply(model, tokens=64))
    fewer = inputs._replace(pixel_values=inputs.pixel_values[:2])
    for given, message in [
        (fewer._asdict(), "places for 108 vision tokens; 2 pictures have 72"),
        (inputs._asdict() | {"output_attentions": True}, "leave output_attentions out"),
        (inputs._asdict() | {"vision_feature_layer": 0}, "vision_feature_layer is 0"),
        (
            inputs._asdict() | {"position_ids": torch.zeros_like(inputs.input_ids)},
            "position_ids do not count",
        ),
        (inputs._asdict() | {"attention_mask": torch.ones(2, 1, 84, 84)}, "attention_mask has 4 axes"),
    ]:
        with pytest.raises(ValueError, match=message):
            model(**given)
    model.model.language_model.layers[3].self_attn.sliding_window = 8
    with pytest.raises(ValueError, match="sliding windows cannot be reduced"):
        vlm.apply(model, tokens=64)


def test_the_extra_is_named(make_llava: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_llava()
    monkeypatch.setattr(vlm, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"pip install 'onedpiece\[vlm\]'"):
        vlm.apply(model, tokens=64)
