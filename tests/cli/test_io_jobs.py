import os
from pathlib import Path

import pytest

from onedpiece.cli.io import CODES, Job, expand, plan
from onedpiece.codec.find import ENDINGS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with d/ in it: pictures, others, a hidden one and one a level down."""
    for name in (
        "d/b.PNG",
        "d/a.jpg",
        "d/x.txt",
        "d/.hidden.png",
        "d/deeper/c.png",
        "e.png",
        "d.x/b.webp",
        "d.y/b.PNG",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_is_its_own_visible_pictures(folder: Path) -> None:
    assert expand(["d", "e.png", "nowhere.png"], ENDINGS) == ["d/a.jpg", "d/b.PNG", "e.png", "nowhere.png"]


@pytest.mark.parametrize(
    ("inputs", "out", "jobs"),
    [
        (["e.png"], None, [("e.png", "e.odp")]),
        (["e.png"], "x", [("e.png", "x")]),
        (["e.png"], "-", [("e.png", "-")]),
        (["-"], None, [("-", "-")]),
        (["-"], "x.odp", [("-", "x.odp")]),
        (["e.png"], "d", [("e.png", "d/e.odp")]),
        (["d"], None, [("d/a.jpg", "d/a.odp"), ("d/b.PNG", "d/b.odp")]),
        (["d"], "new/er", [("d/a.jpg", "new/er/a.odp"), ("d/b.PNG", "new/er/b.odp")]),
        (["d/a.jpg", "e.png"], "d", [("d/a.jpg", "d/a.odp"), ("e.png", "d/e.odp")]),
        (["d/b.PNG", "d.x/b.webp"], "d", [("d/b.PNG", "d/b.PNG.odp"), ("d.x/b.webp", "d/b.webp.odp")]),
        (["d/b.PNG", "d/../d/b.PNG"], "d", [("d/../d/b.PNG", "d/b.odp")]),
        (["e.png"], "fresh/", [("e.png", "fresh/e.odp")]),
    ],
)
def test_every_input_has_its_output(
    folder: Path, inputs: list[str], out: str | None, jobs: list[tuple[str, str]]
) -> None:
    assert plan(inputs, out, ".odp", ENDINGS) == [Job(*job) for job in jobs]
    if out == "new/er":
        assert Path(out).is_dir()


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [
        (["-", "e.png"], None, "one of several inputs"),
        (["d"], "-", "cannot go to standard output"),
        (["d"], "e.png", "e.png is a file; many outputs need a folder"),
        (["-"], "d", "standard input has no name"),
        (["d/b.PNG", "d.y/b.PNG"], "d", "d/b.PNG and d.y/b.PNG would both be written to d/b.PNG.odp"),
        (["e.png"], "e.png", "e.png is an input"),
        (["e.png"], "d/../e.png", "is an input"),
        (["d/deeper"], "d/deeper/c.png/", "is a file"),
        (["e.png", "d/b.PNG"], "both.odp", "both.odp is named as one file, and there are several inputs"),
        (["d"], "all.jpg", "name a folder, as all.jpg/"),
    ],
)
def test_what_makes_no_sense(folder: Path, inputs: list[str], out: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(inputs, out, ".odp", ENDINGS)


def test_a_folder_without_any(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"d holds no file that ends in \.odp"):
        plan(["d"], None, ".png", CODES)


def test_existing_files_are_kept_where_they_were_not_named(folder: Path) -> None:
    (folder / "e.odp").touch()
    with pytest.raises(ValueError, match=r"e\.png is already there"):
        plan(["e.odp"], None, ".png", CODES, keep_existing=True)
    assert plan(["e.odp"], "e.png", ".png", CODES, keep_existing=True) == [("e.odp", "e.png")]


@pytest.mark.parametrize("out", [".", "./", "d/.."])
def test_a_folder_that_is_the_inputs_own_keeps_what_is_in_it(folder: Path, out: str) -> None:
    (folder / "e.odp").touch()
    with pytest.raises(ValueError, match=r"e\.png is already there, perhaps the original"):
        plan(["."], out, ".png", CODES, keep_existing=True)
    assert plan(["."], "elsewhere", ".png", CODES, keep_existing=True)
    (folder / "elsewhere" / "e.png").touch()  # no original, but what this made the last time
    assert plan(["e.odp"], "elsewhere", ".png", CODES, keep_existing=True) == [("e.odp", "elsewhere/e.png")]
    assert plan(["."], out, ".odp", frozenset({".odp"}) | ENDINGS, skip_existing=True) is not None


def test_an_output_as_old_as_its_input_is_done(folder: Path) -> None:
    (folder / "e.odp").touch()
    for age, jobs in ((5, []), (4, [("e.png", "e.odp")])):
        os.utime("e.png", (5, 5))
        os.utime("e.odp", (age, age))  # clocks of some disks tick every two seconds
        assert plan(["e.png"], None, ".odp", ENDINGS, skip_existing=True) == jobs


@pytest.mark.parametrize(("inputs", "out"), [([""], None), (["e.png", ""], "d"), (["e.png"], "")])
def test_an_empty_name_is_not_the_current_folder(folder: Path, inputs: list[str], out: str | None) -> None:
    with pytest.raises(ValueError, match="name is empty"):
        plan(inputs, out, ".odp", ENDINGS)


def test_a_picture_is_not_replaced_by_a_code(folder: Path) -> None:
    for out in ("d/a.jpg", "new.PNG"):
        with pytest.raises(ValueError, match=r"(d/a\.jpg|new\.PNG) is named as a picture"):
            plan(["e.png"], out, ".odp", ENDINGS)
    with pytest.raises(ValueError, match="name another output with --overlay"):
        plan(["e.png"], "e.png", ".png", ENDINGS, option="--overlay")


def test_the_option_that_was_used_is_named(folder: Path) -> None:
    for inputs, out in ((["d"], "-"), (["-"], "d")):
        with pytest.raises(ValueError, match=r"name (a folder|the file) with --overlay"):
            plan(inputs, out, ".png", ENDINGS, option="--overlay")


def test_links_in_a_circle_are_files_like_others(folder: Path) -> None:
    (folder / "round.png").symlink_to("about.png")
    (folder / "about.png").symlink_to("round.png")
    jobs = plan(["e.png", "round.png"], "d", ".odp", ENDINGS)  # what reads it says what is wrong
    assert jobs == [("e.png", "d/e.odp"), ("round.png", "d/round.odp")]
    assert plan(["round.png", "e.png"], None, ".odp", ENDINGS)[0] == ("round.png", "round.odp")


def test_what_is_left_out_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "d" / "broken.png").symlink_to("nowhere")
    (folder / "d" / "logo.svg").touch()
    assert expand(["d"], ENDINGS) == ["d/a.jpg", "d/b.PNG"]
    assert capsys.readouterr().err.splitlines() == [
        "onedpiece: d/broken.png: left out: a broken link or no file",
        "onedpiece: d/logo.svg: left out: a kind of picture that is not read",
    ]
