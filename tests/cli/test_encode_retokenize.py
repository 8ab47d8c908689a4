"""`encode --retokenize`: another way to the same kind of file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.retokenize.adapters import find_site
from onedpiece.tokenizer import Tokenizer


@pytest.fixture
def tiny(stirred_tokenizer: Callable[..., Tokenizer]) -> Tokenizer:
    """64 patches and 16 latents through 4 layers; one of its own for each test."""
    return stirred_tokenizer(image_size=256, patch_size=32, encoder_layers=4)


def tokens_of(path: Path) -> list[int]:
    return Code.from_bytes(path.read_bytes()).indices.tolist()


@pytest.mark.parametrize("name", ["mctf", "imagepiece", "tome"])
def test_the_file_is_an_ordinary_one(
    cli: Any, photos: Path, tmp_path: Path, name: str, tiny: Tokenizer
) -> None:
    seen: list[int] = []
    assert tiny.encoder is not None
    tiny.encoder.transformer[-1].mlp.register_forward_hook(lambda _, x, y: seen.append(x[0].shape[1]))
    plain, reduced = tmp_path / "plain.odp", tmp_path / "reduced.odp"
    assert cli("encode", photos / "a.png", "-o", plain).status == 0
    result = cli("encode", photos / "a.png", "-o", reduced, "--retokenize", name, "--keep", 0.25, "--json")
    assert result.status == 0, result.err
    record = json.loads(result.out)
    assert (record["retokenize"], record["keep"]) == (name, 0.25)
    assert seen == [1 + 64 + 16, 1 + 16 + 16]  # the last layer's class token, patches and latents
    assert len(tokens_of(reduced)) == len(tokens_of(plain))
    if name != "tome":  # whose merging an untrained encoder hardly notices
        assert tokens_of(reduced) != tokens_of(plain)
    assert reduced.read_bytes()[:7] == plain.read_bytes()[:7]  # magic, version, model
    assert cli("decode", reduced, "-o", tmp_path / "back.png").status == 0


def test_keep_everything_changes_nothing(cli: Any, photos: Path, tmp_path: Path) -> None:
    plain, reduced = tmp_path / "plain.odp", tmp_path / "reduced.odp"
    cli("encode", photos / "a.png", "-o", plain)
    result = cli("encode", photos / "a.png", "-o", reduced, "--retokenize", "tome", "--keep", 1)
    assert result.status == 0
    assert reduced.read_bytes() == plain.read_bytes()


def test_a_folder_tiles_and_targets(cli: Any, photos: Path, tmp_path: Path, tiny: Tokenizer) -> None:
    reduce = ("--retokenize", "mctf", "--json")
    many = cli("encode", photos, "-o", tmp_path / "many", *reduce)
    assert [json.loads(line)["keep"] for line in many.out.splitlines()] == [0.5, 0.5]
    tiled = cli("encode", photos / "b.png", "-o", tmp_path / "tiled.odp", "--tiles", *reduce)
    assert tiled.status == 0, tiled.err
    code = Code.from_bytes((tmp_path / "tiled.odp").read_bytes())
    assert code.tiles is not None
    aimed = cli("encode", photos / "a.png", "-o", tmp_path / "a.odp", "--psnr", 99, "--best-effort", *reduce)
    record = json.loads(aimed.out)
    assert (record["retokenize"], record["met"]) == ("mctf", False)


def test_latents_are_never_merged(cli: Any, photos: Path, tiny: Tokenizer) -> None:
    cli("encode", photos / "a.png", "--retokenize", "tome", "--keep", 0.25)
    layout = find_site(tiny).layout
    assert (layout.prefix, layout.tail) == (1, 16)
    assert len(tokens_of(photos / "a.odp")) == 16


class TestWithoutEncoder:
    @pytest.fixture
    def tiny(self, stirred_tokenizer: Callable[..., Tokenizer]) -> Tokenizer:
        return stirred_tokenizer(image_size=256, patch_size=64, encoder_layers=0)

    def test_there_is_nothing_to_reduce(self, cli: Any, photos: Path) -> None:
        result = cli("encode", photos / "a.png", "--retokenize", "tome")
        assert (result.status, result.out) == (2, b"")
        assert "no encoder network (encoder_layers is 0)" in result.err
        assert result.err.count("\n") == 1
        assert not (photos / "a.odp").exists()


def test_a_model_without_linear_path_works_too(photos: Path, small_codec: Callable[..., Codec]) -> None:
    from onedpiece.cli.reduction import TokenReduction

    grades = ((16, (8, 8, 8, 8)),)
    codec = small_codec(image_size=256, patch_size=32, encoder_layers=4, fsq_grades=grades, linear_path=False)
    TokenReduction("imagepiece", 0.5).apply_to(codec)
    assert len(codec.encode(photos / "a.png")) == 16


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--retokenize", "tome", "--keep", "0"), "--keep is 0; give the share in (0, 1] of the tokens"),
        (("--retokenize", "tome", "--keep", "1.5"), "--keep is 1.5; give the share in (0, 1]"),
        (("--retokenize", "tome", "--keep", "nan"), "--keep is nan; give the share in (0, 1]"),
        (("--retokenize", "ToMe"), "--retokenize is 'ToMe'; choose one of mctf, imagepiece, tome"),
        (("--keep", "0.5"), "--keep 0.5 needs --retokenize, one of mctf, imagepiece, tome"),
    ],
)
def test_mistakes_are_named(cli: Any, photos: Path, words: tuple[str, ...], message: str) -> None:
    result = cli("encode", photos / "a.png", *words)
    assert result.status == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not (photos / "a.odp").exists()
