"""``pygeoapi plugins prefect doctor``."""

import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from pygeoapi_prefect.exceptions import (
    ConfigurationError,
    IdentityProviderUnavailableError,
    JobStoreUnavailableError,
    PygeoapiPrefectError,
    ResultStoreError,
    SecretKeyError,
)
from pygeoapi_prefect.settings import ManagerSettings

if TYPE_CHECKING:
    from pygeoapi_prefect.prefect_api import PrefectConnection


@dataclass(frozen=True)
class Finding:
    """One thing that was checked. *remedy*: what to do; None where all is well."""

    subject: str
    text: str
    remedy: str | None = None


@click.command()
@click.pass_obj
def doctor(config: str | None) -> None:
    """Check configuration, processors, database, result store, runner, Prefect and deployments, and tell what to do."""
    from pygeoapi_prefect.cli.configuration import manager_def_of, read_configuration

    manager_def = manager_def_of(read_configuration(config))
    is_well = True
    for finding in examine(manager_def):
        is_well = is_well and finding.remedy is None
        mark = click.style("ok  ", fg="green") if finding.remedy is None else click.style("FAIL", fg="red")
        click.echo(f"{mark} {finding.subject}: {finding.text}")
        if finding.remedy is not None:
            click.echo(f"     → {finding.remedy}")
    sys.exit(0 if is_well else 1)


def examine(manager_def: Mapping[str, Any]) -> Iterator[Finding]:
    """Check one thing after the other."""
    try:
        settings = ManagerSettings.from_manager_def(manager_def)
    except ConfigurationError as error:
        yield Finding("configuration", str(error), "Correct the key that is named; docs/reference/configuration.md.")
        return
    yield Finding("configuration", f"server.manager and {len(settings.processes)} processes are well formed")
    yield from _processors(manager_def)
    yield from _tokens(settings)
    yield from _secrets(settings, manager_def)
    yield from _job_store(settings)
    yield _result_store(settings)
    yield _data_folder(settings)
    yield from _runner_and_prefect(settings)


def _processors(manager_def: Mapping[str, Any]) -> Iterator[Finding]:
    from pygeoapi_prefect.process.processor import load_processor

    for process_id, resource in (manager_def.get("processes") or {}).items():
        subject = f"process {process_id}"
        try:
            metadata = load_processor(process_id, resource).metadata
        except Exception as error:
            name = resource["processor"].get("name") or "its processor"
            reason = f"{name} cannot be made: {type(error).__name__}: {error}"
            remedy = "Install what it imports, check the dotted path, and put its folder on PYTHONPATH."
            yield Finding(subject, reason, remedy)
            continue
        missing = [key for key in ("version", "title", "inputs", "outputs") if key not in metadata]
        if missing:
            yield Finding(subject, f"its description lacks {', '.join(missing)}", "Add them to PROCESS_METADATA.")
        else:
            yield Finding(subject, f"version {metadata['version']}")


def _tokens(settings: ManagerSettings) -> Iterator[Finding]:
    if settings.auth is None:
        if restricted := [process_id for process_id, process in settings.processes.items() if process.roles]:
            remedy = "Configure server.manager.auth, unless an application of yours serves them and names its users."
            yield Finding(
                "roles", f"{', '.join(restricted)}: may be executed by some roles, and nobody has any", remedy
            )
        return
    from pygeoapi_prefect.identity.keys import FixedKey, published_keys

    subject = f"tokens of {settings.auth.issuer}"
    try:
        if settings.auth.has_fixed_key:
            FixedKey(settings.auth)
            yield Finding(subject, "their key stands in the configuration")
        else:
            yield Finding(subject, f"{len(published_keys(settings.auth))} keys are published")
    except ConfigurationError as error:
        yield Finding(subject, str(error), "Give the issuer's public key as PEM, or the secret for HS….")
    except IdentityProviderUnavailableError as error:
        remedy = "Correct server.manager.auth.issuer or .jwks_url, or start it. Until then all tokens are answered 503."
        yield Finding(subject, str(error), remedy)


