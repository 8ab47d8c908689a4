"""Exported models: what onnxruntime makes of tokens and pixels is what torch makes of them."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import onedpiece
from onedpiece.codec import Codec
from onedpiece.errors import MissingExtraError, WeightsError
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.weights.checkpoint import load_tables
from onedpiece.weights.export import export_onnx, parity

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow  # tracing one model takes seconds


@pytest.fixture(scope="module")
def tokenizer(stirred_tokenizer: Callable[..., Tokenizer]) -> Tokenizer:
    """With everything in it: an encoder that has a say, a DCT path, and a sharp network of one block."""
    grades = ((8, (63, 65)), (7, (15, 15, 17)), (1, (15, 15, 17)))
    return stirred_tokenizer(sharp_blocks=1, fsq_grades=grades)


@pytest.fixture(scope="module")
def folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    export_onnx(tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def ours(tokenizer: Tokenizer) -> Codec:
    return Codec(tokenizer, onedpiece.weights.fingerprint(tokenizer), name="tiny")


@pytest.fixture(scope="module")
def exported(folder: Path) -> Codec:
    return onedpiece.load(folder)


@pytest.fixture(scope="module")
def photos(data: Path) -> list[Image.Image]:
    names = ("astronaut.png", "chelsea_451x300.png", "coffee.png", "rocket.png")
    return [Image.open(data / name).convert("RGB") for name in names]


def levels_apart(a: Image.Image, b: Image.Image) -> int:
    return int(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max())


def test_tokens_and_pictures_are_those_of_torch(
    ours: Codec, exported: Codec, photos: list[Image.Image]
) -> None:
    expected, found = ours.encode_batch(photos), exported.encode_batch(photos)
    tokens = [np.concatenate([code.indices for code in codes]) for codes in (expected, found)]
    assert (tokens[0] == tokens[1]).mean() >= 0.999
    for count in (2, 5, 16):
        for look in (0.0, 0.5, 1.0):
            pairs = zip(
                ours.decode_batch(expected, count, sharpness=look),
                exported.decode_batch(expected, count, sharpness=look),
                strict=True,
            )
            assert max(levels_apart(*pair) for pair in pairs) <= 1, (count, look)


def test_the_notice_of_the_sharp_network_goes_with_its_graph(folder: Path) -> None:
    assert "Copyright (c) 2021, Xintao Wang" in (folder / "LICENSE-Real-ESRGAN.txt").read_text()


def test_the_sharp_graph_may_be_left_out(ours: Codec, folder: Path, photos: list[Image.Image]) -> None:
    plain, code = onedpiece.load(folder, sharp=False), ours.encode(photos[0])
    assert levels_apart(plain.decode(code), ours.decode(code, sharpness=0.0)) <= 1
    with pytest.raises(ValueError, match="has no sharp network"):
        plain.decode(code, sharpness=1.0)


def test_codes_of_mixed_lengths_share_a_call(ours: Codec, exported: Codec, photos: list[Image.Image]) -> None:
    codes = [code[: 3 + at % 2] for at, code in enumerate(ours.encode_batch(photos))]
    for alone, together in zip(codes, exported.decode_batch(codes), strict=True):
        assert levels_apart(exported.decode(alone), together) <= 1
        assert levels_apart(ours.decode(alone), together) <= 1


@pytest.mark.parametrize("target", [{"max_bytes": 20}, {"bpp": 0.05}, {"psnr": 7.0}, {"tiles": True}])
def test_targets_and_tiles_are_those_of_torch(
    ours: Codec, exported: Codec, photos: list[Image.Image], target: dict[str, Any]
) -> None:
    photo = photos[1].resize((90, 60))
    expected, found = ours.encode(photo, **target), exported.encode(photo, **target)
    assert len(found) == len(expected)
    assert levels_apart(exported.decode(expected), ours.decode(expected)) <= 1


def test_the_same_files_and_named_errors(ours: Codec, exported: Codec, photos: list[Image.Image]) -> None:
    code = exported.encode(photos[0])
    assert exported.fingerprint == ours.fingerprint
    assert ours.decode(code.to_bytes()).size == (256, 256)
    assert exported.to("cpu") is exported
    for twin in (deepcopy(exported), pickle.loads(pickle.dumps(exported))):
        assert twin.encode(photos[0]) == code
    assert "on cpu" in repr(exported)
    outside = onedpiece.Code(np.array([4095]), 4096, ours.fingerprint)
    for work, message in (
        (lambda: exported.to(dtype=torch.float16), "its dtype cannot be changed"),
        (lambda: exported.to("tpu"), "there are: cpu"),
        (lambda: exported.tokenizer, "is an exported model, without a network"),
        (
            lambda: exported.decode(outside),
            r"token 0 is 4095; .* 0…4094",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            work()
    with pytest.raises(ValueError, match="cannot compile"):
        onedpiece.load(exported.name, compile=True)


def test_damage_is_named(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    stated = json.loads((folder / "config.json").read_text())
    for change, message in (
        ({"format": 2}, "has format 2; this onedpiece reads onedpiece-onnx-1"),
        ({"fingerprint": "zz"}, "is damaged"),
        ({"tokenizer": {"odd": 1}}, "is damaged"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(stated | change))
        with pytest.raises(WeightsError, match=message):
            onedpiece.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(stated | {"fingerprint": "00000000"}))
    code = onedpiece.Code(np.array([1, 2]), 4096, bytes(4))
    with pytest.raises(WeightsError, match=r"decoder\.onnx is of model .*, config\.json beside it of 0000"):
        onedpiece.load(tmp_path).decode(code)
    (tmp_path / "decoder.onnx").write_bytes(b"junk")
    with pytest.raises(WeightsError, match=r"decoder\.onnx does not load"):
        onedpiece.load(tmp_path).decode(code)


def test_an_export_replaces_an_export_only(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is there and no exported model"):
        export_onnx(tokenizer, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "decoder.onnx").write_bytes(b"another's")
    with pytest.raises(ValueError, match="is there and no exported model"):
        export_onnx(tokenizer, tmp_path)


def test_what_lies_beside_an_export_is_not_lost(folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes\.txt beside an exported model"):
        export_onnx(tokenizer, tmp_path / "m")
    assert (tmp_path / "m" / "notes.txt").read_text() == "mine"


def test_graphs_that_differ_do_not_appear(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onedpiece.weights import export

    monkeypatch.setattr(export, "graphs_of", lambda _: [])
    for tokens, levels in ((0.9, 0.0), (1.0, 1.1)):
        monkeypatch.setattr(export, "parity", lambda *_, found=(tokens, levels): export.Parity(*found))
        with pytest.raises(WeightsError, match="differ from torch"):
            export_onnx(tokenizer, tmp_path / "a.onnx")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("changes", [{"quantizer": "vq", "linear_path": False, "vq_dim": 5}])
def test_other_models_export_too(
    small_config: Callable[..., TokenizerConfig], tmp_path: Path, changes: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    found = export_onnx(Tokenizer(small_config(**changes)).eval(), tmp_path / "vq.onnx")
    assert found.equal_tokens >= 0.999
    assert {path.name for path in (tmp_path / "vq.onnx").iterdir()} == {
        "config.json",
        "decoder.onnx",
        "encoder.onnx",
    }


def test_without_onnxruntime_it_says_how(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'onedpiece\[onnx\]'"):
        onedpiece.load(folder)


WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "lightning", "safetensors", "lpips", "scipy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from onedpiece.cli.main import main
status = main(sys.argv[1:])
assert not {"torch", "lightning", "safetensors"} & set(sys.modules)
sys.exit(status)
"""


