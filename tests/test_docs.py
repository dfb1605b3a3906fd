"""The documentation says what the code does: every setting, command and module, and nothing that does not work."""

import datetime
import json
import os
import pkgutil
import re
import subprocess
import sys
import typing
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pydantic
import pystac
import pytest
import yaml
from prefect import Flow
from pydantic.fields import FieldInfo

from ogc_schema import validate
from pygeoapi_prefect import exceptions
from pygeoapi_prefect.cli import prefect
from pygeoapi_prefect.exceptions import InvalidInputsError
from pygeoapi_prefect.process import types
from pygeoapi_prefect.process.base import BasePrefectProcessor
from pygeoapi_prefect.process.conventions import TypedConvention, convention_of
from pygeoapi_prefect.process.description import FunctionSignature, describe
from pygeoapi_prefect.process.json_form import JsonForm
from pygeoapi_prefect.process.output_kinds import kind_of
from pygeoapi_prefect.settings import (
    DEFAULT_CONNECTION,
    DEFAULT_OUTPUT_DIR,
    AuthSettings,
    DeploymentSettings,
    ManagerSettings,
    MetricsSettings,
    ProcessSettings,
)

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PACKAGE = ROOT / "src" / "pygeoapi_prefect"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *DOCS.rglob("*.md")])

# what the configuration page says where the default is not one plain value
DESCRIBED_DEFAULTS = {
    "connection": DEFAULT_CONNECTION,
    "output_dir": DEFAULT_OUTPUT_DIR,
    "data_dir": "derived",
    "max_running": "CPUs, at least 2",
    "metadata": "{}",
}

