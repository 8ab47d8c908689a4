from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

from onedpiece.tokenizer import TokenizerConfig
from onedpiece.training.callbacks import Checkpoints
from onedpiece.training.losses.adversarial import AdversarialConfig
from onedpiece.training.losses.perceptual import PerceptualConfig
from onedpiece.training.metrics import ValidationConfig
from onedpiece.training.optimizer import OptimizerConfig, ScheduleConfig
from onedpiece.training.tail_drop import TailDropConfig
from onedpiece.training.tokenizer_module import TokenizerModule

from .conftest import Tiny


def weights(module: TokenizerModule) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.slow
def test_overfits_a_few_pictures(tiny: Tiny, each_loss: Callable[[], Any]) -> None:
    losses = each_loss()
    module = tiny.module(steps=150, tail_drop=TailDropConfig(prefix_weight=0.0))
    tiny.fit(module, losses)
    assert len(losses.values) == 150
    assert losses.values[-1] < losses.values[0] / 2


class StopAfter(Callback):
    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: object) -> None:
        trainer.should_stop = trainer.should_stop or pl_module.batches >= self.batches


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"adversarial": AdversarialConfig(weight=0.1, start=0.0, width=8)},
        {"optimizer": OptimizerConfig(lr=2e-3, matrices="muon")},
    ],
    ids=["pixels", "adversarial", "muon"],
)
def test_stopped_and_resumed_equals_uninterrupted(tiny: Tiny, options: Any) -> None:
    whole = tiny.module(steps=8, **options)
    tiny.fit(whole)
    first = tiny.module(steps=8, **options)
    tiny.fit(first, StopAfter(5), Checkpoints(minutes=0))
    torch.manual_seed(99)  # nothing may come from the global generator
    second = tiny.module(steps=8, **options)
    trainer = tiny.fit(second, ckpt=tiny.folder / "checkpoints" / "last.ckpt")
    assert (first.batches, second.batches) == (5, 8)
    assert trainer.global_step == 8
    expected = weights(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(second).items())


def test_resumed_from_a_checkpoint_of_the_middle(tiny: Tiny) -> None:
    class Middle(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: object) -> None:
            if pl_module.batches == 3:
                trainer.save_checkpoint(tiny.folder / "middle.ckpt", weights_only=False)

    whole = tiny.module(steps=6)
    tiny.fit(whole, Middle())
    resumed = tiny.module(steps=6)
    trainer = tiny.fit(resumed, ckpt=tiny.folder / "middle.ckpt")
    assert trainer.global_step == 6
    expected = weights(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(resumed).items())


def test_a_finished_run_resumed_does_nothing(tiny: Tiny) -> None:
    first = tiny.module(steps=3)
    tiny.fit(first, Checkpoints(minutes=0))
    second = tiny.module(steps=3)
    tiny.fit(second, ckpt=tiny.folder / "checkpoints" / "last.ckpt")
    assert second.batches == 3
    assert torch.equal(second.tokenizer.latent_tokens, first.tokenizer.latent_tokens)


def test_time_drives_rate_and_end(tiny: Tiny) -> None:
    class Seconds:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    class OneMinuteAStep(Callback):
        def __init__(self) -> None:
            self.rates: list[float] = []

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: object) -> None:
            self.rates.append(pl_module.lr)
            time.now += 60.0

    time, rates = Seconds(), OneMinuteAStep()
    module = tiny.module(schedule=ScheduleConfig(minutes=2, warmup=0.0, min_lr_ratio=0.0))
    module.clock._now = time
    tiny.fit(module, rates)
    # peak 2e-3 at minute 0, half a cosine: ½ at minute 1, 0 at minute 2, which is over
    assert rates.rates == pytest.approx([2e-3, 1e-3, 0.0])
    assert module.clock.seconds == 180.0


