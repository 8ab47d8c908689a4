"""Version 1 for ever: old files decode to the same tokens and pixels (see tools/make_golden.py)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.bitstream.format import Flag
from onedpiece.bitstream.packing import no_tables
from onedpiece.codec import Codec
from onedpiece.weights.checkpoint import load

GOLDEN = Path(__file__).parent / "data" / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.odp"))
PICTURES = sorted(path.stem for path in GOLDEN.glob("*.png"))


@pytest.fixture(scope="module")
def codec() -> Codec:
    return load(GOLDEN / "model")


@pytest.fixture(params=[1, 4])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_there_are_golden_files() -> None:
    assert len(NAMES) >= 13
    assert len(PICTURES) >= 9


@pytest.mark.parametrize("name", NAMES)
def test_the_tokens_are_the_same(name: str, codec: Codec) -> None:
    code = Code.from_bytes((GOLDEN / f"{name}.odp").read_bytes(), codec.tables_of)
    assert code.indices.tolist() == np.loadtxt(GOLDEN / f"{name}.indices.txt", np.int64, ndmin=1).tolist()


@pytest.mark.parametrize("name", [name for name in NAMES if "cut" not in name])
def test_writing_gives_the_same_bytes(name: str, codec: Codec) -> None:
    data = (GOLDEN / f"{name}.odp").read_bytes()
    tables_of = codec.tables_of if data[2] & Flag.ENTROPY else no_tables
    assert Code.from_bytes(data, codec.tables_of).to_bytes(tables_of) == data


@pytest.mark.parametrize("name", PICTURES)
def test_the_pixels_are_the_same_within_a_level(name: str, codec: Codec, threads: int) -> None:
    decoded = np.asarray(codec.decode(GOLDEN / f"{name}.odp")).astype(int)
    expected = np.asarray(Image.open(GOLDEN / f"{name}.png")).astype(int)
    # A picture, not a blank; one token says the mean and one gentle slope.
    assert expected.std() > (1 if name == "one-token" else 5)
    assert np.abs(decoded - expected).max() <= 1
