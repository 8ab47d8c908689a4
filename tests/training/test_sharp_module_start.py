"""What the sharp network's training starts from, and what it refuses to start with."""

from pathlib import Path

import pytest
import torch

from onedpiece.training.sharp_module import SharpLossConfig

from .conftest import MakeSharp, real_esrgan


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
