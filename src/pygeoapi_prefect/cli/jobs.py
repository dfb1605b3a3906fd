"""``pygeoapi plugins prefect jobs``."""

import json
import logging
import time
from typing import Any

import click

from pygeoapi_prefect.exceptions import InvalidParameterError, JobStoreUnavailableError, UnknownJobError
from pygeoapi_prefect.identity import grantee_of
from pygeoapi_prefect.jobs import Job, JobFilter, JobStore
from pygeoapi_prefect.settings import ManagerSettings

_FOLLOW_SECONDS = 0.5


class _Jobs(click.Group):
    """Turns the job store's errors into the command line's."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (JobStoreUnavailableError, UnknownJobError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Jobs)
def jobs() -> None:
    """List, show, share and dismiss jobs, and read their logs. Needs the job store alone, no server."""


def _open(config: str | None) -> tuple[ManagerSettings, JobStore]:
    from pygeoapi_prefect.cli.configuration import open_job_store, read_settings

    settings = read_settings(config)
    return settings, open_job_store(settings)


@jobs.command("list")
@click.option("--status", multiple=True, help="Only jobs of this status; may be given several times.")
@click.option("--process-id", multiple=True, help="Only jobs of this process; may be given several times.")
@click.option("--datetime", "created", help="Only jobs created at this time, or within START/END; one may be '..'.")
@click.option("--min-duration", help="Only jobs that ran or have been running for so many seconds.")
@click.option("--max-duration", help="Only jobs that did not run for longer.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="At most so many.")
@click.option("--offset", default=0, show_default=True, type=click.IntRange(min=0), help="Without the first so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def list_jobs(
    config: str | None,
    status: tuple[str, ...],
    process_id: tuple[str, ...],
    created: str | None,
    min_duration: str | None,
    max_duration: str | None,
    limit: int,
    offset: int,
    as_json: bool,
) -> None:
    """List jobs, newest first."""
    once = {"datetime": created, "minDuration": min_duration, "maxDuration": max_duration}
    parameters = {name: [value] for name, value in once.items() if value is not None}
    try:
        job_filter = JobFilter.parse({"status": status, "processID": process_id, **parameters})
    except InvalidParameterError as error:
        raise click.UsageError(error.client_message) from error
    _, store = _open(config)
    found, number_matched = store.list_jobs(job_filter, limit=limit, offset=offset)
    for job in found:
        if as_json:
            click.echo(json.dumps(_to_json(job)))
        else:
            owner = f"  {job.owner}" if job.owner else ""
            line = f"{job.job_id}  {job.created:%Y-%m-%d %H:%M:%S}Z  {job.status.value:<10}  {job.process_id}"
            click.echo(line + owner)
    if number_matched > offset + len(found):
        click.echo(f"There are more. See them with --offset {offset + limit}.", err=True)


@jobs.command()
@click.argument("job_id")
@click.pass_obj
def show(config: str | None, job_id: str) -> None:
    """Show one job, with its inputs, whom it is shared with, and where Prefect shows it."""
    from pygeoapi_prefect.prefect_api import PrefectConnection
    from pygeoapi_prefect.runner.presence import Presence

    settings, store = _open(config)
    details = store.details(job_id)
    shown = _to_json(details.job) | {
        "request": dict(details.request) | {"inputs": details.readable_inputs()},
        "result": details.result,
        "shared_with": store.grantees(job_id),
        "usage": details.usage,
    }
    runner = Presence(settings.data_dir).read_status()
    if details.job.flow_run_id and runner and runner.prefect_api_url:
        connection = PrefectConnection(runner.prefect_api_url, ui_url=runner.prefect_ui_url)
        shown["prefect"] = connection.flow_run_url(details.job.flow_run_id)
    click.echo(json.dumps(shown, indent=2))


@jobs.command()
@click.argument("job_id")
@click.option("--subject", help="With this subject of an issuer.")
@click.option("--group", help="With everybody of this group.")
@click.option("--issuer", help="Of the subject or group; server.manager.auth.issuer by default.")
@click.option("--remove", is_flag=True, help="Share it with them no more.")
@click.pass_obj
def share(
    config: str | None, job_id: str, subject: str | None, group: str | None, issuer: str | None, remove: bool
) -> None:
    """Let others than the owner read a job: its status, its log and its results."""
    if (subject is None) == (group is None):
        raise click.UsageError("Name either --subject or --group.")
    settings, store = _open(config)
    if issuer is None and settings.auth is not None:
        issuer = settings.auth.issuer
    if issuer is None:
        raise click.UsageError("Name --issuer: the configuration has no server.manager.auth.")
    grantee = grantee_of(issuer, subject=subject, group=group)
    if not remove:
        store.share(job_id, grantee)
        click.echo(f"{job_id}  shared with {grantee}")
    elif store.unshare(job_id, grantee):
        click.echo(f"{job_id}  no longer shared with {grantee}")
    else:
        raise click.ClickException(f"Job {job_id} is not shared with {grantee}.")


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID…")
@click.pass_obj
def dismiss(config: str | None, job_ids: tuple[str, ...]) -> None:
    """Dismiss jobs that have not ended. Their work is stopped by the runner."""
    _, store = _open(config)
    for job_id in job_ids:
        dismissed = store.dismiss(job_id)
        click.echo(f"{job_id}  {'dismissed' if dismissed else 'had ended already'}")


@jobs.command()
@click.argument("job_id")
@click.option("--follow", is_flag=True, help="Go on until the job ends.")
@click.pass_obj
def logs(config: str | None, job_id: str, follow: bool) -> None:
    """Print a job's log."""
    _, store = _open(config)
    printed = 0
    while True:
        # the status is read first: what is logged before the end is printed before this command ends
        has_ended = store.status(job_id).is_terminal
        lines = store.logs(job_id, after=printed)
        for line in lines:
            level = logging.getLevelName(line.level)
            click.echo(f"{line.time:%Y-%m-%dT%H:%M:%S.%f}Z {level:<8} {line.logger}  {line.text}")
        printed += len(lines)
        if has_ended or not follow:
            return
        time.sleep(_FOLLOW_SECONDS)


def _to_json(job: Job) -> dict[str, Any]:
    values = {name: getattr(job, name) for name in Job.__dataclass_fields__ if name not in ("number", "problem")}
    return {name: value if isinstance(value, int | str | None) else str(value) for name, value in values.items()} | (
        {"problem": job.problem.to_json()} if job.problem else {}
    )
