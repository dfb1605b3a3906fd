"""The requirements whose answer a front may change, under Starlette and Django; the other tests run under gunicorn."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from conformance import test_discovery, test_ets, test_execution, test_jobs, test_results
from conformance.conftest import make_server
from conformance.test_jobs import receiver  # noqa: F401  a fixture
from serving import Server, running


@pytest.fixture(scope="module", params=["starlette", "django"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same server as in the folder, under another front."""
    with running(make_server(tmp_path_factory.mktemp(request.param), request.param)) as server:
        yield server


def marked() -> dict[str, Any]:
    """The tests that are marked with ``every_front``, and not for some values only."""
    found = {}
    for module in (test_discovery, test_execution, test_results, test_jobs, test_ets):
        for name, function in vars(module).items():
            marks = {mark.name for mark in getattr(function, "pytestmark", [])}
            if "every_front" in marks and getattr(function, "__module__", None) == module.__name__:
                found[name] = function
    return found


globals().update(marked())


def test_tests_are_taken_over():
    """Renaming the mark would leave nothing here."""
    assert len(marked()) > 10
    assert all("server" in inspect.signature(function).parameters for function in marked().values())
