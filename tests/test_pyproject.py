"""pyproject.toml says what the code uses: every import is declared, nothing else is, and the floors hold."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from packaging.requirements import Requirement
from packaging.version import Version

import onedpiece

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
OURS = {"onedpiece", "tools", "tests"}

DISTRIBUTIONS = {
    "PIL": "pillow",
    "ai_edge_litert": "ai-edge-litert",
    "blurhash": "blurhash-python",
    "huggingface_hub": "huggingface-hub",
    "pillow_jxl": "pillow-jxl-plugin",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "vector_quantize_pytorch": "vector-quantize-pytorch",
    "yaml": "pyyaml",
}
"""Distributions by the name that is imported, where the two differ."""

INDIRECT = {
    "jsonargparse": "LightningCLI imports it",
    "pillow-jxl-plugin": "evaluation/formats.py imports it by a name in a table, for Pillow to know .jxl",
    "onnx": "torch.onnx.export writes with it",
    "onnxscript": "torch.onnx.export translates with it",
    "pytorch-lightning": "lightning depends on it; declared to shut out its malicious releases",
    "pycocotools": "torchmetrics' detection metrics import it",
    "tensorboard": "Lightning's logger imports it",
    "pytest-cov": "a plugin",
    "pytest-xdist": "a plugin",
    "ruff": "a command",
    "mypy": "a command",
    "types-pyyaml": "stubs",
    "scipy-stubs": "stubs",
}
"""What is declared although no file of ours imports it, and why."""

BROUGHT = {
    "aiohttp": "fsspec's extra for http depends on it",
    "fastapi": "gradio is one of its apps",
    "pandas": "ray's extra for data and datasets depend on it",
    "packaging": "pytest and torchmetrics depend on it",
    "uvicorn": "gradio's server",
}
"""What is imported although it is not declared, and which declared distribution brings it."""

BEHIND_AN_EXTRA = {"onedpiece/retokenize/vlm": "transformers"}
"""Folders whose files subclass what an extra brings; their `__init__` imports those in functions alone."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def imports(path: Path) -> frozenset[str]:
    """Return the top-level name of everything a file imports, by statement, import_module or importorskip."""
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in LOADERS:
            yield from (
                str(name.value).split(".")[0] for name in node.args[:1] if isinstance(name, ast.Constant)
            )


LOADERS = {"import_module", "importorskip", "find_spec", "__import__"}


def third_party(*folders: str) -> set[str]:
    """Return the distributions that the folders' files import."""
    siblings = {path.stem for path in (ROOT / "tests").rglob("*.py")}
    found = {name for folder in folders for path in (ROOT / folder).rglob("*.py") for name in imports(path)}
    found -= OURS | set(sys.stdlib_module_names) | siblings
    return {normal(DISTRIBUTIONS.get(name, name)) for name in found}


def names(lines: Iterable[str]) -> set[str]:
    """Return the distributions of a list of requirements; a list that names our own extras holds theirs."""
    found: set[str] = set()
    for requirement in map(Requirement, lines):
        if requirement.name == PROJECT["name"]:
            found |= names(line for extra in requirement.extras for line in EXTRAS[extra])
        else:
            found.add(normal(requirement.name))
    return found


CORE = names(PROJECT["dependencies"])
ALL = CORE | {name for lines in EXTRAS.values() for name in names(lines)}


def floor(name: str) -> Version:
    lines = [*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]
    (found,) = {
        str(requirement.specifier)
        for requirement in map(Requirement, lines)
        if normal(requirement.name) == name
    }
    return min(Version(part[2:]) for part in found.split(",") if part.startswith((">=", "~=")))


def test_everything_imported_is_declared() -> None:
    assert third_party("onedpiece") - ALL - set(BROUGHT) == set()
    assert third_party("tools", "tests") - ALL - set(BROUGHT) == set()


def test_nothing_is_declared_unused() -> None:
    used = third_party("onedpiece", "tools", "tests")
    assert ALL - used - set(INDIRECT) == set()
    assert set(INDIRECT) <= ALL, "an exception outlived its dependency"


def test_a_plain_install_imports_what_it_has() -> None:
    """What is imported at the top of a module is there after `pip install onedpiece`, without any extra."""
    top = {
        name
        for path in (ROOT / "onedpiece").rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in _names_of(node)
        if path.name == "__init__.py" or name != BEHIND_AN_EXTRA.get(str(path.relative_to(ROOT).parent))
    }
    found = {normal(DISTRIBUTIONS.get(name, name)) for name in top - OURS - set(sys.stdlib_module_names)}
    assert found - CORE == set()


def _names_of(node: ast.Import | ast.ImportFrom) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {node.module.split(".")[0]} if node.module and not node.level else set()


def test_no_extra_is_empty_and_none_repeats_another() -> None:
    assert [extra for extra, lines in EXTRAS.items() if not lines] == []
    for extra in ("test", "dev"):
        lines = [Requirement(line) for line in EXTRAS[extra]]
        plain = {normal(line.name) for line in lines if line.name != PROJECT["name"]}
        brought = names(str(line) for line in lines if line.name == PROJECT["name"])
        assert plain & (brought | CORE) == set(), extra


def test_every_requirement_has_a_floor() -> None:
    stubs = {"types-pyyaml", "scipy-stubs"}
    assert [name for name in sorted(ALL - stubs) if not floor(name)] == []


@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
def test_malicious_releases_are_shut_out(name: str) -> None:
    (line,) = [each for each in map(Requirement, PROJECT["dependencies"]) if each.name == name]
    assert [version for version in ("2.6.1", "2.6.2", "2.6.3", "2.6.4") if version in line.specifier] == [
        "2.6.1",
        "2.6.4",
    ]


def test_torch_and_torchvision_are_a_pair() -> None:
    """The n-th release of one belongs to the n-th of the other: torch 2.9 and torchvision 0.24."""
    assert floor("torch") >= Version("2.9"), "torch.optim.Muon is from 2.9"
    assert hasattr(torch.optim, "Muon")
    assert floor("torchvision").minor - floor("torch").minor == 24 - 9


def test_what_is_installed_is_what_was_asked_for() -> None:
    assert floor("torch") <= Version(torch.__version__)
    assert floor("torchvision") <= Version(torchvision.__version__)
    assert Version("11.3") <= floor("pillow") < Version("13"), "AVIF from 11.3; gradio caps it below 13"


def test_version_is_said_once_and_the_same() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    (own,) = [package for package in lock["package"] if package["name"] == PROJECT["name"]]
    assert own["version"] == PROJECT["version"] == onedpiece.__version__
