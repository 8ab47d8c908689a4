"""Markdown as the maintainers' tools write it: tables, and the parts of a file that a tool fills."""

from collections.abc import Iterable, Sequence
from pathlib import Path


def rows(lines: Iterable[Sequence[str]]) -> str:
    """Return lines of cells as the lines of a Markdown table; the second line holds the alignment."""
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def table(header: Sequence[str], lines: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table whose first `left` columns are text and whose others are numbers."""
    alignment = ["---"] * left + ["---:"] * (len(header) - left)
    return rows([header, alignment, *lines])


def replace_part(path: Path, part: str, text: str) -> None:
    """Replace what stands between `<!-- begin: PART -->` and `<!-- end: PART -->` in a file.

    Raises:
        ValueError: the file has no such part.
    """
    old = path.read_text(encoding="utf-8")
    begin, end = f"<!-- begin: {part} -->", f"<!-- end: {part} -->"
    if begin not in old or end not in old:
        raise ValueError(f"{path.name} has no part {part!r}: add {begin} and {end}")
    head, rest = old.split(begin, 1)
    path.write_text(f"{head}{begin}\n{text.strip()}\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")
