"""What a program has set in torch does not reach the codec: not while it loads, and not while it works."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onedpiece.codec import Codec


@pytest.fixture(params=[torch.float64, torch.bfloat16, torch.float16, "meta"], ids=str)
def ambient(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """A default dtype or device to set, and to take back."""

    def enter() -> None:
        if request.param == "meta":
            torch.set_default_device("meta")
        else:
            torch.set_default_dtype(request.param)

    yield enter
    torch.set_default_device("cpu")
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def sharp_codec(small_codec: Callable[..., Codec]) -> Codec:
    return small_codec(sharp_blocks=1)


WISHES = ({"tokens": 9}, {"psnr": 14.0}, {"ssim": 0.2}, {"max_bytes": 20}, {"tiles": True, "max_bytes": 300})


def _all_of(codec: Codec, path: Path) -> list[object]:
    codes = [codec.encode(path, **wish) for wish in WISHES]  # type: ignore[arg-type]
    pictures = [
        np.asarray(codec.decode(code, sharpness=sharpness)).tolist() for code in codes for sharpness in (0, 1)
    ]
    mixed = [np.asarray(picture).tolist() for picture in codec.decode_batch([codes[0], codes[0][:2]])]
    return [codes, pictures, mixed]


def test_files_and_pictures_are_the_same(
    sharp_codec: Codec, ambient: Callable[[], None], data: Path, tmp_path: Path
) -> None:
    Image.open(data / "chelsea.png").resize((70, 48)).save(tmp_path / "a.png")
    expected = _all_of(sharp_codec, tmp_path / "a.png")
    ambient()
    assert _all_of(sharp_codec, tmp_path / "a.png") == expected
