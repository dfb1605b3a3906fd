"""``pygeoapi plugins prefect db``."""

import click

from pygeoapi_prefect.exceptions import JobStoreUnavailableError


@click.group()
def db() -> None:
    """Look after the job store's schema. It is also brought up to date by the first use."""


@db.command()
@click.pass_obj
def upgrade(config: str | None) -> None:
    """Bring the schema up to date."""
    from pygeoapi_prefect.cli.configuration import open_job_store, read_settings
    from pygeoapi_prefect.jobs.tables import REVISION

    store = open_job_store(read_settings(config))
    try:
        store.database.migrate()
    except JobStoreUnavailableError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"The job store is at revision {REVISION}.")


@db.command()
@click.pass_obj
def current(config: str | None) -> None:
    """Tell the schema's revision, and the one that this version of the package needs."""
    from pygeoapi_prefect.cli.configuration import open_job_store, read_settings
    from pygeoapi_prefect.jobs.tables import REVISION

    store = open_job_store(read_settings(config))
    try:
        revision = store.database.revision()
    except JobStoreUnavailableError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"database: {revision or 'no tables yet'}\npackage: {REVISION}")
    if revision != REVISION:
        raise click.ClickException("Run `pygeoapi plugins prefect db upgrade`, or start the server.")
