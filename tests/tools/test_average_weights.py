"""Means of two trainings' weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from onedpiece.codec import Codec
from onedpiece.heads import HeadConfig, build_head, load_head
from onedpiece.heads.checkpoint import save_head
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.weights import load_tokenizer, save

Make = Callable[..., TokenizerConfig]


@pytest.fixture
def two(small_config: Make) -> tuple[Tokenizer, Tokenizer]:
    """Two of one geometry and other weights, each with a sharp network."""
    config = replace(small_config(num_tokens=8, fsq_grades=((8, (64, 64)),)), sharp_blocks=1)
    return Tokenizer(config).eval(), Tokenizer(config).eval()


def test_the_parts_named_are_the_mean_and_the_rest_is_the_firsts(
    tool: Callable[[str], ModuleType], two: tuple[Tokenizer, Tokenizer], tmp_path: Path
) -> None:
    before, after = (load_tokenizer(save(each, tmp_path / str(at))) for at, each in enumerate(two))
    words = [str(tmp_path / "0"), str(tmp_path / "1"), "--share", "0.25", "--parts", "decoder"]
    assert tool("average_weights").main([*words, "--gain", "1.5,1.25", "--out", str(tmp_path / "mean")]) == 0
    found = load_tokenizer(tmp_path / "mean").state_dict()
    ours, theirs = before.state_dict(), after.state_dict()
    assert found.keys() == ours.keys()
    for name, value in found.items():
        if name == "sharp.gain":
            assert value.tolist() == [1.5, 1.25]
        elif name.startswith("decoder."):
            expected = 0.75 * ours[name] + 0.25 * theirs[name]
            torch.testing.assert_close(value, expected, atol=1e-3, rtol=1e-3)  # float16 in the files
        else:
            assert torch.equal(value, ours[name])
    assert not torch.equal(ours["sharp.conv_first.weight"], theirs["sharp.conv_first.weight"])


@pytest.mark.parametrize(
    ("share", "parts", "message"),
    [(1.5, [], "share is 1.5; give 0"), (0.5, ["decodr"], "no weights begin with decodr")],
)
def test_mistakes_are_named(
    tool: Callable[[str], ModuleType],
    two: tuple[Tokenizer, Tokenizer],
    share: float,
    parts: list[str],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        tool("average_weights").average(*two, share, parts)


def test_others_are_refused(
    tool: Callable[[str], ModuleType], two: tuple[Tokenizer, Tokenizer], small_config: Make
) -> None:
    module = tool("average_weights")
    with pytest.raises(ValueError, match="different geometries"):
        module.average(two[0], Tokenizer(small_config()), 0.5)
    assert two[1].linear_path is not None
    two[1].linear_path.scale.mul_(2)
    with pytest.raises(ValueError, match="different statistics"):
        module.average(*two, 0.5)


def test_heads_keep_the_seconds_note(tool: Callable[[str], ModuleType], codec: Codec, tmp_path: Path) -> None:
    config = HeadConfig(task="classify", classes=("a", "b"), width=32, heads=2, layers=1)
    files = [
        save_head(
            build_head(config, codec.tokenizer), tmp_path / f"{note}.safetensors", codec.fingerprint, note
        )
        for note in ("one", "other")
    ]
    out = tmp_path / "mean.safetensors"
    words = [*map(str, files), "--share", "0.5", "--out", str(out)]
    assert tool("average_weights").main(words) == 0
    mean, one, other = (load_head(path) for path in (out, *files))
    assert mean.note == "other"
    assert mean.code_space == codec.fingerprint
    for name, value in mean.head.named_parameters():
        expected = (one.head.get_parameter(name) + other.head.get_parameter(name)) / 2
        torch.testing.assert_close(value, expected, atol=1e-3, rtol=1e-3)
    foreign = save_head(other.head, tmp_path / "foreign.safetensors", b"none")
    assert tool("average_weights").main([str(files[0]), str(foreign), "--out", str(out)]) == 2
