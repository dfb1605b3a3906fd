"""The layout of the package: who may import whom, who may print, and what a process does not have to load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pygeoapi_prefect

PACKAGE = "pygeoapi_prefect"
FOLDER = Path(str(pygeoapi_prefect.__file__)).parent
MODULES = {
    ".".join([PACKAGE, *path.relative_to(FOLDER).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in sorted(FOLDER.rglob("*.py"))
}

# one line each, from the bottom to the top; a module imports only from lines above its own
LAYOUT = [
    "exceptions",
    "masking",
    "schemas",
    "validation",
    "connection",
    "references",
    "settings",
    "identity",
    "telemetry",
    "jobs",
    "prefect_api",
    "results",
    "handlers",
    "process",
    "deploy",
    "runner",
    "web_process",
    "ogcapi",
    "manager",
    "cli",
    "examples",
]


def line_of(module: str) -> str:
    return module.split(".")[1]


def imports_of(module: str) -> Iterator[str]:
    """The modules of this package that *module* imports, wherever in the file."""
    tree = ast.parse(MODULES[module].read_text())
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name == PACKAGE or name.startswith(f"{PACKAGE}."):
                # a name in a module is that module's
                yield name if name in MODULES else name.rpartition(".")[0]


def test_the_layout_covers_every_module() -> None:
    """A new module needs a line in the layout."""
    assert {line_of(module) for module in MODULES if module != PACKAGE} <= set(LAYOUT)


@pytest.mark.parametrize("module", [module for module in MODULES if module != PACKAGE])
def test_a_module_imports_only_from_above(module: str) -> None:
    """Nothing imports from its own height or from below, but the modules of one folder from each other."""
    own = line_of(module)
    allowed = {own, *LAYOUT[: LAYOUT.index(own)]}
    imported = set(imports_of(module))
    assert PACKAGE not in imported, "the package itself is the face for users"
    assert {name for name in imported if line_of(name) not in allowed} == set()


def test_no_module_needs_itself() -> None:
    """Within a folder, too, imports never go round."""
    graph = {module: set(imports_of(module)) - {module} for module in MODULES if module != PACKAGE}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", [m for m in MODULES if m.split(".")[1:2] not in (["cli"], ["examples"])])
def test_only_commands_print(module: str) -> None:
    """Everything else logs."""
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(MODULES[module].read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert calls == []


@pytest.mark.parametrize(
    ("module", "unloaded"),
    [
        (f"{PACKAGE}.manager", {"prefect", "alembic"}),
        (f"{PACKAGE}.runner.__main__", {"prefect"}),
        (PACKAGE, {"prefect", "alembic", "sqlalchemy", "pygeoapi"}),
    ],
)
def test_a_process_loads_only_what_it_needs(module: str, unloaded: set[str]) -> None:
    """A web process and a runner do without Prefect's second of imports, the package alone without everything."""
    script = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert PACKAGE in loaded
    assert unloaded & set(loaded) == set()
