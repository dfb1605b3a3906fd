"""``server.manager``."""

import logging
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from sqlalchemy.engine import URL

from pygeoapi_prefect.connection import job_store_url
from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.references.addresses import AllowedHost
from pygeoapi_prefect.references.limits import ReferenceLimits
from pygeoapi_prefect.schemas.codes import JobControlOption
from pygeoapi_prefect.settings.auth import AuthSettings
from pygeoapi_prefect.settings.processes import ProcessSettings, job_control_options, process_settings
from pygeoapi_prefect.settings.section import Section

LOGGER = logging.getLogger(__name__)

MANAGER_KEY = "server.manager"
AUTH_KEY = f"{MANAGER_KEY}.auth"
DEFAULT_CONNECTION = "pygeoapi-prefect/jobs.db"
DEFAULT_OUTPUT_DIR = "pygeoapi-prefect/results"


class MetricsSettings(Section):
    """
    The keys under ``server.manager.metrics``.

    Attributes:
        port: Where the runner can be scraped; 0: one that is free, which its log names.
        host: The address that it listens on.
    """

    port: int = Field(ge=0, le=65535)
    host: str = Field(default="127.0.0.1", min_length=1)


class ManagerSettings(Section):
    """
    The keys under ``server.manager``; ``docs/reference/configuration.md`` describes each for users.

    Attributes:
        connection: The job store: a SQLAlchemy URL of SQLite or PostgreSQL.
        output_dir: The result store: a local folder or an fsspec URL.
        data_dir: Local folder of this installation: locks, the runner's log, scratch folders, the local Prefect server.
        runner: Who starts the runner.
        max_running: Jobs that one runner runs at once.
        max_waiting: Jobs that may wait; one more is refused with 503.
        max_waiting_per_user: Jobs of one user that may wait; one more is refused with 429. None: no limit of its own.
        max_request_bytes: Size of an execute request; a larger one is refused with 413.
        max_request_items: Arrays and objects in an execute request; one with more is refused with 413.
        max_output_bytes: Of all outputs of a job together, where its process does not say otherwise; None: any number.
        sync_timeout: Seconds that a synchronous request is waited for.
        max_sync_waits: Synchronous requests that one web process waits for at once; None: half its threads.
        lease: Seconds after its last renewal at which a runner counts as lost.
        shutdown_grace: Seconds that an embedded runner outlives the last web process.
        dismiss_grace: Seconds between the polite and the final end of a dismissed job's processes.
        database_timeout: Seconds that the first use waits for a database that is not up yet.
        jobs_per_worker: Jobs after which a pool worker is replaced.
        max_handed_over: Jobs that one runner has in deployments at once.
        prefect_timeout: Seconds that a job waits for a Prefect that cannot be reached before it fails.
        record_backlog: Jobs that may wait to be recorded while Prefect cannot be reached; older ones are given up.
        output_links: Whose links outputs by reference have: this server's, or for files in an object store the store's.
        link_lifetime: Seconds that a link is good for which the object store or this server signed.
        link_secret: By which this server signs links to outputs; None: they need a token where there is *auth*.
        link_secret_file: Where that is read from.
        monitor_link: Whether the answer of a synchronous execution links to its job.
        allowed_hosts: Hosts that clients may have asked although they are internal, for
            :class:`~pygeoapi_prefect.references.addresses.AddressPolicy`.
        reference_max_bytes: Size of an input by reference.
        reference_timeout: Seconds for one input by reference, all of it.
        secret_key_file: File with the keys that seal secrets in the job store; None: the environment has them, or with
            SQLite a file in *data_dir*, made by its first use.
        callback_attempts: How often a client is called at the end of a job before it is given up.
        callback_timeout: Seconds for one call, all of it.
        auth: Whose tokens are believed; None: nobody is known, and nobody is asked.
        metrics: Where the runner can be scraped by Prometheus; None: nowhere.
        ogc_compliance: Whether pygeoapi's process functions are wrapped (see :mod:`pygeoapi_prefect.ogcapi`).
        enable_sync_job_execution: Of 0.9: whether processes may be executed synchronously; None: not said.
        enable_async_job_execution: Of 0.9: whether processes may be executed asynchronously; None: not said.
        sync_job_execution_timeout_seconds: Of 0.9: what *sync_timeout* is where that is not given; at least 1.
        processes: Settings of each process by its id.
    """

    connection: str = Field(repr=False)  # holds the password
    output_dir: str
    data_dir: Path
    runner: Literal["embedded", "external"] = "embedded"
    max_running: int = Field(default_factory=lambda: max(2, os.cpu_count() or 2), ge=1)
    max_waiting: int = Field(default=1000, ge=1)
    max_waiting_per_user: int | None = Field(default=None, ge=1)
    max_request_bytes: int = Field(default=16 * 1024 * 1024, ge=1)
    max_request_items: int = Field(default=1_000_000, ge=1)
    max_output_bytes: int | None = Field(default=None, ge=1)
    sync_timeout: float = Field(default=20, ge=0)
    max_sync_waits: int | None = Field(default=None, ge=1)
    lease: float = Field(default=15, ge=1)
    shutdown_grace: float = Field(default=10, ge=0)
    dismiss_grace: float = Field(default=1, ge=0)
    database_timeout: float = Field(default=10, ge=0)
    jobs_per_worker: int = Field(default=500, ge=1)
    max_handed_over: int = Field(default=100, ge=1)
    prefect_timeout: float = Field(default=3600, ge=0)
    record_backlog: int = Field(default=10_000, ge=0)
    output_links: Literal["server", "store"] = "server"
    link_lifetime: float = Field(default=3600, ge=1, le=7 * 24 * 3600)  # S3 signs no longer ones
    link_secret: str | None = Field(default=None, min_length=32, repr=False)
    link_secret_file: Path | None = None
    monitor_link: bool = True
    allowed_hosts: tuple[str, ...] = ()
    reference_max_bytes: int = Field(default=1024**3, ge=1)
    reference_timeout: float = Field(default=300, gt=0)
    secret_key_file: Path | None = None
    callback_attempts: int = Field(default=8, ge=1)
    callback_timeout: float = Field(default=10, gt=0)
    auth: AuthSettings | None = None
    metrics: MetricsSettings | None = None
    ogc_compliance: bool = True
    enable_sync_job_execution: bool | None = None
    enable_async_job_execution: bool | None = None
    sync_job_execution_timeout_seconds: float | None = Field(default=None, ge=0)
    processes: Mapping[str, ProcessSettings] = Field(default_factory=dict, exclude=True)

    @field_validator("allowed_hosts", mode="after")
    @classmethod
    def _are_hosts(cls, allowed_hosts: tuple[str, ...]) -> tuple[str, ...]:
        for entry in allowed_hosts:
            AllowedHost.parse(entry)
        return allowed_hosts

    @field_validator("processes", mode="after")
    @classmethod
    def _freeze(cls, processes: Mapping[str, ProcessSettings]) -> Mapping[str, ProcessSettings]:
        return MappingProxyType(dict(processes))

    @model_validator(mode="after")
    def _is_closed(self) -> Self:
        if self.auth is not None and not self.ogc_compliance:
            # the wrappers are what asks for tokens
            raise ValueError("auth and ogc_compliance: false exclude each other")
        return self

    @classmethod
    def from_manager_def(cls, manager_def: Mapping[str, Any]) -> Self:
        """
        Read what pygeoapi's ``get_manager`` passes: the ``server.manager`` mapping with ``name`` and ``processes``.

        Raises:
            ConfigurationError: Names the YAML key.
        """
        values = {key: value for key, value in manager_def.items() if key not in ("name", "processes")}
        # 0.9 had neither; a key without a value is a mistake all the same
        for key, default in (("connection", DEFAULT_CONNECTION), ("output_dir", DEFAULT_OUTPUT_DIR)):
            if key not in values:
                values[key] = default
                _tell_default(f"{MANAGER_KEY}.{key}", str(Path(default).absolute()))
        url = job_store_url(values.get("connection"), f"{MANAGER_KEY}.connection")
        values["connection"] = url.render_as_string(hide_password=False)
        values["output_dir"] = _result_store_url(values.get("output_dir"))
        values["data_dir"] = _data_dir(values.get("data_dir"), url, values["output_dir"])
        values |= _link_secret(values)
        values["processes"] = {
            process_id: process_settings(process_id, resource)
            for process_id, resource in (manager_def.get("processes") or {}).items()
        }
        settings = cls.parse(values, MANAGER_KEY)
        seconds = settings.sync_job_execution_timeout_seconds
        if seconds is not None and "sync_timeout" not in values:
            settings = settings.model_copy(update={"sync_timeout": max(1, seconds)})
        for process_id, resource in (manager_def.get("processes") or {}).items():
            if job_control_options(process_id, resource) is None and settings.default_job_control_options == []:
                raise ConfigurationError(
                    f"{MANAGER_KEY}.enable_sync_job_execution and {MANAGER_KEY}.enable_async_job_execution are both "
                    f"false, and resources.{process_id}.processor.job_control_options is missing. Set one of them."
                )
        return settings

    @property
    def default_job_control_options(self) -> list[str] | None:
        """
        What a client may ask of a process that has no ``processor.job_control_options``.

        None: what the process's own description says. It counts as long as neither ``enable_*`` key was written;
        when one was, the other has its default of 0.9.
        """
        is_sync, is_async = self.enable_sync_job_execution, self.enable_async_job_execution
        if is_sync is None and is_async is None:
            return None
        options = [JobControlOption.SYNC_EXECUTE.value] if is_sync else []
        return options + ([JobControlOption.ASYNC_EXECUTE.value] if is_async is not False else [])

    @property
    def is_sqlite(self) -> bool:
        """Whether the job store is SQLite; else it is PostgreSQL."""
        return self.connection.startswith("sqlite")

    @property
    def reference_limits(self) -> ReferenceLimits:
        """What the place where a job runs has to know of them."""
        return ReferenceLimits(self.allowed_hosts, self.reference_max_bytes, self.reference_timeout)

    def max_output_bytes_of(self, process_id: str) -> int | None:
        """Of all outputs together of a job of that process; None: any number."""
        return self.process(process_id).max_output_bytes or self.max_output_bytes

    def process(self, process_id: str) -> ProcessSettings:
        """The settings of a process; the defaults for one that is no longer configured."""
        return self.processes.get(process_id) or ProcessSettings()


