"""What is compared: how each candidate is configured, started and filled with jobs."""

import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import psycopg2
import yaml

from environments import environment_python
from pygeoapi_prefect.runner.presence import Presence
from servers import ServerGroup, free_port, postgres, server_group

OLD_VERSION = "0.9.1"
OLD_REQUIREMENTS = (
    f"pygeoapi-prefect=={OLD_VERSION}",
    "fastapi<0.151",  # with a newer one the server of the Prefect that it takes does not start
    f"gunicorn=={metadata.version('gunicorn')}",
)
# The same versions as beside this package, and what pygeoapi's PostgreSQL manager imports besides.
STOCK_REQUIREMENTS = (
    *(f"{name}=={metadata.version(name)}" for name in ("pygeoapi", "gunicorn", "sqlalchemy", "psycopg2-binary")),
    "geoalchemy2",
)


@dataclass(frozen=True)
class Candidate:
    """A candidate that is up and answers, but is not warm yet."""

    base_url: str
    group: ServerGroup
    #: The interpreter that it runs in.
    python: Path
    #: Adds that many successful jobs to the store, behind the server's back; None where there is no way.
    add_jobs: Callable[[int], None] | None
    #: At most so many samples of what waits for one asynchronous job, and of what leaves jobs to wait for.
    most_waits: int | None = None
    most_submits: int | None = None
    #: The process whose every job is a run of Prefect's engine, if there is one.
    flow_process: str | None = None
    #: Tells where its Prefect server is, once that has started.
    prefect_api_url: Callable[[], str] | None = None
    #: Whether nothing but that process is measured.
    only_flows: bool = False


def _serve(
    group: ServerGroup,
    python: Path,
    manager: dict[str, Any],
    processors: dict[str, dict[str, Any]] | None = None,
    **environment: str,
) -> tuple[str, dict[str, Any]]:
    """Start gunicorn with two workers on a new configuration; return its base URL and the configuration."""
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    config: dict[str, Any] = {
        "server": {
            "bind": {"host": "127.0.0.1", "port": port},
            "url": base_url,
            "mimetype": "application/json; charset=UTF-8",
            "encoding": "utf-8",
            "language": "en-US",
            "pretty_print": False,
            "map": {"url": "https://tile.openstreetmap.org/{z}/{x}/{y}.png", "attribution": "OpenStreetMap"},
            "manager": manager,
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": {
                "title": "benchmark",
                "description": "benchmark",
                "keywords": ["benchmark"],
                "terms_of_service": "https://example.org",
                "url": "https://example.org",
            },
            "license": {"name": "CC-BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"},
            "provider": {"name": "benchmark", "url": "https://example.org"},
            "contact": {"name": "benchmark", "email": "benchmark@example.org"},
        },
        "resources": {
            "hello-world": {"type": "process", "processor": {"name": "HelloWorld"}},
            "big-output": {"type": "process", "processor": {"name": "processors.BigOutputProcessor"}},
            **{name: {"type": "process", "processor": processor} for name, processor in (processors or {}).items()},
        },
    }
    config_path = group.folder / "config.yml"
    openapi_path = group.folder / "openapi.yml"
    config_path.write_text(yaml.safe_dump(config))
    group.environment |= {"PYGEOAPI_CONFIG": str(config_path), "PYGEOAPI_OPENAPI": str(openapi_path)} | environment
    pygeoapi = (python, "-c", "from pygeoapi import cli; cli()")
    group.run(*pygeoapi, "openapi", "generate", config_path, "--output-file", openapi_path)
    gunicorn = (python, "-m", "gunicorn", "--workers", "2", "--timeout", "120", "--bind", f"127.0.0.1:{port}")
    group.start(*gunicorn, "pygeoapi.flask_app:APP")
    group.wait_for(f"{base_url}/processes?f=json")
    return base_url, config


def _output_dir(group: ServerGroup) -> str:
    folder = group.folder / "outputs"
    folder.mkdir()
    return str(folder)


@contextmanager
def stock(cache: Path) -> Iterator[Candidate]:
    """Stock pygeoapi with its own PostgreSQL manager."""
    python = environment_python(cache, "stock", STOCK_REQUIREMENTS)
    with postgres() as connection, server_group("stock") as group:
        manager = {"name": "PostgreSQL", "connection": connection, "output_dir": _output_dir(group)}
        base_url, _ = _serve(group, python, manager)
        yield Candidate(base_url, group, python, lambda count: _add_jobs_to_stock(connection, count))


