"""Imports point down DESIGN.md's table only, and there is no circle; those inside functions count."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import onedpiece

ROOT = Path(onedpiece.__file__).parent

# DESIGN.md's table, highest first: a folder may import those of the levels below its own.
LEVELS = (
    {"cli"},
    {"evaluation", "training", "bulk", "web"},
    {"heads", "pillow_plugin"},
    {"weights"},
    {"codec"},
    {"rate"},  # which asks for what `metrics.descriptors` lists; metrics know of no rates
    {"metrics"},
    {"tokenizer"},
    {"retokenize"},
    {"codes"},  # tokens by the row; which `onedpiece.codes` is for users as well
    {"bitstream"},
    {"errors", "_files", "_providers", "_progress"},
)
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}

# `onedpiece` itself and `python -m onedpiece` may know everything; only the command line knows them.
ROOTS = {"", "__main__"}


def part_of(module: str) -> str:
    """The folder, or the module of the top level, that `onedpiece.x.y` belongs to: x."""
    return module.split(".")[1] if "." in module else ""


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(module: str, *, typing_too: bool) -> Iterator[str]:
    """What `module` imports, in functions as well, and under TYPE_CHECKING if wanted."""
    tree = ast.parse(modules()[module].read_text())
    if not typing_too:
        tree = _WithoutTypeChecking().visit(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            name = node.module or ""
            for alias in node.names:
                inner = f"{name}.{alias.name}"
                yield inner if inner in modules() else name
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            yield from (str(each.value) for each in node.args if isinstance(each, ast.Constant))


class _WithoutTypeChecking(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)


@cache
def arrows(*, typing_too: bool) -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports."""
    return {
        module: {each for each in imports_of(module, typing_too=typing_too) if each in modules()} - {module}
        for module in modules()
    }


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A path that ends where it began; empty where there is none."""
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done:
            return []
        for other in sorted(graph.get(module, ())):
            if found := visit(other, [*trail, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := visit(module, []))), [])


def upward(graph: dict[str, set[str]]) -> list[str]:
    """The arrows between folders that do not point down the table."""
    wrong = []
    for module, others in sorted(graph.items()):
        here = part_of(module)
        for other in sorted(others):
            there = part_of(other)
            if here in ROOTS or here == there or (here == "cli" and there in ROOTS):
                continue
            if there in ROOTS or LEVEL[there] <= LEVEL[here]:
                wrong.append(f"{module} -> {other}")
    return wrong


def test_every_folder_has_its_level() -> None:
    parts = {part_of(module) for module in modules()}
    assert parts - ROOTS <= LEVEL.keys()


def test_no_import_points_up() -> None:
    assert upward(arrows(typing_too=True)) == []


def test_no_circle() -> None:
    graph = arrows(typing_too=True)
    # What a lazy package names for type checkers loads no earlier than it is asked for.
    for package in ("onedpiece", "onedpiece.codec"):
        graph[package] = arrows(typing_too=False)[package]
    assert circle(graph) == []


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}}, ["a", "b", "c", "a"]),
        ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, []),
    ],
)
def test_circles_are_found(graph: dict[str, set[str]], found: list[str]) -> None:
    assert circle(graph) == found


def test_arrows_up_are_found() -> None:
    graph = {
        "onedpiece.bitstream.code": {"onedpiece.weights.checkpoint"},
        "onedpiece.cli.main": {"onedpiece.errors"},
    }
    assert upward(graph) == ["onedpiece.bitstream.code -> onedpiece.weights.checkpoint"]


def test_files_of_bytes_need_no_torch() -> None:
    for module in modules():
        if part_of(module) in {"bitstream", "errors", "_files", "_providers", "rate"}:
            foreign = {name.split(".")[0] for name in imports_of(module, typing_too=True)}
            assert not foreign & {"torch", "lightning"}, module
