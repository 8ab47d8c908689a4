"""`onedpiece bulk`: options, refusals and what it says; Ray itself is in tests/bulk."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from onedpiece.bulk.engine import Record
from onedpiece.bulk.run import Progress, Summary
from onedpiece.bulk.shards import picture_schema, writing_shard
from onedpiece.bulk.storage import Folder
from onedpiece.cli.bulk import _end, _Screen
from onedpiece.tokenizer import Tokenizer
from onedpiece.weights import save

pytest.importorskip("pyarrow")
Asked = list[dict[str, Any]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Write empty shards in Ray's place, and note what each run was asked for."""
    seen: Asked = []

    def run_units(units: Any, worker: Any, arguments: Any, cluster: Any) -> Iterator[Record]:
        seen.append({"units": units, "worker": worker.name, "arguments": arguments, "cluster": cluster})
        layout = getattr(arguments[2], "layout", "tree")
        for unit in units:
            with writing_shard(Folder(arguments[0]), unit.number, layout, picture_schema(), None) as shard:
                row = {"key": "k", "width": 1, "height": 1, "file": "f", "bytes": 3}
                shard.add([row | {"error": None}, row | {"error": "broken\x1b[1m"}], 2)
            yield Record(unit.number, dict(shard.counts), shard.failures, None, 1.0, 3.0, 2.0, 100.0)

    monkeypatch.setattr("onedpiece.bulk.run.run_units", run_units)
    return seen


@pytest.fixture
def model(stirred_tokenizer: Callable[..., Tokenizer], tmp_path: Path) -> Path:
    return save(stirred_tokenizer(), tmp_path / "model")


def test_options_reach_the_workers(asked: Asked, cli: Any, photos: Path, model: Path, tmp_path: Path) -> None:
    words = ["--tokens", 5, "--crops", 2, "--to", "odp", "--shard-size", 1, "--batch", 4, "--score", "psnr"]
    words += ["--address", "1.2.3.4:6379", "--concurrency", 3, "--num-gpus", "0.5", "--model", model]
    result = cli("bulk", photos, tmp_path / "out", *words, "--json")
    assert (result.status, result.err) == (0, "onedpiece: k: broken\\x1b[1m\n" * 2)
    (run,) = asked
    assert [unit.keys for unit in run["units"]] == [("a.png",), ("b.png",)]
    folder, name, options = run["arguments"]
    assert (folder, name) == (str(tmp_path / "out"), str(model))
    assert (options.target.tokens, options.crops, options.layout, options.score) == (5, 2, "tree", "psnr")
    cluster = run["cluster"]
    assert (cluster.address, cluster.concurrency, cluster.num_gpus, cluster.batch) == (
        "1.2.3.4:6379",
        3,
        0.5,
        4,
    )
    record = json.loads(result.out)
    assert record["pictures"] == record["new_pictures"] == 4
    assert (record["rows"], record["errors"], record["shards"]) == (4, 2, 2)
    assert record["per_second"] == 2.0  # four pictures from second 1 to 3