def _add_jobs_to_stock(connection: dict[str, str | int], count: int) -> None:
    with psycopg2.connect(**connection) as session, session.cursor() as cursor:
        cursor.execute(
            """
            insert into jobs (identifier, process_id, created, started, finished, updated,
                              status, location, mimetype, message, progress)
            select gen_random_uuid()::text, 'hello-world', moment, moment, moment, moment,
                   'successful', '/nowhere', 'application/json', 'Job complete', 100
            from (select now() at time zone 'utc' - number * interval '1 minute' as moment
                  from generate_series(1, %s) number) moments
            """,
            (count,),
        )
    session.close()


@contextmanager
def ours_on_sqlite(_cache: Path) -> Iterator[Candidate]:
    """This package with a SQLite file; it starts its runner and a local Prefect server itself."""
    with server_group("ours on SQLite") as group:
        yield _ours(group, str(group.folder / "jobs.db"))


@contextmanager
def ours_on_postgres(_cache: Path) -> Iterator[Candidate]:
    """This package with PostgreSQL; Prefect's own database stays the one that the local server brings."""
    with postgres() as connection, server_group("ours on PostgreSQL") as group:
        yield _ours(group, "postgresql://{user}:{password}@{host}:{port}/{database}".format(**connection))


@contextmanager
def ours_with_flows(_cache: Path) -> Iterator[Candidate]:
    """This package with a flow, which runs in its pool through Prefect's engine, on its local Prefect server."""
    with server_group("our flows") as group:
        processor = {"name": "pygeoapi_prefect.FlowProcessor", "prefect": {"flow": "flows:greet"}}
        manager = {
            "name": "pygeoapi_prefect.PrefectManager",
            "connection": str(group.folder / "jobs.db"),
            "output_dir": _output_dir(group),
            "max_running": 4,
        }
        python = Path(sys.executable)
        base_url, _ = _serve(group, python, manager, {"greet": processor})
        yield Candidate(
            base_url,
            group,
            python,
            add_jobs=None,
            flow_process="greet",
            only_flows=True,
            prefect_api_url=lambda: str(Presence(group.folder / "pygeoapi-prefect").read_status().prefect_api_url),
        )


def _ours(group: ServerGroup, connection: str) -> Candidate:
    manager = {
        "name": "pygeoapi_prefect.PrefectManager",
        "connection": connection,
        "output_dir": _output_dir(group),
    }
    python = Path(sys.executable)
    base_url, config = _serve(group, python, manager)
    return Candidate(base_url, group, python, lambda count: _add_jobs_to_ours(config, count))


def _add_jobs_to_ours(config: dict[str, Any], count: int) -> None:
    """Add ended jobs through the manager's Python API, as pygeoapi itself would; loading a manager starts nothing."""
    from pygeoapi.process.manager.base import get_manager

    manager = get_manager(config)
    now = datetime.now(UTC)
    for number in range(1, count + 1):
        moment = now - timedelta(minutes=number)
        manager.add_job(
            {
                "type": "process",
                "identifier": str(uuid.uuid4()),
                "process_id": "hello-world",
                "created": moment,
                "started": moment,
                "finished": moment,
                "updated": moment,
                "status": "successful",
                "location": None,
                "mimetype": "application/json",
                "message": "Job complete",
                "progress": 100,
            }
        )


@contextmanager
def old(cache: Path) -> Iterator[Candidate]:
    """The last release of the 0.9 series: a Prefect server and a process that serves its deployments beside it."""
    python = environment_python(cache, f"pygeoapi-prefect-{OLD_VERSION}", OLD_REQUIREMENTS)
    with server_group(OLD_VERSION) as group:
        prefect_port = free_port()
        api_url = f"http://127.0.0.1:{prefect_port}/api"
        group.start(python, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(prefect_port))
        group.wait_for(f"{api_url}/health")
        manager = {"name": "pygeoapi_prefect.manager.PrefectManager", "enable_sync_job_execution": True}
        base_url, _ = _serve(group, python, manager, PREFECT_API_URL=api_url)
        pygeoapi = (python, "-c", "from pygeoapi import cli; cli()")
        group.start(*pygeoapi, "plugins", "prefect", "deploy-local")
        # A job takes it some ten seconds alone, and some two in a row.
        yield Candidate(
            base_url, group, python, add_jobs=None, most_waits=5, most_submits=20, flow_process="hello-world"
        )
