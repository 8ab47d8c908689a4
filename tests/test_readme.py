"""The README keeps its promises: its blocks run, its links lead somewhere, and it stays short."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def test_it_is_short_and_has_two_commands():
    assert len(README.splitlines()) < 200
    assert len(blocks("bash")) == 2
    assert all(len(block.strip().splitlines()) == 1 for block in blocks("bash"))


def test_local_links_and_pictures_exist():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    local = [target for target in targets if "://" not in target]
    assert local
    assert [target for target in local if not (ROOT / target).is_file()] == []


def test_no_table_was_left_empty():
    parts = re.findall(r"<!-- begin: (\w+) -->\n(.*?)<!-- end: \1 -->", README, flags=re.DOTALL)
    assert {name for name, _ in parts} == {"quality", "compare", "downstream", "speed", "retokenize", "heads"}
    assert [name for name, text in parts if text.count("\n|") < 3] == []


def test_the_python_block_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(ROOT)
    (block,) = blocks("python")
    exec(compile(block, "README.md", "exec"), {})
    tokens, size, *_ = capsys.readouterr().out.split()
    assert tokens == "64"
    assert int(size) <= 103  # 7 of header and 64·12/8; entropy coding may save some


@pytest.mark.slow
def test_command_one_runs_after_its_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from onedpiece.cli.main import main

    install, *steps = [shlex.split(step) for step in blocks("bash")[0].split("&&")]
    assert install == ["pip", "install", "."]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    for program, *words in steps:
        assert program == "onedpiece"
        assert main(words) == 0
    printed = capsys.readouterr().out
    assert "bytes" in printed
    assert "PSNR" in printed
    for name in ("chelsea.odp", "chelsea_64.png", "chelsea_compare/side_by_side.png"):
        assert (tmp_path / name).is_file(), name


def test_every_verb_of_the_table_exists():
    from onedpiece.cli.app import app

    verbs = set(re.findall(r"^\| `onedpiece (\w+)", README, flags=re.MULTILINE))
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    assert verbs <= known
    assert verbs
