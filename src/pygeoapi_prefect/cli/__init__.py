"""
``pygeoapi plugins prefect``: one module for each command or group of commands.

pygeoapi's own command line imports this package at every start, so commands import what they need when they run.
"""

import importlib

import click

from pygeoapi_prefect.ogcapi.django_start import hook_django_start
from pygeoapi_prefect.ogcapi.generation import hook_generation

_COMMANDS = {
    "up": "Serve pygeoapi with a runner and Prefect, until Ctrl-C.",
    "runner": "Run an external job runner.",
    "deploy": "Create or update the deployments of processes.",
    "jobs": "List, show, share and dismiss jobs, and read their logs.",
    "db": "Look after the job store's schema.",
    "secrets": "Make keys for the secrets of jobs.",
    "doctor": "Check the installation and tell the remedy for what is wrong.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup)
@click.option(
    "--config",
    envvar="PYGEOAPI_CONFIG",
    type=click.Path(exists=True, dir_okay=False),
    help="pygeoapi's configuration file; PYGEOAPI_CONFIG by default.",
)
@click.pass_context
def prefect(ctx: click.Context, config: str | None) -> None:
    """Run OGC API - Processes jobs durably and see them in Prefect."""
    ctx.obj = config


hook_generation()
hook_django_start()
