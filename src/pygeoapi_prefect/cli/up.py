"""``pygeoapi plugins prefect up``."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx

from pygeoapi_prefect.cli.configuration import manager_def_of, read_configuration, settings_of
from pygeoapi_prefect.cli.steps import Step
from pygeoapi_prefect.runner.os_processes import is_alive
from pygeoapi_prefect.runner.presence import Presence, RunnerStatus
from pygeoapi_prefect.settings import ManagerSettings

_WEB_SECONDS = 60
_RUNNER_SECONDS = 60
_PREFECT_SECONDS = 120
_STOP_SECONDS = 15


@dataclass(frozen=True)
class Serving:
    """
    What :func:`serving` started.

    Attributes:
        url: Of pygeoapi, without a slash at its end.
        prefect_ui_url: None where jobs are not recorded, for the reason in *prefect*.
        prefect_api_url: Likewise.
    """

    url: str
    prefect: str
    prefect_ui_url: str | None
    prefect_api_url: str | None = None


@click.command()
@click.option("--flask", "server", flag_value="flask", default=True, help="Serve with Flask (default).")
@click.option("--starlette", "server", flag_value="starlette", help="Serve with Starlette.")
@click.pass_obj
def up(config: str | None, server: str) -> None:
    """Serve pygeoapi with a runner and Prefect, until Ctrl-C."""
    with serving(config, server) as started:
        tell_addresses(started)
        wait_for_interrupt()


def tell_addresses(started: Serving) -> None:
    """Print where everything is."""
    click.echo(f"pygeoapi    {started.url}")
    click.echo(f"processes   {started.url}/processes")
    click.echo(f"jobs        {started.url}/jobs")
    click.echo(f"Prefect UI  {started.prefect_ui_url or started.prefect}")


def wait_for_interrupt() -> None:
    """Return at Ctrl-C or SIGTERM."""
    click.echo("Serving. Ctrl-C ends it.", err=True)
    with suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)


@contextmanager
def serving(config: str | None, server: str = "flask") -> Iterator[Serving]:
    """
    Serve for the time of the block: stock ``pygeoapi serve``, and with its first request the runner and Prefect.

    Args:
        config: Path of pygeoapi's configuration.
        server: ``flask`` or ``starlette``.

    Raises:
        click.ClickException: Something did not start; names it and its log.
    """
    configuration = read_configuration(config)
    settings = settings_of(manager_def_of(configuration))
    presence = Presence(settings.data_dir)
    presence.make()
    bind = configuration["server"]["bind"]
    host, port = str(bind["host"]), int(bind["port"])
    _require_free(host, port)
    environment = os.environ | {"PYGEOAPI_OPENAPI": _openapi(os.environ["PYGEOAPI_CONFIG"], presence)}
    # also where a shell started this in the background, with Ctrl-C ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    log_path = presence.folder / "web.log"
    with log_path.open("wb") as log:
        web = subprocess.Popen(  # noqa: S603 our own interpreter and pygeoapi's command
            [sys.executable, "-c", "from pygeoapi import cli; cli()", "serve", f"--{server}"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104 compared, not bound
        with Step("Starting pygeoapi") as step:
            _wait_for_web(web, url, log_path, step)
        status = _wait_for_runner(settings, presence)

        yield Serving(
            str(configuration["server"]["url"]).rstrip("/"),
            status.prefect if status else "recorded by an external runner",
            status.prefect_ui_url if status else None,
            status.prefect_api_url if status else None,
        )
    finally:
        _end_web(web)
        if settings.runner == "embedded":
            _end_runner(presence)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise click.ClickException(
                f"{host}:{port} (server.bind) cannot be used: {error.strerror}. End what listens there."
            ) from error


def _openapi(config: str, presence: Presence) -> str:
    """pygeoapi needs its OpenAPI document; where the environment names none, one is made in the data folder."""
    named = os.environ.get("PYGEOAPI_OPENAPI")
    if named and Path(named).exists():
        return named
    from pygeoapi.openapi import generate_openapi_document

    path = Path(named) if named else presence.folder / "openapi.yml"
    with Step("Making the OpenAPI document"):
        document = generate_openapi_document(Path(config), "yaml", fail_on_invalid_collection=False)
        path.write_text(document)
    return str(path)


def _wait_for_web(web: subprocess.Popen[bytes], url: str, log_path: Path, step: Step) -> None:
    deadline = time.monotonic() + _WEB_SECONDS
    while time.monotonic() < deadline:
        if web.poll() is not None:
            break
        try:
            httpx.get(f"{url}/?f=json", timeout=5, trust_env=False)
        except httpx.HTTPError:
            time.sleep(0.1)
            step.tick()
        else:
            return
    raise click.ClickException(f"pygeoapi did not start. The end of {log_path}:\n{_tail(log_path)}")


def _wait_for_runner(settings: ManagerSettings, presence: Presence) -> RunnerStatus | None:
    if settings.runner == "external":
        click.echo("Start the runner with `pygeoapi plugins prefect runner`.", err=True)
        return None
    with Step("Starting the job runner") as step:
        deadline = time.monotonic() + _RUNNER_SECONDS
        while (status := presence.read_status()) is None:
            if time.monotonic() >= deadline:
                log_path = presence.runner_log
                raise click.ClickException(f"The runner did not start. The end of {log_path}:\n{_tail(log_path)}")
            time.sleep(0.1)
            step.tick()
    with Step("Starting Prefect (the first start makes its database)") as step:
        deadline = time.monotonic() + _PREFECT_SECONDS
        while status.prefect_api_url is None and time.monotonic() < deadline:
            time.sleep(0.2)
            step.tick()
            status = presence.read_status() or status
    return status


def _tail(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")[-2000:]
    return ""


def _end_web(web: subprocess.Popen[bytes]) -> None:
    # Flask's reloader is a second process of the same session
    for sig in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(web.pid, sig)
        with suppress(subprocess.TimeoutExpired):
            web.wait(5)


def _end_runner(presence: Presence) -> None:
    status = presence.read_status()
    if status is None:
        return
    with Step("Ending the job runner and Prefect") as step:
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(status.pid, sig)
            deadline = time.monotonic() + _STOP_SECONDS
            while is_alive(status.pid, status.pid_started) and time.monotonic() < deadline:
                time.sleep(0.1)
                step.tick()
