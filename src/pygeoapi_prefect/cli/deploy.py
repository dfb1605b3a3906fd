"""``pygeoapi plugins prefect deploy``."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click

from pygeoapi_prefect.deploy.planned import PlannedDeployment, chosen, conflicts, is_deployed, planned
from pygeoapi_prefect.exceptions import ConfigurationError, PrefectUnavailableError, PygeoapiPrefectError
from pygeoapi_prefect.prefect_api import PrefectApi, PrefectConnection, configured_connection
from pygeoapi_prefect.settings import ManagerSettings


@click.command()
@click.argument("process_ids", nargs=-1, metavar="[ID]...")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Change nothing; tell what would change.")
@click.pass_obj
def deploy(config: str | None, process_ids: tuple[str, ...], is_dry_run: bool) -> None:
    """Create or update the deployments of processes: of all that have one, or of those named."""
    from pygeoapi_prefect.cli.configuration import manager_def_of, read_configuration, settings_of

    manager_def = manager_def_of(read_configuration(config))
    settings = settings_of(manager_def)
    resources: Mapping[str, Mapping[str, Any]] = manager_def["processes"]
    try:
        wanted = chosen(resources, process_ids)
        connection = _connection(settings) if wanted else None
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    if connection is None:
        click.echo("No process has a deployment of its own: resources.<id>.processor.prefect.deployment.")
        return
    plans, errors = _plan(resources)
    with PrefectApi(connection) as api:
        try:
            failed = _deploy(api, settings, wanted, plans, errors, is_dry_run)
            # a process that cannot be planned keeps what it has
            if not process_ids and not errors:
                _tell_leftovers(api, plans.values())
        except PygeoapiPrefectError as error:
            raise click.ClickException(str(error)) from error
    sys.exit(1 if failed else 0)


def _connection(settings: ManagerSettings) -> PrefectConnection:
    """As Prefect's settings say, else of the local server of an embedded runner that lives."""
    from pygeoapi_prefect.runner.presence import Presence

    if (connection := configured_connection()) is not None:
        return connection
    runner = Presence(settings.data_dir).read_status()
    if runner is not None and runner.prefect_api_url:
        return PrefectConnection(runner.prefect_api_url, ui_url=runner.prefect_ui_url)
    raise ConfigurationError(
        "Prefect's settings name no API, and no embedded runner with a local Prefect server lives. Set "
        "PREFECT_API_URL, or start the server first."
    )


def _plan(resources: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, PlannedDeployment], dict[str, str]]:
    """The plans of all processes that have deployments, and what is wrong with those that have none."""
    plans: dict[str, PlannedDeployment] = {}
    errors: dict[str, str] = {}
    for process_id, resource in resources.items():
        try:
            if is_deployed(process_id, resource):
                plans[process_id] = planned(process_id, resource)
        except ConfigurationError as error:
            errors[process_id] = str(error)
        except Exception as error:  # whatever the user's module raises
            name = resource["processor"]["name"]
            errors[process_id] = f"{name} cannot be made: {type(error).__name__}: {error}"
    for process_id, conflict in conflicts(plans.values()).items():
        errors[process_id] = str(conflict)
    return plans, errors


def _deploy(
    api: PrefectApi,
    settings: ManagerSettings,
    wanted: Iterable[str],
    plans: Mapping[str, PlannedDeployment],
    errors: Mapping[str, str],
    is_dry_run: bool,
) -> bool:
    """Deploy one process after the other; whether one of them failed."""
    from pygeoapi_prefect.deploy.deployer import Deployer

    deployer = Deployer(api, settings.output_dir, is_dry_run=is_dry_run)
    failed = False
    for process_id in wanted:
        try:
            if process_id in errors:
                raise ConfigurationError(errors[process_id])
            done = deployer.deploy(plans[process_id], settings.process(process_id).result_storage)
        except PrefectUnavailableError:
            raise
        except PygeoapiPrefectError as error:
            failed = True
            click.echo(f"{click.style('FAIL', fg='red')} {process_id}: {error}")
            continue
        action = f"would be {done.action}" if is_dry_run and done.action != "unchanged" else done.action
        click.echo(f"{click.style('ok  ', fg='green')} {process_id}: {done.name} {action}")
        for change in done.changes:
            click.echo(f"     {change}")
        for note in done.notes:
            click.echo(f"     note: {note}")
    return failed


def _tell_leftovers(api: PrefectApi, plans: Iterable[PlannedDeployment]) -> None:
    from pygeoapi_prefect.deploy.deployer import leftovers

    for name, process_id in leftovers(api, plans):
        click.echo(
            f"     {name} is a deployment of process {process_id!r} that this configuration does not have. Unless "
            f"another pygeoapi has it: prefect deployment delete {name!r}"
        )
