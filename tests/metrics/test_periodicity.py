import pytest
import torch
from PIL import Image

from onedpiece.codec.tensors import to_tensor
from onedpiece.metrics.periodicity import mesh_ratio


def test_noise_has_no_mesh() -> None:
    noise = torch.rand(4, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    # Powers of noise are exponential: one scatters by as much as its mean, the mean of 255 by a sixteenth.
    assert mesh_ratio(noise).tolist() == pytest.approx([1.1] * 4, abs=0.25)


def test_a_texture_repeated_in_every_patch_shows() -> None:
    random = torch.Generator().manual_seed(0)
    noise, texture = torch.rand(1, 3, 256, 256, generator=random), torch.rand(3, 16, 16, generator=random)
    mesh = noise + 0.1 * texture.repeat(1, 16, 16)
    assert mesh_ratio(mesh).item() > 1.5 * mesh_ratio(noise).item()
    # A texture of another period is no mesh of this one: neither 14 nor its harmonics but 112 fall on k / 16.
    other = noise + 0.1 * texture[:, :14, :14].repeat(1, 19, 19)[:, :256, :256]
    assert mesh_ratio(other).item() < 1.2 * mesh_ratio(noise).item()


def test_seams_of_a_photo_show(photo: Image.Image) -> None:
    pixels = to_tensor([photo])
    seamed = pixels.clone()
    seamed[..., ::16, :] += 0.1
    assert mesh_ratio(pixels).item() < 2
    assert mesh_ratio(seamed).item() > 3 * mesh_ratio(pixels).item()


def test_flat_and_cut_pictures() -> None:
    assert mesh_ratio(torch.full((2, 3, 200, 210), 0.3)).tolist() == pytest.approx([1.0, 1.0])
    with pytest.raises(ValueError, match="at least 192 pixels; the pictures are 256x191"):
        mesh_ratio(torch.zeros(1, 3, 191, 256))


def test_rows_and_columns_are_alike(photo: Image.Image) -> None:
    pixels = to_tensor([photo])[..., :208]  # more power on one axis than on the other
    turned = pixels.transpose(2, 3)
    assert mesh_ratio(turned).tolist() == pytest.approx(mesh_ratio(pixels).tolist(), rel=1e-3)
