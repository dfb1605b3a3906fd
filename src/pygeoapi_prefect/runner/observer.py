"""What those who watch a runner are told, and may ask."""

from dataclasses import dataclass

from pygeoapi_prefect.jobs import Outcome
from pygeoapi_prefect.runner.held_jobs import HeldJob
from pygeoapi_prefect.schemas import JobStatus


class JobObserver:
    """Is told in the runner's main thread what becomes of its jobs; this one does nothing with it."""

    def begun(self, job: HeldJob) -> None:
        """The work has begun."""

    def ended(self, job: HeldJob, status: JobStatus, outcome: Outcome | None = None) -> None:
        """The job has ended; *outcome* is what it left, unless it was dismissed."""

    def lost(self, process_id: str) -> None:
        """A job of the process has failed, because the runner that held it is gone."""


@dataclass(frozen=True, slots=True)
class RunnerUse:
    """
    How busy a runner is.

    Attributes:
        busy: Pool workers that work on a job, or for one.
        idle: Pool workers that are kept warm.
        limit: Jobs that may run in its pool at once.
        handed_over: Its jobs in deployments.
    """

    busy: int
    idle: int
    limit: int
    handed_over: int
