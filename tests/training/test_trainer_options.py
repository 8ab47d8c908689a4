"""What users of Lightning expect of the trainer's options, with one optimizer and with several."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor

from onedpiece.training.augment import AugmentConfig
from onedpiece.training.base_module import take_over
from onedpiece.training.losses.adversarial import AdversarialConfig
from onedpiece.training.optimizer import OptimizerConfig, ScheduleConfig
from onedpiece.training.tail_drop import TailDropConfig
from onedpiece.training.tokenizer_module import TokenizerModule

from .conftest import Tiny

WHOLE = TailDropConfig(prefix_weight=0.0)
GAN = AdversarialConfig(weight=0.1, start=0.0, head_start=0.0, ramp=0.0, width=8, lr=1e-3)
KINDS: dict[str, dict[str, Any]] = {
    "one": {},
    "muon": {"optimizer": OptimizerConfig(lr=2e-3, matrices="muon")},
    "gan": {"adversarial": GAN},
}
each_kind = pytest.mark.parametrize("kind", list(KINDS))


def fit(tiny: Tiny, module: TokenizerModule, *callbacks: Callback, batch: int = 4, **options: Any) -> Any:
    """Train as the commands do."""
    trainer = tiny.trainer(*callbacks, **options)
    take_over(trainer, module)
    data = tiny.data(batch=batch, augment=AugmentConfig(flip=False))
    trainer.fit(module, datamodule=data)
    return trainer


def learned(module: TokenizerModule) -> Tensor:
    """All weights that move, the discriminator's too, in one vector."""
    return torch.cat([p.detach().flatten() for p in module.parameters() if p.requires_grad])


