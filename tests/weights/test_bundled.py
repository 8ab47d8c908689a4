"""The bundled models: one code space for two decoders, and pictures that are no photos.

The sharp network takes half a second a picture: where the look does not matter, it is the faithful one.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.bitstream.packing import no_tables
from onedpiece.codec import Codec
from onedpiece.metrics.pixel import image_psnr
from onedpiece.rate.target import RateTarget
from onedpiece.weights import load
from onedpiece.weights.checkpoint import weights_digest

COLOURS = {"black": (0, 0, 0), "grey": (128, 128, 128), "green": (0, 255, 0), "magenta": (255, 0, 255)}


@pytest.fixture(scope="module")
def trained() -> Codec:
    return load()


@pytest.fixture(scope="module")
def untrained() -> Codec:
    return load("ti-256-untrained")


@pytest.fixture(scope="module")
def flat(trained: Codec) -> dict[str, Code]:
    pictures = [Image.new("RGB", (256, 256), colour) for colour in COLOURS.values()]
    return dict(zip(COLOURS, trained.encode_batch(pictures), strict=True))


def test_two_decoders_share_a_code_space(trained: Codec, untrained: Codec) -> None:
    assert trained.fingerprint == untrained.fingerprint
    assert weights_digest(trained.tokenizer) != weights_digest(untrained.tokenizer)
    assert trained.tokenizer.encoder is None
    assert trained.tokenizer.sharp is not None
    assert untrained.tokenizer.sharp is None


@pytest.mark.parametrize("coded", [False, True])
def test_either_reads_what_the_other_writes(
    trained: Codec, untrained: Codec, photo: Image.Image, coded: bool
) -> None:
    ours, theirs = trained.encode(photo, tokens=128), untrained.encode(photo, tokens=128)
    assert ours == theirs  # the tokens are the DCT's
    data = theirs.to_bytes() if coded else theirs.to_bytes(no_tables)
    assert bool(data[2] & 4) == coded
    old, new = untrained.decode(data), trained.decode(data, sharpness=0.0)
    assert image_psnr(photo, new) > image_psnr(photo, old) > 20
    with pytest.raises(ValueError, match="ti-256-untrained has no sharp network"):
        untrained.decode(data, sharpness=1.0)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("tokens", [64, 256])
def test_flat_pictures_stay_what_they_are(
    trained: Codec, flat: dict[str, Code], colour: str, tokens: int
) -> None:
    decoded = np.asarray(trained.decode(flat[colour], tokens, sharpness=0.0)).astype(int)
    # the last token makes mean colours exact; without it, they are on the even lattice
    assert np.abs(decoded - COLOURS[colour]).max() <= (1 if tokens == 256 else 3)


@pytest.mark.slow
@pytest.mark.parametrize("colour", COLOURS)
def test_flat_pictures_stay_flat_when_sharp(trained: Codec, flat: dict[str, Code], colour: str) -> None:
    decoded = np.asarray(trained.decode(flat[colour], sharpness=1.0)).astype(int)
    assert np.abs(decoded - COLOURS[colour]).max() <= 1


@pytest.mark.slow
def test_a_picture_is_sharp_unless_it_is_asked_for_otherwise(trained: Codec, photo: Image.Image) -> None:
    code = trained.encode(photo)
    unasked, sharp, faithful = (np.asarray(trained.decode(code, sharpness=s)) for s in (None, 1.0, 0.0))
    assert np.array_equal(unasked, sharp)
    assert not np.array_equal(unasked, faithful)


@pytest.mark.parametrize("size", [(1, 1), (256, 1), (1100, 8), (8, 1100), (2400, 48), (3, 5000)])
def test_thin_pictures_are_one_square(trained: Codec, photo: Image.Image, size: tuple[int, int]) -> None:
    thin = photo.resize(size)
    code = trained.encode(thin)
    assert (code.tiles, len(code)) == (None, 256)
    assert code == trained.encode(thin, tiles=False)
    decoded = trained.decode(code, sharpness=0.0)
    assert decoded.size == size
    assert image_psnr(thin, decoded) > 18


@pytest.mark.slow
def test_more_bytes_are_no_worse_for_a_thin_picture(trained: Codec, photo: Image.Image) -> None:
    thin = photo.resize((700, 16))
    qualities = [
        image_psnr(thin, trained.decode(trained.encode(thin, max_bytes=size), sharpness=0.0))
        for size in (60, 150, 450, 2000)
    ]
    assert qualities == sorted(qualities)


@pytest.mark.slow
def test_a_psnr_is_met_by_the_file_as_it_is_decoded(trained: Codec, data: Path, tmp_path: Path) -> None:
    for name in ("astronaut", "chelsea_451x300"):
        photo = Image.open(data / f"{name}.png").convert("RGB")
        best = trained.encode_to(photo, RateTarget(psnr=60), tiles=False, best_effort=True).search
        assert best
        code = trained.encode(photo, psnr=best.score - 1.5)
        assert code.faithful
        code.save(tmp_path / "a.odp")
        assert image_psnr(photo, trained.decode(tmp_path / "a.odp")) >= best.score - 1.5
        assert len(code) < 256