def _secrets(settings: ManagerSettings, manager_def: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether what must stay secret can be kept; nothing where no process has any."""
    from pygeoapi_prefect.jobs.sealing import SecretKeys

    keeping = [
        process_id
        for process_id, resource in (manager_def.get("processes") or {}).items()
        if _keeps_secrets(process_id, resource, settings)
    ]
    if not keeping:
        return
    keys = SecretKeys(settings)
    whose = f"of {', '.join(keeping)}"
    make_one = "Make a key: `pygeoapi plugins prefect secrets new-key`. Requests with secrets are refused until then."
    try:
        keys.check()
    except SecretKeyError as error:
        yield Finding("secrets", f"{whose}: {error}", make_one)
        return
    if keys.file is not None and keys.file.exists() and keys.file.stat().st_mode & stat.S_IRWXO:
        yield Finding("secrets", f"everybody on this host can read {keys.file}", f"Run `chmod o= {keys.file}`.")
        return
    yield Finding("secrets", f"{whose} are sealed with the key in {keys.place}")


def _keeps_secrets(process_id: str, resource: Mapping[str, Any], settings: ManagerSettings) -> bool:
    from pygeoapi_prefect.process.processor import load_processor, needs_access_token
    from pygeoapi_prefect.validation import secret_inputs

    try:
        description = load_processor(process_id, resource).metadata
        return bool(secret_inputs(description)) or needs_access_token(process_id, settings.process(process_id))
    except Exception:
        # told above
        return False


def _job_store(settings: ManagerSettings) -> Iterator[Finding]:
    from pygeoapi_prefect.cli.configuration import open_job_store
    from pygeoapi_prefect.jobs.tables import REVISION
    from pygeoapi_prefect.schemas import JobStatus

    store = open_job_store(settings)
    subject = "job store"
    try:
        revision = store.database.revision()
        if revision is None:
            yield Finding(subject, "reachable; its tables are made by the first use")
            return
        if revision != REVISION:
            remedy = "Run `pygeoapi plugins prefect db upgrade`; a newer database needs the newer package."
            yield Finding(subject, f"has revision {revision}, this package needs {REVISION}", remedy)
            return
        counts = store.counts()
        backlog = store.recording_backlog()
    except JobStoreUnavailableError as error:
        yield Finding(subject, str(error), "Start the database, or correct server.manager.connection.")
        return
    waiting, running = counts[JobStatus.ACCEPTED], counts[JobStatus.RUNNING]
    yield Finding(subject, f"revision {revision}, {waiting} jobs waiting, {running} running")
    yield Finding("recording", f"{backlog} jobs to record in Prefect")
    if settings.runner == "external":
        living = store.living_runners()
        start_one = "Start one: `pygeoapi plugins prefect runner`. Jobs wait until then."
        yield Finding("runner", f"external, {living} living", None if living else start_one)


def _result_store(settings: ManagerSettings) -> Finding:
    from pygeoapi_prefect.results import ResultStore

    try:
        ResultStore(settings.output_dir).check()
    except ResultStoreError as error:
        return Finding("result store", str(error), "Make server.manager.output_dir writable for this user.")
    except PygeoapiPrefectError as error:
        return Finding("result store", str(error), "What was written cannot be read: check the store's permissions.")
    return Finding("result store", f"{settings.output_dir} can be written and read")


def _data_folder(settings: ManagerSettings) -> Finding:
    from pygeoapi_prefect.runner.presence import Presence

    try:
        Presence(settings.data_dir).make()
    except OSError as error:
        return Finding("data folder", str(error), "Set server.manager.data_dir to a local folder of this user.")
    return Finding("data folder", str(settings.data_dir))


def _runner_and_prefect(settings: ManagerSettings) -> Iterator[Finding]:
    from pygeoapi_prefect.prefect_api import PrefectApi, PrefectConnection, configured_connection
    from pygeoapi_prefect.runner.presence import Presence

    status = Presence(settings.data_dir).read_status()
    if settings.runner == "embedded":
        lives = f"lives, process {status.pid}; jobs are {status.prefect}" if status else "starts with the first request"
        yield Finding("runner", f"embedded, {lives}")
    try:
        connection = configured_connection()
    except ConfigurationError as error:
        yield Finding("Prefect", str(error), "Correct Prefect's settings; `prefect config view` shows them.")
        return
    if connection is None:
        if settings.runner == "embedded":
            yield Finding("Prefect", "no API is configured: an embedded runner starts a local server")
            if status is not None and status.prefect_api_url is not None:
                yield from _deployments(settings, PrefectConnection(status.prefect_api_url))
        else:
            remedy = "Set PREFECT_API_URL for the runner, e.g. with `prefect config set`."
            yield Finding("Prefect", "no API is configured: an external runner records nothing", remedy)
        return
    with PrefectApi(connection) as api:
        if api.is_healthy():
            yield Finding("Prefect", f"{connection.api_url} answers")
        else:
            remedy = "Start it, or correct PREFECT_API_URL. Jobs run meanwhile and are recorded later."
            yield Finding("Prefect", f"{connection.api_url} does not answer", remedy)
            return
    yield from _deployments(settings, connection)


def _deployments(settings: ManagerSettings, connection: "PrefectConnection") -> Iterator[Finding]:
    from pygeoapi_prefect.prefect_api import PrefectApi
    from pygeoapi_prefect.runner.flow_run_tasks import find_deployment

    with PrefectApi(connection) as api:
        for process_id, process in settings.processes.items():
            if process.deployment is None:
                continue
            subject = f"deployment of {process_id}"
            try:
                deployment = find_deployment(api, process_id, process.deployment)
                pool = deployment.work_pool_name
                workers = None if pool is None else api.living_workers(pool)
            except PygeoapiPrefectError as error:
                remedy = f"Deploy it: `pygeoapi plugins prefect deploy {process_id}`, or as you made it."
                yield Finding(subject, str(error), remedy)
                continue
            if workers == 0:
                remedy = f"Start one: `prefect worker start --pool {pool!r}`. Jobs wait until then."
                yield Finding(subject, f"{deployment.name}: no worker of the work pool {pool!r} is online", remedy)
            else:
                where = "served by its own process" if pool is None else f"work pool {pool!r}, {workers} workers online"
                yield Finding(subject, f"{deployment.name}, {where}")
