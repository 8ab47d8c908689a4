"""The sharp network's training, on a tiny tokenizer and random networks to look through."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from onedpiece.metrics.perceptual import Lpips
from onedpiece.tokenizer import Tokenizer
from onedpiece.tokenizer.pixel_heads import LOW_PASS
from onedpiece.training.base_module import take_over
from onedpiece.training.callbacks import Checkpoints, reconstruction_grid
from onedpiece.training.metrics import ValidationConfig
from onedpiece.training.optimizer import ScheduleConfig
from onedpiece.training.sharp_module import Crops, SharpLossConfig, SharpModule
from onedpiece.weights import load_tokenizer, save

from .conftest import MakeSharp, Tiny


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def moved(module: SharpModule, before: dict[str, Tensor]) -> set[str]:
    """Names of the parts, in two words at most, of which a tensor is another one."""
    after = module.state_dict()
    names = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    return {".".join(name.split(".")[: 3 if name.startswith("ema.average") else 2]) for name in names}


def test_batches_add_up_to_a_step_of_all_its_optimizers(tiny: Tiny, make_sharp: MakeSharp) -> None:
    module = make_sharp(losses=SharpLossConfig(wait=1, ramp=1))
    before = state(module)
    trainer = tiny.trainer(accumulate_grad_batches=2)
    take_over(trainer, module)
    trainer.fit(module, datamodule=tiny.data())
    assert (module.batches, module.steps, trainer.global_step) == (6, 3, 2)  # the first step only judges
    assert "pixel_discriminator.layers" in moved(module, before)
    assert "tokenizer.sharp" in moved(module, before)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_sharp_network_and_the_discriminators_move_and_nothing_else(
    tiny: Tiny, make_sharp: MakeSharp, precision: str
) -> None:
    module = make_sharp()
    before = state(module)
    trainer = tiny.fit(module, precision=precision)
    assert (module.steps, trainer.global_step) == (3, 2)  # the network waits for one step
    assert moved(module, before) == {
        "tokenizer.sharp",
        "ema.average.sharp",
        "ema.updates",
        "pixel_discriminator.layers",
        "feature_discriminators.0",
        "feature_discriminators.1",
    }
    first = module.tokenizer.sharp
    assert first is not None
    assert all(not torch.equal(before[f"tokenizer.sharp.{name}"], p) for name, p in first.named_parameters())


def test_weights_in_bfloat16(tiny: Tiny, make_sharp: MakeSharp) -> None:
    module = make_sharp()
    before = state(module)
    tiny.fit(module, precision="bf16-true")
    assert module.tokenizer.sharp is not None
    for network in (module.tokenizer.sharp, module.pixel_discriminator):
        assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
        assert all(bool(torch.isfinite(p).all()) for p in network.parameters())
    # The others were rounded, and took no step.
    for name, p in module.tokenizer.decoder.named_parameters():
        assert torch.equal(before[f"tokenizer.decoder.{name}"].bfloat16(), p)


def test_the_discriminators_begin_alone(tiny: Tiny, make_sharp: MakeSharp) -> None:
    module = make_sharp(losses=SharpLossConfig(wait=3))
    before = state(module)
    tiny.fit(module)
    assert {name.split(".")[0] for name in moved(module, before)} == {
        "pixel_discriminator",
        "feature_discriminators",
    }


def test_without_shares_there_are_no_discriminators_and_no_wait(tiny: Tiny, make_sharp: MakeSharp) -> None:
    module = make_sharp(losses=SharpLossConfig(pixels=0.0, squeeze=0.0, efficientnet=0.0, wait=100))
    before = state(module)
    tiny.fit(module)
    assert moved(module, before) == {"tokenizer.sharp", "ema.average.sharp", "ema.updates"}


def crops_for(module: SharpModule, size: int = 32) -> Crops:
    batch = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(4))
    return module._crops(batch, torch.Generator().manual_seed(5))


def gradients(module: SharpModule) -> tuple[Tensor, Tensor]:
    """The reconstruction gradient, and what the discriminators add to it."""
    crops = crops_for(module)
    drawn = module.tokenizer.sharpen(crops.faithful, crops.tokens).detach().requires_grad_()
    loss = module._reconstruction(drawn, crops, torch.Generator().manual_seed(6))
    (gradient,) = torch.autograd.grad(loss, drawn)
    return gradient, module._adversarial_gradient(drawn, crops, gradient)


@pytest.mark.parametrize("which", ["pixels", "squeeze", "efficientnet"])
def test_a_discriminators_gradient_is_the_share_that_was_asked_for(make_sharp: MakeSharp, which: str) -> None:
    shares = {"pixels": 0.0, "squeeze": 0.0, "efficientnet": 0.0, which: 0.2}
    module = make_sharp(losses=SharpLossConfig(wait=10, ramp=20, grow=3.0, **shares))
    module.steps = 10
    assert gradients(module)[1].norm() == 0
    # half of the ramp is over, and the run long since: 0.5 · 0.2 · 3
    module.steps = 20
    gradient, added = gradients(module)
    assert (added.norm() / gradient.norm()).item() == pytest.approx(0.3, rel=1e-4)


def test_shares_grow_to_the_end_of_the_run(make_sharp: MakeSharp) -> None:
    module = make_sharp(schedule=ScheduleConfig(steps=4), losses=SharpLossConfig(wait=0, ramp=0, grow=4.0))
    grown = []
    for module.steps in (0, 2, 4, 8):
        grown.append(module._shares[0])
    assert grown == pytest.approx([0.1, 0.2, 0.4, 0.4])  # 4 to the power of 0, ½, 1 and 1


def test_a_discriminators_gradient_makes_pictures_more_real(make_sharp: MakeSharp) -> None:
    module = make_sharp(losses=SharpLossConfig(wait=0, ramp=0, squeeze=0.0, efficientnet=0.0))
    crops = crops_for(module)
    gradient, added = gradients(module)
    drawn = module.tokenizer.sharpen(crops.faithful, crops.tokens).detach()
    step = 0.01 * added / added.norm()
    with torch.no_grad():
        before, after = (module.pixel_discriminator(x, crops.faithful).mean() for x in (drawn, drawn - step))
    assert gradient.norm() > 0
    assert after > before


def test_a_step_of_the_discriminators_by_hand(make_sharp: MakeSharp, monkeypatch: pytest.MonkeyPatch) -> None:
    module, asked = make_sharp(), list[Any]()
    crops, drawn = crops_for(module), torch.full((2, 3, 32, 32), 0.25)
    candidates: list[Tensor] = []

    def logits(which: int, picture: Tensor, *_: object) -> list[Tensor]:
        candidates.append(picture)
        return [torch.tensor([2.0, 0.5, -3.0, 0.5])]

    monkeypatch.setattr(module, "_logits", logits)
    monkeypatch.setattr(
        module, "step_by_hand", lambda *args, **options: asked.append((args[2], options["clip"]))
    )
    # Originals come first: ½ (mean(0, 0.5) + mean(0, 1.5)) of each of the three.
    assert module._train_discriminators(Any, drawn, crops).item() == pytest.approx(1.5)  # type: ignore[arg-type]
    assert all(torch.equal(each, torch.cat([crops.target, drawn])) for each in candidates)
    assert asked == [(4e-4, False)]


def test_optimizers_have_the_numbers_that_were_asked_for(make_sharp: MakeSharp) -> None:
    own, judges = (each.param_groups[0] for each in make_sharp().configure_optimizers())
    assert (own["lr"], own["betas"], judges["lr"], judges["betas"]) == (1e-4, (0.5, 0.99), 4e-4, (0.0, 0.99))


def test_what_is_faithful_lies_in_the_range_of_pictures(
    make_sharp: MakeSharp, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make_sharp()
    monkeypatch.setattr(module.tokenizer, "decode", lambda *_: torch.tensor([-1.0, 2.0]).repeat(2, 3, 32, 16))
    assert crops_for(module).faithful.unique().tolist() == [0, 1]


def test_both_pictures_are_seen_at_one_scale_and_sometimes_mirrored(make_sharp: MakeSharp) -> None:
    module, ramp = make_sharp(), torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    module.crop = 32
    ways = set()
    for seed in range(12):
        seen, wanted = module._scaled(ramp, ramp, torch.Generator().manual_seed(seed))
        assert torch.equal(seen, wanted)
        assert seen.shape[-1] == 32  # of 24 pixels, .75 to 1.35 of that, in steps of 16 and at least 32
        torch.testing.assert_close(seen, seen[:, :, :1].expand_as(seen))  # rows stay alike
        ways.add(bool(seen[0, 0, 0, 0] < seen[0, 0, 0, -1]))
    assert ways == {True, False}


def test_discriminators_do_not_touch_low_frequencies(make_sharp: MakeSharp) -> None:
    module = make_sharp(losses=SharpLossConfig(wait=0, ramp=0))
    _, added = gradients(module)
    assert added.norm() > 0
    assert F.avg_pool2d(added, LOW_PASS).abs().max() < 1e-6 * added.abs().max()


@pytest.mark.parametrize("name", ["l1", "lpips", "features"])
def test_each_reconstruction_loss_reaches_the_picture(make_sharp: MakeSharp, name: str) -> None:
    module = make_sharp(losses=SharpLossConfig(**({"l1": 0.0, "lpips": 0.0, "features": 0.0} | {name: 1.0})))
    crops = crops_for(module)
    image = crops.faithful.clone().requires_grad_()
    module._reconstruction(image, crops, torch.Generator().manual_seed(6)).backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()
    assert image.grad.abs().sum() > 0
    equal = crops._replace(faithful=crops.target)
    loss = module._reconstruction(crops.target, equal, torch.Generator().manual_seed(6))
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_crops_are_cut_from_the_same_places(make_sharp: MakeSharp, small_config: Any, tmp_path: Path) -> None:
    torch.manual_seed(3)
    large = save(Tokenizer(small_config(image_size=64)), tmp_path / "large")
    module = make_sharp(init_from=str(large))
    batch = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    crops = crops_for(module, 64)
    assert crops.faithful.shape == crops.target.shape == (2, 3, 32, 32)
    indices = module.tokenizer.tokenize(batch)
    whole = module.tokenizer.detokenize(indices, crops.tokens)
    for row in range(2):
        places = [(y, x) for y in range(0, 33, LOW_PASS) for x in range(0, 33, LOW_PASS)]
        found = [
            (y, x) for y, x in places if torch.equal(batch[row, :, y : y + 32, x : x + 32], crops.target[row])
        ]
        ((y, x),) = found
        torch.testing.assert_close(crops.faithful[row], whole[row, :, y : y + 32, x : x + 32])


class StopAfter(Callback):
    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: object) -> None:
        trainer.should_stop = trainer.should_stop or pl_module.batches >= self.batches


def test_stopped_and_resumed_equals_uninterrupted(tiny: Tiny, make_sharp: MakeSharp) -> None:
    whole = make_sharp()
    tiny.fit(whole)
    tiny.fit(make_sharp(), StopAfter(2), Checkpoints(minutes=0))
    second = make_sharp()
    torch.manual_seed(99)  # nothing may come from the global generator
    tiny.fit(second, ckpt=tiny.folder / "checkpoints" / "last.ckpt")
    assert second.steps == 3
    assert moved(second, state(whole)) == set()


def test_what_is_exported_decodes_as_before_and_sharp(
    tiny: Tiny, make_sharp: MakeSharp, no_sharp: Path, tmp_path: Path
) -> None:
    module = make_sharp()
    tiny.fit(module)
    made = load_tokenizer(module.export(tmp_path / "out"))
    plain = load_tokenizer(no_sharp)
    assert (plain.config.sharp_blocks, made.config.sharp_blocks) == (0, 1)
    assert all(torch.equal(made.state_dict()[name], tensor) for name, tensor in plain.state_dict().items())
    indices = plain.tokenize(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(4)))
    assert torch.equal(made.detokenize(indices), plain.detokenize(indices))
    assert not torch.equal(made.detokenize(indices, sharpness=1.0), plain.detokenize(indices))


def test_validation_measures_the_sharp_picture(tiny: Tiny, make_sharp: MakeSharp) -> None:
    module = make_sharp(validation=ValidationConfig(counts=(4, 16), lpips="alex"))
    assert module.monitor == ("val/lpips_16", False)
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    trainer = tiny.trainer(limit_val_batches=1.0)
    (found,) = trainer.validate(module, DataLoader(pictures, batch_size=2), verbose=False)
    indices = module.tokenizer.tokenize(pictures)
    sharp, faithful = (module.tokenizer.detokenize(indices[:, :4], sharpness=s) for s in (1.0, 0.0))
    expected, other = (Lpips("alex")(pictures, x).mean().item() for x in (sharp, faithful))
    assert found["val/lpips_4"] == pytest.approx(expected, rel=1e-5)
    assert abs(expected - other) > 1e-4 * expected


def test_grids_show_the_sharp_picture(make_sharp: MakeSharp) -> None:
    tokenizer, x = make_sharp().averaged, torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    assert SharpModule.sharpness == 1
    grid = reconstruction_grid(tokenizer, x, (4,), SharpModule.sharpness)
    sharp = tokenizer.detokenize(tokenizer.tokenize(x)[:, :4], sharpness=1.0)
    assert torch.equal(grid[:, :32, 32:], sharp[0])


def test_no_monitor_without_lpips(make_sharp: MakeSharp) -> None:
    assert make_sharp().monitor is None


DRIVER = """
import sys
import torch
from lightning.pytorch import Trainer, seed_everything
from onedpiece.training import sharp_module
from onedpiece.training.base_module import take_over
from onedpiece.training.data import FolderData
from onedpiece.training.optimizer import ScheduleConfig
from tests.training.conftest import RandomFeatures

sharp_module.SqueezeNet = sharp_module.EfficientNetLite = RandomFeatures
seed_everything(0)
losses = sharp_module.SharpLossConfig(lpips=0.0, wait=1, ramp=1)
schedule = ScheduleConfig(steps=3, warmup=0.0)
module = sharp_module.SharpModule(schedule, sys.argv[1], blocks=1, crop=32, losses=losses)
trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=-1, limit_val_batches=0,
                  logger=False, enable_checkpointing=False, enable_progress_bar=False)
take_over(trainer, module)
data = FolderData(sys.argv[2], include=("*t.png",), size=32, batch=2, workers=0, val_share=0.0)
trainer.fit(module, datamodule=data)
torch.save(module.state_dict(), f"{sys.argv[1]}/{trainer.global_rank}.pt")
"""


@pytest.mark.slow
def test_two_processes_train_it_together(no_sharp: Path, data: Path, tmp_path: Path) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    done = subprocess.run(
        [sys.executable, driver, no_sharp, data],
        cwd=tmp_path,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, other = (torch.load(no_sharp / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
