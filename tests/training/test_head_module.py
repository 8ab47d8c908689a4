from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from onedpiece.heads import HeadError, ReducerConfig, load_head
from onedpiece.training import head_module as module_of_heads
from onedpiece.training.codes import CodeSamples
from onedpiece.training.head_module import HeadModule, _shorter
from onedpiece.training.metrics import evaluate

WORST = {"classify": 0.9, "segment": 0.9, "depth": 0.25, "detect": 0.6}
"""What a tiny run must reach at all counts; guessing gives 0.5, 0.25, 0.6 or more, and about 0.5."""

# Sides are told apart after 60 steps, whatever the seed; from there on the loss is next to nothing, and Adam
# at this rate wanders: at step 100, seed 0 has all of them right at 8 tokens and 0.91 at 16.
STEPS = {"classify": 60, "segment": 100, "depth": 150, "detect": 200}


def _scores(module: HeadModule, data: Any) -> list[float]:
    return [score.value for score in evaluate(module.averaged, data.val_dataloader(), (1, 16))]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classify", "segment", "depth", "detect"])
def test_a_tiny_run_learns(task: str, side_data: Any, head_module: Any, fit: Any) -> None:
    if task == "detect":
        pytest.importorskip("pycocotools")
    module, data = head_module(task, steps=STEPS[task]), side_data(task)
    fit(module, data)
    values = _scores(module, data)
    assert module.global_step == STEPS[task]
    assert all(v <= WORST[task] if task == "depth" else v >= WORST[task] for v in values), values


@pytest.mark.slow
def test_a_run_with_a_reducer_and_full_codes(side_data: Any, head_module: Any, fit: Any) -> None:
    from dataclasses import replace

    from onedpiece.training.tail_drop import TailDropConfig

    module = head_module("classify", tail_drop=TailDropConfig(lengths="per_sample"))
    module.head_config = replace(module.head_config, reducer=ReducerConfig(keep_ratio=0.5))
    fit(module, side_data("classify"))
    assert min(_scores(module, side_data("classify"))) >= 0.9