@cache
def _tell_default(key: str, path: str) -> None:
    """Once in a process: settings are read more than once."""
    LOGGER.warning(
        "%s is not set: %s is used. A runner or command that is started elsewhere would not find it: set the key.",
        key,
        path,
    )


def _result_store_url(output_dir: Any) -> str:
    if not output_dir:
        raise ConfigurationError(f"{MANAGER_KEY}.output_dir is missing: a folder or an fsspec URL for stored outputs")
    text = str(output_dir)
    return text if "://" in text else str(Path(text).absolute())


def _link_secret(values: Mapping[str, Any]) -> dict[str, str]:
    if not (file := values.get("link_secret_file")):
        return {}
    key = f"{MANAGER_KEY}.link_secret_file"
    if values.get("link_secret"):
        raise ConfigurationError(f"{key} and {MANAGER_KEY}.link_secret exclude each other")
    try:
        return {"link_secret": Path(str(file)).read_text().strip()}
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"{key}: {file} cannot be read: {error}") from error


def _data_dir(data_dir: Any, url: URL, output_dir: str) -> Path:
    if data_dir:
        return Path(str(data_dir)).absolute()
    if url.drivername == "sqlite":
        assert url.database is not None
        return Path(url.database).parent / "pygeoapi-prefect"
    if "://" not in output_dir:
        return Path(output_dir) / ".pygeoapi-prefect"
    raise ConfigurationError(
        f"{MANAGER_KEY}.data_dir is missing: a local folder for locks, logs and scratch files "
        "(it has a default only where connection or output_dir is local)"
    )