def run_without_torch(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process in which torch cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)], capture_output=True, text=True, check=False
    )


def test_verbs_run_without_torch(
    ours: Codec, exported: Codec, folder: Path, data: Path, tmp_path: Path
) -> None:
    photo, code = data / "chelsea_451x300.png", tmp_path / "a.odp"
    made = run_without_torch("encode", photo, "--tokens", "8", "--model", folder, "-o", code)
    assert (made.returncode, made.stderr) == (0, "")
    assert code.read_bytes() == exported.encode(photo, tokens=8).to_bytes()
    drawn = run_without_torch("decode", code, "--model", folder, "-o", tmp_path / "a.png")
    assert (drawn.returncode, drawn.stderr) == (0, "")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (451, 300)
        assert levels_apart(picture, ours.decode(code)) <= 1
    told = run_without_torch("info", code, "--model", folder)
    assert (told.returncode, told.stderr) == (0, "")
    assert "8 tokens of 4096" in told.stdout
    for words, message in (
        (("--psnr", "5"), ""),
        (("--ssim", "0.1"), "SSIM is computed by torch: pip install torch, or aim at psnr"),
    ):
        aimed = run_without_torch("encode", photo, *words, "--model", folder, "-o", code)
        assert "Traceback" not in aimed.stderr
        assert message in aimed.stderr
        assert aimed.returncode == bool(message)


def test_models_of_torch_say_what_they_need(data: Path, tmp_path: Path) -> None:
    refused = run_without_torch("encode", data / "chelsea.png", "-o", tmp_path / "a.odp")
    assert refused.returncode == 1
    assert refused.stderr.startswith("onedpiece: ti-256 runs in torch: pip install torch safetensors, or ")
    assert refused.stderr.count("\n") == 1


def test_the_verb(cli_tables: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from onedpiece.cli.main import main

    out = tmp_path / "golden.onnx"
    assert main(["export", "--format", "onnx", str(out), "--model", str(cli_tables)]) == 0
    assert "100.00% of tokens as in torch, pictures within" in capfd.readouterr().out
    codec = onedpiece.load(out)
    assert codec.model.tables == load_tables(cli_tables, codec.fingerprint) is not None
    assert parity(onedpiece.load(cli_tables).tokenizer, codec.model).equal_tokens == 1
    assert main(["export", "--format", "pt", str(out)]) == 2
    assert "--format is 'pt'; there are: onnx" in capfd.readouterr().err


@pytest.mark.parametrize("head", [(), ("--head", "classify")])
def test_what_cannot_be_written_is_named(
    head: tuple[str, ...], cli_tables: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from onedpiece.cli.main import main

    (tmp_path / "file").touch()
    out = tmp_path / "file" / "a.onnx"
    assert main(["export", str(out), *(head or ("--model", str(cli_tables)))]) == 1
    error = capfd.readouterr().err
    assert error.startswith(f"onedpiece: cannot write {out}: ")
    assert error.count("\n") == 1


@pytest.fixture
def cli_tables(data: Path) -> Path:
    """A model with an entropy coder's tables."""
    return data / "golden" / "model"
