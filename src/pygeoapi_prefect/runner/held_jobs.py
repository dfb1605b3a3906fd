"""The jobs that a runner holds, in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from pygeoapi_prefect.jobs import Claim, JobDetails, JobSecrets, LogLine, Outcome


@dataclass(eq=False)
class HeldJob:
    """
    A job that a pool worker or a flow run executes.

    Attributes:
        secrets: Of the job; empty where it was handed over before this runner held it.
        began: When the work began; None: it has not.
        deadline: Monotonic seconds at which it has run as long as it may; None: no limit, or not begun.
        lines: Of its log, not written yet.
        lines_written: How many are.
        progress: Percent and message, not written yet.
        flow_run_id: The flow run that executes it.
        flow_run_kept: Whether the job store has *flow_run_id*.
        is_stopping: Whether it is being stopped.
        stopped_for: Its outcome then; None: it ended elsewhere, by a dismissal.
    """

    details: JobDetails
    secrets: JobSecrets = field(default_factory=JobSecrets, repr=False)
    deadline: float | None = None
    lines: list[LogLine] = field(default_factory=list)
    lines_written: int = 0
    progress: tuple[int, str | None] | None = None
    flow_run_id: UUID | None = None
    flow_run_kept: bool = False
    is_stopping: bool = False
    stopped_for: Outcome | None = None
    began: datetime | None = None

    def __post_init__(self) -> None:
        self.began = self.details.job.started

    @property
    def claim(self) -> Claim:
        return self.details.job.claim

    @property
    def job_id(self) -> str:
        return self.details.job.job_id

    @property
    def process_id(self) -> str:
        return self.details.job.process_id

    @property
    def has_news(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.lines or self.progress or (self.flow_run_id and not self.flow_run_kept))

    def add_progress(self, percent: int, message: str | None) -> None:
        """Note the progress; a message stays until the next one."""
        last_message = self.progress[1] if self.progress else None
        self.progress = percent, message or last_message


@dataclass(eq=False)
class DeployedJob(HeldJob):
    """
    A job that was handed over to Prefect.

    Attributes:
        has_begun: Whether its flow run has.
        handed_over_at: Monotonic seconds.
        look_at: When to look at its log next, in monotonic seconds.
        look_for_worker_at: When to ask for the workers of its work pool next, likewise.
        is_looked_at: Whether somebody does.
        is_collected: Whether its end was seen, and its outcome is being fetched.
        last_message: That its flow run gave.
        job_variables: What its handlers want of the work pool.
    """

    has_begun: bool = False
    handed_over_at: float = 0.0
    look_at: float = 0.0
    look_for_worker_at: float = 0.0
    is_looked_at: bool = False
    is_collected: bool = False
    logs_read: int = 0
    last_message: str | None = None
    job_variables: Mapping[str, Any] = field(default_factory=dict)
