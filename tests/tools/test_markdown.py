"""What the tools write into the README."""

from pathlib import Path

import pytest

from tools.markdown import replace_part, table


def test_a_table_aligns_text_left_and_numbers_right() -> None:
    assert table(["", "what", "dB"], [["a", "b", "1.5"]], left=2).splitlines() == [
        "|  | what | dB |",
        "| --- | --- | ---: |",
        "| a | b | 1.5 |",
    ]


def test_a_part_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "x.md"
    file.write_text(
        "# T\n<!-- begin: a -->\nold\n<!-- end: a -->\n<!-- begin: b -->\nkept\n<!-- end: b -->\n"
    )
    replace_part(file, "a", "\nnew\n\n")
    assert file.read_text() == (
        "# T\n<!-- begin: a -->\nnew\n<!-- end: a -->\n<!-- begin: b -->\nkept\n<!-- end: b -->\n"
    )
    with pytest.raises(ValueError, match=r"x\.md has no part 'c': add <!-- begin: c --> and <!-- end: c -->"):
        replace_part(file, "c", "")
