import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onedpiece
from onedpiece.bitstream import Code
from onedpiece.cli import main as main_module

COMMAND = [sys.executable, "-m", "onedpiece"]
VERBS = ("encode", "decode", "truncate", "info", "models", "compare", "evaluate", "bulk", "train")


def test_help_lists_the_verbs_and_imports_nothing_heavy() -> None:
    script = (
        "import sys; from onedpiece.cli.main import main; status = main(['--help']);"
        "print(sorted({'torch', 'lightning', 'PIL', 'numpy', 'rich'} & set(sys.modules)), status)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[] 0"
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs os.wait4")
def test_help_answers_at_once() -> None:
    process = subprocess.Popen([*COMMAND, "--help"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert usage.ru_utime + usage.ru_stime < 0.5  # its own time: what other processes take is not its fault


def test_version(cli: Any) -> None:
    assert cli("--version") == (0, f"onedpiece {onedpiece.__version__}\n".encode(), "")


def test_no_verb_is_help(cli: Any) -> None:
    assert cli() == cli("--help")
    assert cli().out.startswith(b"Usage: onedpiece")


def test_a_group_without_its_verb_is_help(cli: Any) -> None:
    assert cli("evaluate").err.startswith("Usage: onedpiece evaluate [OPTIONS] COMMAND [ARGS]...\n\n")


@pytest.mark.parametrize("verb", VERBS[:-1])
def test_every_verb_has_help(cli: Any, verb: str) -> None:
    result = cli(verb, "--help")
    assert result.out.startswith(f"Usage: onedpiece {verb}".encode())
    assert result.status == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["encod"], "No such command 'encod'"),
        (["--colour"], "No such option: --colour"),
        (["encode"], "Missing argument 'IN'"),
        (["export", "x", "--head", "classify", "--model", "m"], "Invalid value: --head and --model both say"),
    ],
)
def test_usage_errors_are_one_line(cli: Any, words: list[str], message: str) -> None:
    result = cli(*words)
    assert (result.status, result.out) == (2, b"")
    assert result.err.startswith(f"onedpiece: {message}")
    assert result.err.count("\n") == 1


def _raise(error: BaseException) -> Any:
    def instead(*_: object, **__: object) -> None:
        raise error

    return instead


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, ""),
        (ValueError("no such thing\nat all"), 2, "onedpiece: no such thing at all\n"),
        (
            FileNotFoundError(2, "No such file or directory", "x"),
            2,
            "onedpiece: x: No such file or directory\n",
        ),
        (RuntimeError("the hub is away"), 1, "onedpiece: the hub is away\n"),
        (
            KeyError("bug"),
            1,
            "onedpiece: unexpected KeyError: 'bug' (set ONEDPIECE_DEBUG=1 for the traceback)\n",
        ),
    ],
)
def test_whatever_happens_is_a_status_and_a_line(
    cli: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, line: str
) -> None:
    monkeypatch.setattr("onedpiece.weights.names", _raise(error))
    assert cli("models") == (status, b"", line)


def test_debug_shows_the_traceback(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDPIECE_DEBUG", "1")
    monkeypatch.setattr("onedpiece.weights.names", _raise(KeyError("bug")))
    with pytest.raises(KeyError):
        cli("models")


def test_interrupted_between_two_files_leaves_whole_files(
    cli: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onedpiece.metrics.pixel.image_psnr", _raise(KeyboardInterrupt()))
    result = cli("encode", photos, "--tokens", 4, terminals="err")
    assert result.status == 130
    assert "Traceback" not in result.err
    for path in photos.glob("*.odp"):
        assert len(Code.from_bytes(path.read_bytes())) == 4
    assert not list(photos.glob(".*"))


def test_models_lists_names(cli: Any) -> None:
    lines = cli("models").out.decode().splitlines()
    assert lines[0].startswith("ti-256 ")
    assert any(line.startswith("turing-motors/One-D-Piece-S-256 ") for line in lines)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """An .odp file."""
    path = tmp_path / "a.odp"
    path.write_bytes(Code(np.arange(5), 4096, b"abcd").to_bytes())
    return path


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["info"], ["truncate", "--tokens=2", "-o-"]])
def test_a_closed_pipe_is_no_drama(
    code: Path, words: list[str], unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, *words, str(code)], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line(
    code: Path, unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*COMMAND, "info", str(code)], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"onedpiece: standard output: No space left on device\n")


def test_names_that_are_no_text_cost_an_escape(code: Path) -> None:
    odd = os.fsencode(code.parent) + b"/\xff.odp"
    Path(os.fsdecode(odd)).write_bytes(code.read_bytes())
    done = subprocess.run([*map(os.fsencode, COMMAND), b"info", odd], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\udcff.odp: 5 tokens" in done.stdout


@pytest.mark.parametrize(
    ("verb", "triton", "frozen"),
    [("info", False, True), ("info", True, False), ("train", False, False), (None, False, False)],
)
def test_only_a_short_verb_leaves_its_memory_to_the_system(
    verb: str | None, triton: bool, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    if triton:
        monkeypatch.setitem(sys.modules, "triton", sys)
    monkeypatch.setattr(sys, "argv", ["onedpiece", *([verb] if verb else [])])
    monkeypatch.setattr(main_module, "main", lambda: 2)
    before = gc.get_freeze_count()
    try:
        assert main_module.run() == 2
        assert (gc.get_freeze_count() > before) == frozen
    finally:
        gc.unfreeze()


def test_short_verbs_are_verbs() -> None:
    names = {command.callback.__name__ for command in main_module.build_app().registered_commands}
    assert set(main_module.SHORT_VERBS) < names
