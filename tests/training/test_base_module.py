"""The base of the training modules: one clip, one guard, the clock, accumulation, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

from onedpiece.errors import TrainingError
from onedpiece.training.callbacks import Checkpoints, ExportWeights
from onedpiece.training.losses.adversarial import AdversarialConfig
from onedpiece.training.optimizer import OptimizerConfig, ScheduleConfig
from onedpiece.training.tokenizer_module import TokenizerModule

from .conftest import Tiny

MUON = OptimizerConfig(lr=2e-3, matrices="muon")
GAN = AdversarialConfig(weight=0.1, start=0.0, width=8)


class GradientNorms(Callback):
    """The norm over all parameters that each optimizer steps on."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: object) -> None:
        gradients = [p.grad for p in pl_module.tokenizer.parameters() if p.grad is not None]
        self.values.append(float(torch.nn.utils.get_total_norm(gradients)))


@pytest.mark.parametrize("matrices", ["adamw", "muon"])
def test_the_optimizers_clip_bounds_the_gradient(tiny: Tiny, matrices: Any) -> None:
    free, bound = GradientNorms(), GradientNorms()
    tiny.fit(tiny.module(steps=1, optimizer=OptimizerConfig(clip=0.0, matrices=matrices)), free)
    tiny.fit(tiny.module(steps=1, optimizer=OptimizerConfig(clip=1e-3, matrices=matrices)), bound)
    assert free.values[0] > 1e-2
    assert bound.values == [pytest.approx(1e-3, rel=1e-3)]


def test_a_precision_that_breaks_the_arithmetic_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=r"trainer\.precision is 64-true; use 32-true, "):
        tiny.fit(tiny.module(steps=1), precision="64-true")


def test_accumulation_stopped_and_resumed_equals_uninterrupted(tiny: Tiny) -> None:
    class StopAfterStep(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: object) -> None:
            trainer.should_stop = trainer.should_stop or pl_module.steps >= 2

    whole = tiny.module(steps=4)
    tiny.fit(whole, accumulate_grad_batches=2)
    tiny.fit(tiny.module(steps=4), StopAfterStep(), Checkpoints(minutes=0), accumulate_grad_batches=2)
    resumed = tiny.module(steps=4)
    tiny.fit(resumed, ckpt=tiny.folder / "checkpoints" / "last.ckpt", accumulate_grad_batches=2)
    assert resumed.batches == 8
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


class SlowFirstStep(Callback):
    """A clock that a first step, as a compiled one, moves by ten minutes and every other by one."""

    def __init__(self, module: TokenizerModule) -> None:
        self.now, self.rates = 0.0, list[float]()
        module.clock._now = lambda: self.now
        encode = module._encode

        def slow(x: Tensor) -> Any:
            self.now += 60.0 if module.batches else 600.0
            return encode(x)

        module._encode = slow

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: object) -> None:
        self.rates.append(pl_module.lr)


@pytest.mark.parametrize("optimizer", [OptimizerConfig(lr=1.0), OptimizerConfig(lr=1.0, matrices="muon")])
def test_the_first_step_eats_no_warmup(tiny: Tiny, optimizer: OptimizerConfig) -> None:
    schedule = ScheduleConfig(minutes=8, warmup=0.5, min_lr_ratio=0.0)
    module = tiny.module(schedule=schedule, optimizer=optimizer)
    clock = SlowFirstStep(module)
    tiny.fit(module, clock)
    # four minutes of warm-up, a minute a step but the first
    assert clock.rates[:5] == pytest.approx([0.0, 0.0, 0.25, 0.5, 0.75])
    assert module.clock.seconds == 540.0  # the step that saw 480 was the last, and took one more


def test_a_resumed_run_goes_on_with_its_time(tiny: Tiny) -> None:
    schedule = ScheduleConfig(minutes=10)
    first, second = tiny.module(schedule=schedule), tiny.module(schedule=schedule)
    now = 100.0
    first.clock._now = lambda: now
    first.clock.start()
    now = 160.0  # a minute later, in the middle of a step
    checkpoint: dict[str, Any] = {}
    first.on_save_checkpoint(checkpoint)
    second.on_load_checkpoint(checkpoint)
    assert second.clock.seconds == second.seconds == 60
    assert second.progress == pytest.approx(0.1)