def test_lengths_reach_the_decoder(tiny: Tiny) -> None:
    module = tiny.module(tail_drop=TailDropConfig(distribution="power_of_two"))
    seen: list[tuple[int, list[int] | None]] = []
    decode = module.tokenizer.decode

    def spy(codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        seen.append((codes.shape[1], None if lengths is None else lengths.tolist()))
        return decode(codes, lengths)

    module._decode = spy
    tiny.fit(module)
    prefixes, full = seen[::2], seen[1::2]
    assert full == [(16, None)] * 4
    assert all(
        kept == 16 and lengths is not None and set(lengths) <= {1, 2, 4, 8, 16} for kept, lengths in prefixes
    )
    assert len({tuple(lengths) for _, lengths in prefixes if lengths}) > 1


def test_one_length_a_batch_truncates_for_real(tiny: Tiny) -> None:
    module = tiny.module(steps=6, tail_drop=TailDropConfig(lengths="per_batch", full_probability=0.0))
    seen: list[int] = []
    decode = module.tokenizer.decode

    def spy(codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        assert lengths is None
        seen.append(codes.shape[1])
        return decode(codes)

    module._decode = spy
    tiny.fit(module)
    assert len(seen) == 6
    assert min(seen) < 16


def test_only_the_named_part_learns(tiny: Tiny) -> None:
    module = tiny.module(train_parts=("decoder",))
    before = weights(module)
    tiny.fit(module)
    changed = {
        name.split(".")[1]
        for name, tensor in weights(module).items()
        if name.startswith("tokenizer.")
        and not name.startswith("tokenizer.linear_path")
        and not torch.equal(tensor, before[name])
    }
    assert changed == {"decoder"}


def test_statistics_are_fitted_to_the_data_and_shared_with_the_average(tiny: Tiny) -> None:
    module = tiny.module(steps=1)
    before = module.tokenizer.linear_path.scale.clone()  # type: ignore[union-attr]
    tiny.fit(module)
    assert not torch.equal(module.tokenizer.linear_path.scale, before)  # type: ignore[union-attr]
    assert torch.equal(module.averaged.linear_path.scale, module.tokenizer.linear_path.scale)  # type: ignore[union-attr]


def test_adversary_learns_with_finite_losses(tiny: Tiny, each_loss: Callable[[], Any]) -> None:
    losses = each_loss()
    module = tiny.module(steps=4, adversarial=AdversarialConfig(weight=0.1, start=0.0, lecam=0.01, width=8))
    assert module.adversary is not None
    before = module.adversary.network.layers[0].weight.clone()
    tiny.fit(module, losses)
    assert torch.isfinite(torch.tensor(losses.values)).all()
    assert not torch.equal(module.adversary.network.layers[0].weight, before)
    assert all(torch.isfinite(tensor).all() for tensor in weights(module).values())


def test_the_discriminator_learns_from_its_head_start_on_at_the_schedules_rate(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    gan = AdversarialConfig(weight=0.1, start=0.5, head_start=0.25, width=8, lr=1e-2)
    schedule = ScheduleConfig(steps=4, warmup=0.0, min_lr_ratio=0.0)
    module = tiny.module(schedule=schedule, adversarial=gan, tail_drop=TailDropConfig(lengths="per_batch"))
    steps: list[tuple[float, bool]] = []
    judged: list[Tensor] = []
    by_hand, judge = module.step_by_hand, module.adversary.discriminator_loss  # type: ignore[union-attr]

    def spy(optimizers: Any, loss: Tensor, lr: float, **options: Any) -> None:
        steps.append((lr, options.get("synced", True)))
        by_hand(optimizers, loss, lr, **options)

    def look(image: Tensor, target: Tensor) -> Tensor:
        judged.append(image)
        return judge(image, target)

    decoded: list[Tensor] = []
    decode = module._decode
    monkeypatch.setattr(module, "_decode", lambda *args: decoded.append(decode(*args)) or decoded[-1])
    monkeypatch.setattr(module, "step_by_hand", spy)
    monkeypatch.setattr(module.adversary, "discriminator_loss", look)
    tiny.fit(module)
    # Half a cosine at ¼, ½ and ¾ of the run.
    assert [lr for lr, synced in steps if not synced] == pytest.approx(
        [0.85355e-2, 0.5e-2, 0.14645e-2], rel=1e-4
    )
    assert [lr for lr, synced in steps if synced] == pytest.approx(
        [2e-3, 1.7071e-3, 1e-3, 0.29289e-3], rel=1e-4
    )
    assert all(image is prefix for image, prefix in zip(judged, decoded[2::2], strict=True))  # not the whole


def test_the_quantizers_loss_has_its_weight(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TokenizerConfig.from_dict(
        tiny.config.to_dict() | {"quantizer": "vq", "linear_path": False, "vq_codebook_size": 32}
    )
    seen: list[float] = []
    for weight in (1.0, 3.0):
        module = tiny.module(tokenizer=config, statistics="none", quantizer_weight=weight)
        monkeypatch.setattr(module, "log_dict", lambda named: seen.append(float(named["train/quantizer"])))
        module.step_loss(torch.full((2, 3, 32, 32), 0.3), torch.Generator().manual_seed(0))
    assert seen[0] > 0
    assert seen[1] == pytest.approx(3 * seen[0])


def test_metric_networks_stay_out_of_the_state(tiny: Tiny, torch_home: Path) -> None:
    plain = set(tiny.module().state_dict())
    module = tiny.module(steps=2, perceptual=PerceptualConfig(weight=0.1, views=1, view_size=32, ramp=0.0))
    tiny.fit(module)
    assert set(module.state_dict()) == plain
    assert float(module.trainer.callback_metrics["train/perceptual"]) > 0


def test_vector_quantizer_trains(tiny: Tiny, each_loss: Callable[[], Any]) -> None:
    losses = each_loss()
    config = TokenizerConfig.from_dict(
        tiny.config.to_dict() | {"quantizer": "vq", "linear_path": False, "vq_codebook_size": 32}
    )
    module = tiny.module(tokenizer=config, statistics="none")
    tiny.fit(module, losses)
    assert torch.isfinite(torch.tensor(losses.values)).all()
    assert float(module.trainer.callback_metrics["train/quantizer"]) > 0


def test_validation_judges_the_average(tiny: Tiny) -> None:
    module = tiny.module(steps=2, validation=ValidationConfig(counts=(4, 16, 256)))
    trainer = tiny.fit(module, limit_val_batches=1.0)
    logged = {name for name in trainer.callback_metrics if name.startswith("val/")}
    assert logged == {"val/psnr_4", "val/psnr_16", "val/codes_used"}
    averaged = float(trainer.callback_metrics["val/psnr_16"])
    module.averaged.decoder.requires_grad_(False)
    for parameter in module.averaged.decoder.parameters():
        parameter.zero_()
    (judged,) = tiny.trainer(limit_val_batches=1.0).validate(module, datamodule=tiny.data(), verbose=False)
    assert judged["val/psnr_16"] != averaged


def test_missing_lpips_weights_are_named_before_training(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    monkeypatch.setattr("torch.hub.download_url_to_file", _no_network)
    module = tiny.module(steps=1, validation=ValidationConfig(counts=(16,), lpips="alex"))
    with pytest.raises(RuntimeError, match=r"weights of LPIPS-alex are neither in .*no network"):
        tiny.fit(module, limit_val_batches=1.0)
    assert module.batches == 0


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network")


def test_validation_reports_lpips(tiny: Tiny, torch_home: Path) -> None:
    module = tiny.module(steps=1, validation=ValidationConfig(counts=(16,), lpips="squeeze"))
    trainer = tiny.fit(module, limit_val_batches=1.0)
    assert float(trainer.callback_metrics["val/lpips_16"]) > 0


def test_precision_is_put_back(tiny: Tiny) -> None:
    before = torch.get_float32_matmul_precision()
    tiny.fit(tiny.module(steps=1, matmul_precision="medium"))
    assert torch.get_float32_matmul_precision() == before
