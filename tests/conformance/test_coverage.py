"""Which requirements of the standard the tests of this folder state."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conformance.requirements import NAMES


def functions() -> Iterator[tuple[str, Any]]:
    """Every test of the folder: module and function."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"conformance.{path.stem}")
        for name, function in vars(module).items():
            if name.startswith("test_") and getattr(function, "__module__", None) == module.__name__:
                yield path.stem, function


def test_every_requirement_has_a_test():
    """No requirement of a declared conformance class is left out."""
    stated = {
        name
        for _, function in functions()
        for mark in getattr(function, "pytestmark", [])
        if mark.name == "requirement"
        for name in mark.args
    }
    assert NAMES - stated == set()
