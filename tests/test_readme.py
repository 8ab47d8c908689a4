"""The README keeps its promises: its blocks run, and its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def test_it_has_two_commands_and_no_long_line():
    assert len(blocks("bash")) == 2
    assert [line for line in README.splitlines() if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("file", [ROOT / "README.md", *sorted(ROOT.glob("*/**/README.md"))], ids=str)
def test_local_links_and_pictures_exist(file: Path):
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8"))
    assert [
        target for target in targets if "://" not in target and not (file.parent / target).is_file()
    ] == []


def test_no_table_was_left_empty():
    for path, names in (
        (ROOT / "README.md", {"headline"}),
        (
            ROOT / "onedpiece" / "evaluation" / "README.md",
            {"compare", "downstream", "speed", "commands", "release", "precision", "targets", "tiles"},
        ),
        (ROOT / "onedpiece" / "heads" / "README.md", {"rate_curves", "embeddings", "start"}),
        (ROOT / "onedpiece" / "heads" / "bundled" / "README.md", {"scores"}),
        (ROOT / "onedpiece" / "web" / "README.md", {"placeholders"}),
        (ROOT / "onedpiece" / "bulk" / "README.md", {"bench"}),
        (ROOT / "onedpiece" / "weights" / "README.md", {"onnx"}),
        (
            ROOT / "onedpiece" / "retokenize" / "README.md",
            {"vlm", "study", "bench", "compiled", "predict", "front-end"},
        ),
    ):
        text = path.read_text(encoding="utf-8")
        parts = re.findall(r"<!-- begin: ([\w-]+) -->\n(.*?)<!-- end: \1 -->", text, flags=re.DOTALL)
        assert {name for name, _ in parts} == names
        assert [name for name, table in parts if table.count("\n|") < 3] == []


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

    install, *steps = [shlex.split(step) for step in blocks("bash")[0].splitlines()]
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


def test_every_verb_exists():
    from onedpiece.cli.main import build_app

    app = build_app()
    verbs = set(re.findall(r"^onedpiece (\w+)", "".join(blocks("console")), flags=re.MULTILINE))
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    assert verbs <= known
    assert len(verbs) == 6
