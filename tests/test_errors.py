import inspect
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import onedpiece
from onedpiece import errors
from onedpiece.errors import OnedpieceError, TargetOutOfReachError

ALL = [each for _, each in inspect.getmembers(errors, inspect.isclass)]
PACKAGE = Path(onedpiece.__file__).parent


def test_the_base_is_at_the_top() -> None:
    assert onedpiece.OnedpieceError is OnedpieceError


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_all_have_the_one_base_and_a_description(error: type[Exception]) -> None:
    assert issubclass(error, OnedpieceError)
    assert error.__doc__


def test_what_was_a_value_error_still_is() -> None:
    no_value_errors = {
        "OnedpieceError",
        "TargetOutOfReachError",
        "MissingWeightsError",
        "MissingFormatError",
        "MissingExtraError",
        "TrainingError",
        "BulkError",
    }
    assert {each.__name__ for each in ALL if not issubclass(each, ValueError)} == no_value_errors


def test_no_other_module_defines_a_public_exception() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if "cli" not in path.parts and path.stem != "errors"]
    names = [".".join(("onedpiece", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in modules]
    for name in names:
        if name.endswith(("__main__", "pillow_plugin")):
            continue
        for _, each in inspect.getmembers(import_module(name), inspect.isclass):
            own = each.__module__ == name and not each.__name__.startswith("_")
            assert not (own and issubclass(each, Exception)), f"{name}.{each.__name__}"


def test_target_out_of_reach_survives_pickling() -> None:
    found = pickle.loads(pickle.dumps(TargetOutOfReachError("too high", 30.5, 7)))
    assert (found.message, found.score, found.tokens) == ("too high", 30.5, 7)


def test_they_need_no_torch() -> None:
    code = "import sys, onedpiece.errors, onedpiece._files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