def test_each_batch_and_each_process_draws_for_itself(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tiny.module()
    module.trainer = tiny.trainer()
    draws = {"first": torch.rand((), generator=module.begin_step()).item()}
    assert torch.rand((), generator=module.begin_step()).item() == draws["first"]
    module.batches = 1  # of the same step, where batches are accumulated
    draws["second"] = torch.rand((), generator=module.begin_step()).item()
    monkeypatch.setattr(TokenizerModule, "global_rank", 1)
    draws["elsewhere"] = torch.rand((), generator=module.begin_step()).item()
    assert len(set(draws.values())) == 3


def test_the_first_bad_batch_is_named_though_it_is_seen_later(tiny: Tiny) -> None:
    module = tiny.module()
    module.trainer = tiny.trainer()
    for module.batches, value in ((2, 1.0), (3, torch.nan), (4, 1.0), (5, torch.inf)):
        module.guard(torch.tensor(value))
    with pytest.raises(TrainingError, match="not finite at batch 4;"):
        module.check_finite()


class Poison(Callback):
    """Makes a weight infinite before a batch."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch:
            with torch.no_grad():
                next(pl_module.tokenizer.decoder.parameters()).fill_(torch.nan)


@pytest.mark.parametrize(
    "options", [{}, {"optimizer": MUON}, {"adversarial": GAN}], ids=["one", "muon", "gan"]
)
def test_a_diverged_run_stops_and_keeps_its_checkpoint(tiny: Tiny, options: Any) -> None:
    often = 1e-9
    module = tiny.module(steps=9, **options)
    with pytest.raises(TrainingError, match="not finite at batch 4;"):
        tiny.fit(module, Poison(3), Checkpoints(often), ExportWeights(often))
    checkpoint = torch.load(tiny.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["onedpiece"]["batches"] == 3
    assert all(torch.isfinite(t).all() for t in checkpoint["state_dict"].values())


def test_a_gradient_that_is_not_finite_is_noticed_before_anything_is_written(tiny: Tiny) -> None:
    class BadGradient(Callback):
        def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
            if pl_module.batches == 3:
                next(p for p in pl_module.tokenizer.parameters() if p.grad is not None).grad.fill_(torch.inf)

    with pytest.raises(TrainingError, match="not finite at batch"):
        tiny.fit(tiny.module(steps=9), BadGradient(), Checkpoints(1e-9))
    checkpoint = torch.load(tiny.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["onedpiece"]["batches"] == 2


def test_a_checkpoint_of_another_geometry_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    from dataclasses import replace

    tiny.fit(tiny.module(steps=1), Checkpoints())
    other = tiny.module(tokenizer=replace(tiny.config, width=64))
    with pytest.raises(
        ValueError,
        match=r"last\.ckpt holds another geometry than model\.tokenizer asks for: width \d+ there, 64 here",
    ):
        tiny.fit(other, ckpt=tiny.folder / "checkpoints" / "last.ckpt")


def test_the_best_validation_is_kept_beside_the_last(tiny: Tiny) -> None:
    class Spoil(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: object) -> None:
            if pl_module.batches == 3:
                with torch.no_grad():
                    for p in [*pl_module.ema.average.decoder.parameters()]:
                        p.mul_(-3)

    module = tiny.module(steps=3, ema_decay=0.0)
    tiny.fit(
        module,
        Spoil(),
        Checkpoints(),
        limit_val_batches=1.0,
        val_check_interval=1,
        check_val_every_n_epoch=None,
    )
    best = torch.load(tiny.folder / "checkpoints" / "best.ckpt", weights_only=True)
    last = torch.load(tiny.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["onedpiece"]["batches"] == 3
    assert best["onedpiece"]["batches"] < 3