MINIMAL = {"connection": "jobs.db", "output_dir": "results"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(language: str) -> list[Any]:
    """Each fenced block of *language*, dedented, as a test parameter named after page and line."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(rf"^( *)```{language}\n(.*?)^\1```$", text, re.M | re.S):
            indent, code = match.groups()
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(re.sub(rf"^{indent}", "", code, flags=re.M), id=f"{name_of(page)}:{line}"))
    return found


def sections(page: Path) -> dict[str, str]:
    """The text under each second-level heading."""
    parts = re.split(r"^## (.+)$", page.read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the tables in *text*, without heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = {index for index, cells in enumerate(table) if set("".join(cells)) == {"-"}}
    return [cells for index, cells in enumerate(table) if index not in rules and index + 1 not in rules]


# ---------------------------------------------------------------- configuration


def documented_settings(section: str) -> dict[str, str]:
    """Default by key."""
    table = rows(sections(DOCS / "reference" / "configuration.md")[section])
    return {key.strip("`"): default.strip("`") for key, _, default, meaning in table if meaning}


def described_default(name: str, field: FieldInfo) -> str:
    if field.is_required() or field.default_factory is not None:
        return DESCRIBED_DEFAULTS[name]
    return field.default if isinstance(field.default, str) else yaml.safe_dump(field.default).partition("\n")[0]


def test_every_key_of_the_manager_is_documented_with_its_default():
    """``server.manager``: the page's keys and defaults are those of ManagerSettings, and pygeoapi's ``name``."""
    fields = {name: field for name, field in ManagerSettings.model_fields.items() if not field.exclude}
    expected = {"name": "required"} | {name: described_default(name, field) for name, field in fields.items()}
    assert documented_settings("server.manager") == expected


def test_every_key_of_auth_is_documented_with_its_default():
    """``server.manager.auth``: the page's keys and defaults are those of AuthSettings."""
    defaults = {"issuer": "required", "audience": "required", "algorithms": "all asymmetric ones"}
    expected = {
        name: defaults.get(name) or described_default(name, field) for name, field in AuthSettings.model_fields.items()
    }
    assert documented_settings("server.manager.auth") == expected


def test_every_key_of_the_metrics_is_documented_with_its_default():
    """``server.manager.metrics``: the page's keys and defaults are those of MetricsSettings."""
    expected = {
        name: "required" if field.is_required() else described_default(name, field)
        for name, field in MetricsSettings.model_fields.items()
    }
    assert documented_settings("server.manager.metrics") == expected


def test_every_key_of_a_process_is_documented_with_its_default():
    """``processor.prefect``: the page's keys and defaults are those of ProcessSettings."""
    expected = {name: described_default(name, field) for name, field in ProcessSettings.model_fields.items()}
    assert documented_settings("resources.&lt;id&gt;.processor.prefect") == expected


def test_every_key_of_a_deployment_is_documented_with_its_default():
    """``processor.prefect.deployment``: the page's keys and defaults are those of DeploymentSettings."""
    defaults = {"name": "the process's id", "job_variables": "{}"}
    expected = {
        name: defaults.get(name) or described_default(name, field)
        for name, field in DeploymentSettings.model_fields.items()
    }
    assert documented_settings("processor.prefect.deployment") == expected


def test_max_running_has_the_default_that_is_described():
    """As many jobs as the host has CPUs, at least 2."""
    assert ManagerSettings.from_manager_def(MINIMAL).max_running == max(2, os.cpu_count() or 2)


@pytest.mark.parametrize(
    ("connection", "output_dir", "expected"),
    [
        ("/srv/jobs.db", "s3://bucket", "/srv/pygeoapi-prefect"),
        ("postgresql://user@host/database", "/srv/results", "/srv/results/.pygeoapi-prefect"),
    ],
)
def test_data_dir_has_the_default_that_is_described(connection, output_dir, expected):
    """The data folder stands beside a SQLite file, else in a local result store."""
    settings = ManagerSettings.from_manager_def({"connection": connection, "output_dir": output_dir})
    assert settings.data_dir == Path(expected)


# ---------------------------------------------------------------- command line


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for sub_name in command.list_commands(context):
            sub_command = command.get_command(context, sub_name)
            assert sub_command is not None
            yield from commands(sub_command, f"{name} {sub_name}")


def test_every_command_and_option_is_documented():
    """The page has one section for each command, and its table has exactly the command's options."""
    documented = {
        title: {cells[0].strip("`") for cells in rows(text)}
        for title, text in sections(DOCS / "reference" / "cli.md").items()
    }
    expected = {
        name: {
            option for parameter in command.params if isinstance(parameter, click.Option) for option in parameter.opts
        }
        for name, command in commands(prefect, "pygeoapi plugins prefect")
    }
    assert documented == expected


# ---------------------------------------------------------------- examples


@pytest.mark.parametrize("code", blocks("yaml"))
def test_yaml_examples_are_accepted(code):
    """Every configuration in the documentation is one that the manager takes."""
    configuration = yaml.safe_load(code)
    assert set(configuration) <= {"server", "resources"}
    manager = (configuration.get("server") or {}).get("manager", {"name": "pygeoapi_prefect.PrefectManager"})
    assert manager["name"] == "pygeoapi_prefect.PrefectManager"
    processes = configuration.get("resources") or {}
    settings = ManagerSettings.from_manager_def(MINIMAL | manager | {"processes": processes})
    assert set(settings.processes) == set(processes)


def test_the_shortest_configuration_needs_nothing_more():
    """The first example of README, home page, quickstart and reference is complete."""
    for page in ("README.md", "docs/index.md", "docs/quickstart.md", "docs/reference/configuration.md"):
        match = re.search(r"^( *)```yaml\n(.*?)^\1```$", (ROOT / page).read_text(), re.M | re.S)
        assert match is not None, page
        assert set(yaml.safe_load(match[2])["server"]["manager"]) == {"name", "connection", "output_dir"}, page


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(code):
    """Python in the documentation compiles, and its top level runs."""
    exec(compile(code, "<documentation>", "exec"), {"__name__": "documentation"})


# ---------------------------------------------------------------- flows

PUBLISH = DOCS / "how-to" / "publish-a-flow.md"
ANNOTATIONS = {
    name: value
    for module in (typing, datetime, uuid, pydantic, types)
    for name, value in vars(module).items()
    if not name.startswith("_")
} | {"Path": Path, "pystac": pystac}


def annotation_rows(section: str, columns: int) -> list[Any]:
    """The rows of a section's tables with so many *columns*, as test parameters."""
    found = [[cell.strip("`") for cell in cells] for cells in rows(sections(PUBLISH)[section]) if len(cells) == columns]
    return [pytest.param(*cells, id=cells[0]) for cells in found]


@pytest.mark.parametrize(("annotation", "example", "schema"), annotation_rows("Inputs", 3))
def test_inputs_have_the_schema_that_is_described(annotation, example, schema):
    """Each row of the tables of inputs: the annotation takes the example, and has that schema or format."""
    form = JsonForm(eval(annotation, ANNOTATIONS), "validation")
    form.from_json(example)
    if schema.startswith("{"):
        assert form.schema == json.loads(schema)
    else:
        assert schema in (form.schema.get("format"), form.schema.get("allOf", [{}])[0].get("format"))


@pytest.mark.parametrize(("annotation", "media_type"), annotation_rows("Outputs", 2))
def test_outputs_have_the_media_type_that_is_described(annotation, media_type):
    """Each row of the table of outputs; JSON is what a schema without a media type means."""
    schema = kind_of(eval(annotation, ANNOTATIONS)).schema
    assert schema.get("contentMediaType", "application/json") == media_type


def names_in(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "documentation"}
    exec(compile(code, "<documentation>", "exec"), names)
    return names


@pytest.mark.parametrize("code", blocks("python"))
def test_flows_in_the_documentation_are_processes(code):
    """Every flow has a description that satisfies OGC's schema, and every BasePrefectProcessor can be made."""
    names = names_in(code)
    for flow in [value for value in names.values() if isinstance(value, Flow)]:
        convention = convention_of(flow)
        if isinstance(convention, TypedConvention):
            validate(describe("documented", convention.signature), "process")
    for value in names.values():
        if isinstance(value, type) and issubclass(value, BasePrefectProcessor) and value is not BasePrefectProcessor:
            processor = value({"name": "documented"})
            validate({**processor.metadata, "jobControlOptions": ["sync-execute"]}, "process")


def test_names_in_the_reference_of_flows_exist():
    """Each import path, annotation and error of the page can be imported."""
    tables = sections(DOCS / "reference" / "flows.md")
    imports = re.search(r"\A.*?(?=^## )", (DOCS / "reference" / "flows.md").read_text(), re.M | re.S)
    assert imports is not None
    assert all(pkgutil.resolve_name(path.strip("`")) for path, _ in rows(imports[0]))
    named = {name for cells in rows(tables["types"]) for name in re.findall(r"`(\w+)`", cells[0])}
    public = {name for name, value in vars(types).items() if getattr(value, "__module__", "") == types.__name__}
    assert named == {name for name in public if not name.startswith("_")} - {"Position"}
    errors = [name.strip("`") for name, _ in rows(tables["exceptions"]) if name.startswith("`")]
    assert errors
    assert all(hasattr(exceptions, name) for name in errors)


def test_bad_inputs_are_answered_as_described():
    """The request of the page, to the flow of the page, has the answer of the page."""
    text = PUBLISH.read_text()
    first_flow = re.search(r"```python\n(.*?)^```$", text, re.M | re.S)
    request = re.search(r"```json\n(.*?)^```$", text, re.M | re.S)
    answer = re.search(r"```text\n(.*?)^```$", text, re.M | re.S)
    assert first_flow and request and answer
    signature = FunctionSignature(names_in(first_flow[1])["vegetation_index"].fn)
    with pytest.raises(InvalidInputsError) as caught:
        signature.arguments(json.loads(request[1])["inputs"])
    assert caught.value.client_message == answer[1].strip()


def test_the_described_flow_computes():
    """The page's flow takes the request of the page's curl command."""
    text = PUBLISH.read_text()
    first_flow = re.search(r"```python\n(.*?)^```$", text, re.M | re.S)
    request = re.search(r"-d '(.*?)'$", text, re.M)
    assert first_flow and request
    signature = FunctionSignature(names_in(first_flow[1])["vegetation_index"].fn)
    assert signature.arguments(json.loads(request[1])["inputs"]) == {"scene": "S2A-32UQD", "index": "savi"}
    assert set(signature.outputs) == {"result"}


# ---------------------------------------------------------------- architecture and glossary


def test_every_module_is_in_the_table_of_the_architecture():
    """The module table names exactly the modules and packages of this package."""
    modules = set()
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        modules.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    table = rows(sections(DOCS / "explanation" / "architecture.md")["Modules"])
    # packages without code of their own need no line
    optional = {"", "jobs.migrations.versions", "examples"}
    assert {cells[0].strip("`") for cells in table} | optional == modules | optional


def test_glossary_has_each_word_once_in_order():
    """Words are unique and sorted, and each has its meaning in one line."""
    table = rows((DOCS / "glossary.md").read_text())
    words = [word for word, _ in table]
    assert words == sorted(set(words), key=str.lower)
    assert all(meaning.endswith(".") for _, meaning in table)


# ---------------------------------------------------------------- pages


def anchors(page: Path) -> set[str]:
    """The ids that headings get, by the rules that GitHub and mkdocs share."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_internal_links_lead_somewhere(page):
    """Each relative link names a page that exists, and a heading that it has."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.is_file(), f"{target} in {name_of(page)}"
        assert not anchor or anchor in anchors(linked), f"{target} in {name_of(page)}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    environment: Mapping[str, str] = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_the_site_is_built_strictly(site):
    """mkdocs finds no broken link and no page that is not in the navigation."""
    assert {path.parent.relative_to(site) / path.name for path in site.rglob("index.html")} >= {
        Path("index.html"),
        Path("quickstart/index.html"),
        Path("glossary/index.html"),
    }


def test_the_site_loads_nothing_from_other_hosts(site):
    """No fonts, scripts, images or style sheets of others: whoever reads the pages is seen by nobody else."""
    loaded = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"(?:https?:)?//|<link(?![^>]*rel=\"canonical\")[^>]*href=\"(?:https?:)?//"
    )
    assert [path for path in site.rglob("*.html") if loaded.search(path.read_text())] == []
