"""What the sharp network's training starts from, and what it refuses to start with."""

from pathlib import Path

import pytest
import torch

from onedpiece.training.optimizer import ScheduleConfig
from onedpiece.training.sharp_module import SharpLossConfig, SharpOptimizerConfig
from onedpiece.weights import load_tokenizer

from .conftest import MakeSharp, Tiny, real_esrgan


def test_a_folder_with_a_network_goes_on_with_it(make_sharp: MakeSharp, tmp_path: Path) -> None:
    module = make_sharp()
    again = make_sharp(init_from=str(module.export(tmp_path / "sharp")), blocks=None)
    assert again.tokenizer.config == module.tokenizer.config
    assert all(
        torch.equal(p.half(), q.half())
        for p, q in zip(module.network.parameters(), again.network.parameters(), strict=True)
    )


def test_geometries_that_do_not_fit_are_refused(make_sharp: MakeSharp, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no sharp network; set model\.blocks"):
        make_sharp(blocks=None)
    with pytest.raises(ValueError, match=r"model\.blocks is 0"):
        make_sharp(blocks=0)
    folder = make_sharp().export(tmp_path / "sharp")
    with pytest.raises(ValueError, match=r"model\.blocks is 2 and .* has 1"):
        make_sharp(init_from=str(folder), blocks=2)


@pytest.mark.parametrize("crop", [0, 24, 64])
def test_crops_that_do_not_fit_are_refused(make_sharp: MakeSharp, crop: int) -> None:
    with pytest.raises(ValueError, match=f"crop is {crop}; use a multiple of 32 up to the picture's 32"):
        make_sharp(crop=crop)


def test_the_network_starts_from_a_file(make_sharp: MakeSharp, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    theirs, path = real_esrgan(), tmp_path / "x4.safetensors"
    save_file({name: tensor.half().contiguous() for name, tensor in theirs.items()}, path)
    module = make_sharp(sharp_from=str(path))
    for network in (module.network, module.averaged.sharp):
        assert network is not None
        assert torch.equal(network.conv_last.weight, theirs["conv_last.weight"].half().float())


@pytest.mark.parametrize(
    ("options", "message"), [({"l1": -1.0}, "negative"), ({"l1": 0, "lpips": 0, "features": 0}, "above 0")]
)
def test_nonsense_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SharpLossConfig(**options)


def test_a_teacher_draws_what_is_trained_towards(
    tiny: Tiny, make_sharp: MakeSharp, no_sharp: Path, tmp_path: Path
) -> None:
    teacher = make_sharp()
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in teacher.network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    teacher.ema.copy_from(teacher.tokenizer)
    folder = teacher.export(tmp_path / "teacher")
    quiet = SharpLossConfig(pixels=0, squeeze=0, efficientnet=0, lpips=0, features=0)
    schedule = ScheduleConfig(steps=30, warmup=0.0)
    module = make_sharp(
        teacher=str(folder), losses=quiet, schedule=schedule, optimizer=SharpOptimizerConfig(lr=3e-3)
    )
    assert module.state_dict().keys() == make_sharp(losses=quiet).state_dict().keys()

    batch = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    crops = module._crops(batch, torch.Generator().manual_seed(7))
    with torch.no_grad():
        drawn = load_tokenizer(folder).sharpen(crops.faithful, crops.tokens)
    assert torch.equal(crops.target, drawn)

    def distance() -> float:
        with torch.no_grad():
            own = module.tokenizer.sharpen(crops.faithful, crops.tokens)
        return float((own - drawn).abs().mean())

    before = distance()
    tiny.fit(module)
    assert distance() < 0.7 * before
    with pytest.raises(ValueError, match=r"model\.teacher is .*, which has no sharp network"):
        make_sharp(teacher=str(no_sharp))