@each_kind
def test_accumulated_batches_equal_one_large_batch(tiny: Tiny, kind: str) -> None:
    schedule = ScheduleConfig(steps=3, warmup=0.0)
    modules = []
    for count in (1, 4):
        module = tiny.module(schedule=schedule, tail_drop=WHOLE, **KINDS[kind])
        trainer = fit(tiny, module, batch=32 // count, accumulate_grad_batches=count)
        assert (module.batches, module.steps, trainer.global_step) == (3 * count, 3, 3)
        assert int(module.ema.updates) == 3
        modules.append(learned(module))
    before = learned(tiny.module(schedule=schedule, tail_drop=WHOLE, **KINDS[kind]))
    assert (modules[0] - before).abs().max() > 1e-3
    # Muon makes its steps orthogonal in bfloat16.
    torch.testing.assert_close(modules[1], modules[0], atol=1e-3 if kind == "muon" else 1e-5, rtol=0)


@each_kind
def test_max_steps_counts_steps_of_training(tiny: Tiny, kind: str) -> None:
    module = tiny.module(steps=9, **KINDS[kind])
    trainer = fit(tiny, module, max_steps=3)
    assert (module.steps, trainer.global_step) == (3, 3)


class Norms(Callback):
    """The gradient's norm behind each step, and what was logged of it."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.largest: list[float] = []
        self.logged: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: object) -> None:
        gradients = [p.grad for p in pl_module.tokenizer.parameters() if p.grad is not None]
        self.values.append(float(torch.nn.utils.get_total_norm(gradients)))
        self.largest.append(max(float(gradient.abs().max()) for gradient in gradients))
        self.logged.append(float(trainer.callback_metrics["train/grad_norm"]))


@each_kind
def test_the_trainers_clip_takes_the_place_of_the_modules(tiny: Tiny, kind: str) -> None:
    free, bound, by_value = Norms(), Norms(), Norms()
    fit(tiny, tiny.module(steps=1, **KINDS[kind]), free, gradient_clip_val=0.0)
    fit(tiny, tiny.module(steps=1, **KINDS[kind]), bound, gradient_clip_val=1e-3)
    value = {"gradient_clip_val": 1e-4, "gradient_clip_algorithm": "value"}
    fit(tiny, tiny.module(steps=1, **KINDS[kind]), by_value, **value)
    assert free.values[0] > 1e-2
    assert bound.values == [pytest.approx(1e-3, rel=1e-3)]
    assert by_value.largest == [pytest.approx(1e-4)]
    # what is logged is the norm before the clip
    assert bound.logged == by_value.logged == free.logged == [pytest.approx(free.values[0], rel=1e-5)]


@pytest.fixture
def scaled() -> Callable[[bool], MixedPrecision]:
    """A gradient scaler on the CPU, with float16 arithmetic or float32."""

    class OnCpu(MixedPrecision):
        def __init__(self, half: bool) -> None:
            super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**16))
            self.half = half

        def forward_context(self) -> Any:
            return torch.autocast("cpu", dtype=torch.float16, enabled=self.half)

    return OnCpu


@pytest.mark.slow
@each_kind
def test_half_precision_clips_what_was_unscaled(
    tiny: Tiny, kind: str, scaled: Callable[[bool], MixedPrecision]
) -> None:
    scaled_norms, full = Norms(), Norms()
    fit(tiny, tiny.module(steps=2, **KINDS[kind]), full)
    fit(tiny, tiny.module(steps=2, **KINDS[kind]), scaled_norms, plugins=scaled(False))
    # Clipped while scaled, the weights would hardly move, and the norm be 65536 times as large.
    assert scaled_norms.logged == pytest.approx(full.logged, rel=1e-3)


@pytest.mark.slow
@each_kind
def test_half_precision_moves_the_weights_as_float32_does(
    tiny: Tiny, kind: str, scaled: Callable[[bool], MixedPrecision]
) -> None:
    before = learned(tiny.module(steps=6, **KINDS[kind]))
    moved = []
    for options in ({}, {"plugins": scaled(True)}):
        module = tiny.module(steps=6, **KINDS[kind])
        fit(tiny, module, **options)
        moved.append(float((learned(module) - before).norm()))
    assert moved[0] > 0.1
    assert moved[1] == pytest.approx(moved[0], rel=0.02)


@pytest.mark.slow
def test_accumulation_by_hand_stopped_at_a_step_goes_on_the_same(tiny: Tiny) -> None:
    from onedpiece.training.callbacks import Checkpoints

    whole = tiny.module(steps=4, adversarial=GAN)
    fit(tiny, whole, accumulate_grad_batches=2)
    fit(
        tiny, tiny.module(steps=4, adversarial=GAN), Checkpoints(1e-9), accumulate_grad_batches=2, max_steps=2
    )
    resumed = tiny.module(steps=4, adversarial=GAN)
    trainer = tiny.trainer(accumulate_grad_batches=2)
    take_over(trainer, resumed)
    data = tiny.data(batch=4, augment=AugmentConfig(flip=False))
    last = tiny.folder / "checkpoints" / "last.ckpt"
    trainer.fit(resumed, datamodule=data, ckpt_path=last, weights_only=False)
    assert resumed.batches == 8
    assert torch.equal(learned(resumed), learned(whole))


@each_kind
def test_weights_in_bfloat16_are_trained_and_their_average_is_float32(tiny: Tiny, kind: str) -> None:
    before = learned(tiny.module(steps=6, **KINDS[kind]))
    module = tiny.module(steps=6, **KINDS[kind])
    fit(tiny, module, precision="bf16-true")
    assert {p.dtype for p in module.tokenizer.decoder.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in module.ema.average.parameters()} == {torch.float32}
    assert module.tokenizer.linear_path is not None
    assert module.tokenizer.linear_path.scale.dtype == torch.float32  # what tokens mean
    full = tiny.module(steps=6, **KINDS[kind])
    fit(tiny, full)
    moved = [float((learned(each).float() - before).norm()) for each in (module, full)]
    assert moved[0] == pytest.approx(moved[1], rel=0.1)