def test_what_is_said_in_words(asked: Asked, cli: Any, photos: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = cli("bulk", photos, out, "--model", model, "--shard-size", 1)
    assert result.out.decode() == (
        f"{out}: 4 rows of 4 pictures in 2 shards, 2 of them failed; 4 new at 2.0 a second\n"
    )
    result = cli("bulk", photos, out, "--model", model, "--shard-size", 1, terminals="err")
    assert result.out.decode().endswith("; all were there before\n")
    assert len(asked) == 1  # there was nothing left to do


@pytest.mark.parametrize(("errors", "status"), [(0, 0), (2, 0), (3, 1)])
def test_a_run_fails_where_nothing_was_made(errors: int, status: int) -> None:
    summary = Summary({"pictures": 3, "rows": 3, "errors": errors}, 1, 0, 3, 1.0, 1.0, 1.0, 1.0)
    if status:
        with pytest.raises(typer.Exit) as ended:
            _end(summary, "out", as_json=False)
        assert ended.value.exit_code == status
    else:
        _end(summary, "out", as_json=True)


def test_the_first_failures_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    screen = _Screen()
    for first in (0, 15, 30):
        failures = [(f"{first + i}.png", "not a picture") for i in range(15)]
        record = Record(0, {}, failures, None, 1.0, 3.0, 2.0, 100.0)
        screen.tell(Progress(1, 3, 1.0, 0, record))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 20
    assert said[-1] == "onedpiece: 19.png: not a picture"


def test_another_run_is_refused(asked: Asked, cli: Any, photos: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli("bulk", photos, out, "--model", model, "--tokens", 4).status == 0
    result = cli("bulk", photos, out, "--model", model, "--tokens", 5)
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "out was begun with options tokens 4, not 5: go on as it was begun" in result.err
    assert cli("bulk", photos, out, "--model", model, "--tokens", 5, "--overwrite").status == 0
    (photos / "c.png").write_bytes(b"one more")
    result = cli("bulk", photos, out, "--model", model, "--tokens", 5)
    assert "; input pictures 2, not 3: go on as it was begun" in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tokens", "99"], r"tokens is 99; .* takes 1 to 16"),
        (["--tokens", "4", "--psnr", "20"], "give tokens or psnr, not both"),
        (["--to", "zip"], "--to is 'zip'; choose one of parquet, webdataset, odp"),
        (["--decode", "--to", "parquet"], "--to is 'parquet'; with --decode, choose one of png, jpg"),
        (["--decode", "--psnr", "20"], "--decode takes --tokens and --sharpness"),
        (["--decode", "--best-effort"], "--decode takes --tokens and --sharpness"),
        (["--sharpness", "0"], "--sharpness is for --decode"),
        (["--score", "fid"], "--score is 'fid'; choose one of psnr, ssim, lpips"),
        (["--shard-size", "0"], "shard_size is 0"),
    ],
)
def test_wrong_options_are_named(
    words: list[str], message: str, asked: Asked, cli: Any, photos: Path, model: Path, tmp_path: Path
) -> None:
    import re

    result = cli("bulk", photos, tmp_path / "out", "--model", model, *words)
    assert result.status == 2
    assert re.search(message, result.err)
    assert (result.err.count("\n"), asked, (tmp_path / "out").exists()) == (1, [], False)


def test_an_output_is_needed(cli: Any, photos: Path) -> None:
    result = cli("bulk", photos)
    assert (result.status, "onedpiece bulk IN... OUT" in result.err) == (2, True)


def test_decode_takes_shards_of_this_model_only(
    cli: Any, inputs_of_tokens: Path, model: Path, asked: Asked, small_codec: Any, tmp_path: Path
) -> None:
    result = cli("bulk", inputs_of_tokens, tmp_path / "back", "--decode", "--model", model, "--to", "webp")
    assert result.status == 0
    assert (asked[0]["worker"], asked[0]["arguments"][2].ending) == ("Decoder", ".webp")
    assert [unit.pictures for unit in asked[0]["units"]] == [0]
    result = cli("bulk", inputs_of_tokens, tmp_path / "other", "--decode")  # the bundled model
    assert result.status == 2
    assert "holds tokens of code space" in result.err
    result = cli("bulk", inputs_of_tokens, tmp_path / "again", "--model", model)
    assert "00000.parquet holds tokens; --decode makes pictures of them" in result.err


@pytest.fixture
def inputs_of_tokens(model: Path, tmp_path: Path) -> Path:
    """A run's folder with one empty shard."""
    from onedpiece.bulk.encode import info_of
    from onedpiece.bulk.shards import token_schema
    from onedpiece.rate.target import RateTarget
    from onedpiece.weights import load

    folder = tmp_path / "tokens"
    info = info_of(load(model), RateTarget())
    with writing_shard(Folder(str(folder)), 0, "parquet", token_schema(), info):
        pass
    return folder


def test_without_ray_the_extra_is_named(
    cli: Any, photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = cli("bulk", photos, tmp_path / "out", "--model", model)
    assert (result.status, result.err) == (
        1,
        "onedpiece: bulk needs an extra: pip install 'onedpiece[bulk]'\n",
    )
