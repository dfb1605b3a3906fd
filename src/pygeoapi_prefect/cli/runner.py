"""``pygeoapi plugins prefect runner``."""

import sys

import click

from pygeoapi_prefect.exceptions import ConfigurationError


@click.command()
@click.pass_obj
def runner(config: str | None) -> None:
    """
    Run an external job runner, until it is told to end.

    SIGTERM, or the first Ctrl-C, lets the jobs that run come to their end; a second Ctrl-C stops them. Several
    runners, on several hosts, may serve one PostgreSQL job store. Set `server.manager.runner: external` so that web
    processes start none of their own.
    """
    from pygeoapi_prefect.cli.configuration import manager_def_of, read_configuration
    from pygeoapi_prefect.runner.__main__ import configure_logging, run_external

    configure_logging()
    try:
        sys.exit(run_external(manager_def_of(read_configuration(config))))
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
