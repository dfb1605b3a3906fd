"""``pygeoapi plugins prefect``."""

import click


@click.group()
def prefect() -> None:
    """Run jobs durably and see them in Prefect."""