def test_blended_training_learns_too(side_data: Any, head_module: Any, fit: Any) -> None:
    module = head_module("classify", mixup=0.5)
    fit(module, side_data("classify"))
    assert min(_scores(module, side_data("classify"))) >= 0.9
    with pytest.raises(ValueError, match="mixup is for classifiers"):
        head_module("segment", mixup=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classify", "segment"])
def test_training_on_views(task: str, side_data: Any, head_module: Any, fit: Any) -> None:
    from dataclasses import replace

    from onedpiece.training.augment import ViewConfig

    base = head_module(task).head_config
    view = replace(base, grid=2, linear_picture=True, codes=False)
    # A flip would swap the sides that "left" and "right" are about; a crop and other light do not.
    module = head_module(task, steps=100, head=view, views=ViewConfig(min_scale=0.9, brightness=0.1))
    fit(module, side_data(task))
    assert min(_scores(module, side_data(task))) >= 0.9


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("ends", [None, [3, 16]])
def test_a_step_on_another_device(
    mirror: bool,
    ends: list[int] | None,
    side_data: Any,
    head_module: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is drawn is drawn on the CPU, which the meta device refuses as any other does."""
    from dataclasses import replace

    from onedpiece.training.augment import ViewConfig
    from onedpiece.training.tail_drop import TailDropConfig

    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows no meta device
    data = side_data("classify")
    view = replace(head_module("classify").head_config, grid=2, linear_picture=True)
    module = head_module(
        "classify",
        head=view,
        mirror=mirror,
        views=ViewConfig(brightness=0.1),
        tail_drop=TailDropConfig(lengths="per_sample"),
    )
    module.build(data.codec.tokenizer, data.classes, b"abcd")
    samples = data.samples(0, batch=2)
    lengths = None if ends is None else torch.tensor(ends, device="meta")
    batch = CodeSamples(samples.indices.to("meta"), samples.targets.to("meta"), lengths)
    assert module.to("meta").step_loss(batch, torch.Generator()).is_meta


def test_views_that_disagree_with_something_are_refused(head_module: Any) -> None:
    from dataclasses import replace

    from onedpiece.training.augment import ViewConfig

    with pytest.raises(ValueError, match="this head has none"):
        head_module("classify", views=ViewConfig(flip=True))
    both = replace(head_module("segment").head_config, linear_picture=True)
    with pytest.raises(ValueError, match="disagree with code tokens"):
        head_module("segment", head=both, views=ViewConfig(flip=True))
    assert head_module("segment", head=both, views=ViewConfig(colour=0.1)).views.alters


def test_a_resumed_run_ends_where_the_first_would_have(
    side_data: Any, head_module: Any, fit: Any, tmp_path: Path
) -> None:
    from lightning.pytorch.callbacks import ModelCheckpoint

    whole = head_module("classify", steps=6)
    keep = ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=3, save_top_k=-1, filename="{step}")
    fit(whole, side_data("classify"), callbacks=[keep], enable_checkpointing=True)

    class Rest(type(side_data("classify"))):  # type: ignore[misc]
        def train_dataloader(self) -> Any:
            return (self.samples(seed) for seed in range(103, 200))

    resumed = head_module("classify", steps=6)
    data = Rest("classify", side_data("classify").codec.tokenizer)
    fit(resumed, data, ckpt=tmp_path / "ckpt" / "step=3.ckpt")
    assert resumed.global_step == 6
    assert resumed.clock.seconds > 0
    for a, b in zip(whole.averaged.parameters(), resumed.averaged.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_the_file_says_what_was_measured(side_data: Any, head_module: Any, fit: Any, tmp_path: Path) -> None:
    module, data = head_module("classify", steps=4, note="two sides"), side_data("classify")
    trainer = fit(module, data)
    trainer.validate(module, datamodule=data, verbose=False)
    loaded = load_head(module.export(tmp_path / "head.safetensors"))
    assert loaded.code_space == b"abcd"
    mine = module.averaged.backbone.class_embedding.half().float()
    assert torch.equal(loaded.head.backbone.class_embedding, mine)
    assert not torch.equal(mine, module.head.backbone.class_embedding.half().float())
    assert loaded.head.config.classes == ("dark", "light")
    assert loaded.note.startswith("two sides; 0.")
    assert "4 steps; accuracy" in loaded.note
    assert " at 16 tokens" in loaded.note
    from onedpiece.bitstream import Code

    with pytest.raises(HeadError, match="of code space 7778797a, the head reads code space 61626364"):
        loaded.predict(Code(data.samples(0).indices[0].numpy(), 4096, b"wxyz"))


def test_time_ends_a_run(side_data: Any, head_module: Any, fit: Any) -> None:
    from onedpiece.training.optimizer import ScheduleConfig

    module = head_module("classify", schedule=ScheduleConfig(minutes=0.01))  # 0.6 seconds
    fit(module, side_data("classify"))
    assert 0.6 <= module.clock.seconds < 5
    assert module.global_step >= 1


def test_a_sample_is_read_no_further_than_it_goes() -> None:
    drawn, there = torch.tensor([3, 9]), torch.tensor([5, 4])
    assert torch.equal(_shorter(drawn, there), torch.tensor([3, 4]))
    assert _shorter(None, there) is there
    assert _shorter(drawn, None) is drawn


def built(head_module: Any, data: Any, **options: Any) -> HeadModule:
    module: HeadModule = head_module(data.task, **options)
    module.build(data.codec.tokenizer, data.classes, b"abcd")
    return module


def test_the_best_is_told_by_the_score_at_most_tokens(head_module: Any, side_data: Any) -> None:
    assert head_module("depth").monitor is None
    assert built(head_module, side_data("depth")).monitor == ("val/absrel_16", False)
    assert built(head_module, side_data("segment"), counts=(4, 8)).monitor == ("val/miou_8", True)


def test_weights_follow_from_the_seed_alone(head_module: Any, side_data: Any) -> None:
    heads = []
    for seed, outside in ((1, 5), (1, 6), (2, 5)):
        torch.manual_seed(outside)
        before = torch.get_rng_state()
        heads.append(built(head_module, side_data("classify"), seed=seed).head)
        assert torch.equal(torch.get_rng_state(), before)
    one, same, other = (head.backbone.class_embedding for head in heads if head is not None)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_prefixs_weight_is_its_losss(head_module: Any, side_data: Any) -> None:
    from onedpiece.training.tail_drop import TailDropConfig

    losses = []
    for weight in (1.0, 3.0):
        drop = TailDropConfig(prefix_weight=0.0, full_weight=weight)
        module = built(head_module, side_data("classify"), tail_drop=drop)
        losses.append(module.step_loss(side_data("classify").samples(0), torch.Generator()).item())
    assert losses[1] == pytest.approx(3 * losses[0])


def test_a_code_times_its_signs_is_that_of_the_mirrored_picture(small_tokenizer: Any) -> None:
    codes = torch.rand(2, 16, small_tokenizer.config.code_dim, generator=torch.Generator().manual_seed(0))
    signs = module_of_heads._mirror_signs(small_tokenizer)
    assert set(signs.unique().tolist()) == {-1, 1}
    picture, mirrored = (small_tokenizer.linear_path.synthesise(each) for each in (codes, codes * signs))
    torch.testing.assert_close(mirrored, picture.flip(3), atol=1e-5, rtol=0)


def test_half_of_a_mirroring_steps_codes_are_mirrored(head_module: Any, side_data: Any) -> None:
    module = built(head_module, side_data("classify"), mirror=True)
    codes = torch.rand(64, 8, 3, generator=torch.Generator().manual_seed(0)) + 1
    seen = module._mirrored(codes, torch.Generator().manual_seed(0))
    mirrored = codes * module_of_heads._mirror_signs(side_data("classify").codec.tokenizer)[:, :8]
    kept, turned = ((seen == each).all(dim=(1, 2)) for each in (codes, mirrored))
    assert (kept ^ turned).all()
    assert 16 <= int(turned.sum()) <= 48  # 32 ± 4 deviations of √(64 · 0.5 · 0.5) = 4


def test_masks_go_along_with_their_views(
    head_module: Any, side_data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from onedpiece.training.augment import ViewConfig, Views

    flip = torch.tensor([[-1.0, 0, 0], [0, 1, 0]]).expand(4, 2, 3)
    views = Views(flip, torch.ones(4, 1, 1, 1), torch.zeros(4, 3, 1, 1), moves=True)
    seen: list[Any] = []
    monkeypatch.setattr(module_of_heads, "draw_views", lambda *_: views)
    monkeypatch.setattr(
        module_of_heads, "head_loss", lambda _, targets, __: seen.append(targets) or torch.ones(())
    )
    view = replace(head_module("segment").head_config, linear_picture=True, codes=False)
    module = built(head_module, side_data("segment"), head=view, views=ViewConfig(flip=True))
    samples = side_data("segment").samples(0, batch=4)
    halves = torch.arange(32).ge(16).byte().expand(4, 32, 32)
    module.step_loss(samples._replace(targets=halves), torch.Generator())
    assert torch.equal(seen[0], 1 - halves)
