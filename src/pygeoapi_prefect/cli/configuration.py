"""The configuration, as pygeoapi reads it."""

import os
from collections.abc import Mapping
from typing import Any

import click

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.jobs import JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.settings import ManagerSettings

MANAGER_NAMES = ("pygeoapi_prefect.PrefectManager", "pygeoapi_prefect.manager.PrefectManager")


def read_configuration(path: str | None) -> dict[str, Any]:
    """The whole configuration, with ``${VAR}`` resolved. Raises click.ClickException."""
    from pygeoapi.config import get_config

    if path is None:
        raise click.UsageError("Name pygeoapi's configuration with --config or PYGEOAPI_CONFIG.")
    os.environ["PYGEOAPI_CONFIG"] = path
    try:
        configuration: dict[str, Any] = get_config()
    except Exception as error:
        raise click.ClickException(f"{path} cannot be read: {error}") from error
    return configuration


def manager_def_of(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What pygeoapi would give our manager. Raises click.ClickException when the manager is another one."""
    manager_def = dict((configuration.get("server") or {}).get("manager") or {})
    if manager_def.get("name") not in MANAGER_NAMES:
        raise click.ClickException(
            f"server.manager.name is {manager_def.get('name')!r}, not {MANAGER_NAMES[0]!r}: this configuration does "
            "not use pygeoapi-prefect."
        )
    resources = configuration.get("resources") or {}
    manager_def["processes"] = {
        name: resource for name, resource in resources.items() if resource.get("type") == "process"
    }
    return manager_def


def read_settings(path: str | None) -> ManagerSettings:
    """The settings. Raises click.ClickException."""
    return settings_of(manager_def_of(read_configuration(path)))


def settings_of(manager_def: Mapping[str, Any]) -> ManagerSettings:
    """The settings of a manager. Raises click.ClickException, which names the YAML key."""
    try:
        return ManagerSettings.from_manager_def(manager_def)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error


def open_job_store(settings: ManagerSettings) -> JobStore:
    """The job store; nothing is connected yet."""
    return JobStore(Database(settings.connection, timeout=settings.database_timeout))
