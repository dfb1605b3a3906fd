"""``pygeoapi plugins prefect secrets``."""

import click


@click.group()
def secrets() -> None:
    """Make keys for the secrets of jobs: secret inputs and access tokens."""


@secrets.command("new-key")
def new_key() -> None:
    """Print a new random key, for PYGEOAPI_PREFECT_SECRET_KEY or the file that server.manager.secret_key_file names."""
    from pygeoapi_prefect.jobs.sealing import new_key as make_key

    click.echo(make_key())
