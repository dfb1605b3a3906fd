"""Records of the job store. All are frozen; every time is aware and UTC."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any
from uuid import UUID

from pygeoapi_prefect.exceptions import (
    JobFailedError,
    PygeoapiPrefectError,
    ResultNotAvailableError,
    ResultNotReadyError,
)
from pygeoapi_prefect.identity.user import User
from pygeoapi_prefect.references.addresses import without_secrets
from pygeoapi_prefect.schemas import JobStatus

HIDDEN = "(secret)"
"""What is shown of an input that nobody may read."""

MAX_LOG_LINES = 10_000
"""A job's log has no more, wherever it comes from."""


def utc_now() -> datetime:
    """Now, aware, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """
    By which a client may send an execute request again without making a second job.

    Attributes:
        key: The client's; at most 255 characters.
        request_digest: Of process and request: the same key with another one is refused.
    """

    key: str
    request_digest: str


@dataclass(frozen=True, slots=True)
class JobSecrets:
    """
    What nobody but the job itself may read.

    Attributes:
        inputs: The secret ones of the execute request, by their ids.
        access_token: Of who submitted the job, where its process asks for it; else empty.
    """

    inputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    access_token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.inputs or self.access_token)

    def hide(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The execute request without them: all that others see. It tells which there are."""
        hidden = dict.fromkeys(self.inputs, HIDDEN)
        return {
            **request,
            "inputs": {**(request.get("inputs") or {}), **hidden},
            "secret_inputs": list(self.inputs),
            **({"has_access_token": True} if self.access_token else {}),
        }

    def fill(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The execute request with them."""
        return {**request, "inputs": {**(request.get("inputs") or {}), **self.inputs}}

    def to_json(self) -> dict[str, Any]:
        return {"inputs": dict(self.inputs), "access_token": self.access_token}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "JobSecrets":
        return cls(values["inputs"], values["access_token"])


@dataclass(frozen=True, slots=True)
class NewJob:
    """
    A job that is not stored yet.

    Attributes:
        job_id: Unique in the job store; at most 64 characters.
        process_id: Key of the process in the configuration.
        request: The execute request: ``inputs``, with :data:`HIDDEN` in the place of secret ones, ``outputs``,
            ``response``, and what :meth:`JobSecrets.hide` adds. JSON. ``subscriber``, URLs by :class:`CallbackKind`, is
            stored apart: the process and the operators see the rest.
        recorded: Whether the job shall be recorded in Prefect.
        idempotency_key: Kept as long as the job; None: each request makes a job.
        user: Who submits it; None: nobody is known.
        sealed: Its secrets, encrypted; None: it has none.
        trace_parent: The span that the job belongs to. Source: W3C Trace Context, ``traceparent``.
    """

    job_id: str
    process_id: str
    request: Mapping[str, Any]
    recorded: bool = True
    created: datetime = field(default_factory=utc_now)
    idempotency_key: IdempotencyKey | None = None
    user: User | None = None
    sealed: str | None = field(default=None, repr=False)
    trace_parent: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """
    The right to finish a job.

    Attributes:
        job_id: The job.
        number: Fencing number, one higher at each claim of the job. An outcome of an older claim is refused.
    """

    job_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a job failed, fit for its client. Source: RFC 9457; ``type`` from OGC 18-062r2 where it has one."""

    status: int
    type: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        return {"status": self.status, "type": self.type, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    How a job ended.

    Attributes:
        status: ``successful``, ``failed`` or ``dismissed``.
        message: For the job's ``message``; the reason where it failed.
        media_type: Of what the process returned; None where it returned nothing.
        result: Manifest of the stored result (:mod:`pygeoapi_prefect.results`); None unless successful.
        problem: Set exactly for failed jobs.
        usage: What the job has used, as :meth:`~pygeoapi_prefect.telemetry.usage.UsageMeter.report` gives it; None: not
            known, as of a job that was stopped.
        metrics: Names and values that its handlers measured, for the runner; they are not stored.
    """

    status: JobStatus
    message: str
    media_type: str | None = None
    result: Mapping[str, Any] | None = None
    problem: Problem | None = None
    usage: Mapping[str, float] | None = None
    metrics: Sequence[tuple[str, float]] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Outcome":
        problem = values["problem"]
        return cls(
            status=JobStatus(values["status"]),
            message=values["message"],
            media_type=values["media_type"],
            result=values["result"],
            problem=Problem(**problem) if problem else None,
            usage=_usage(values.get("usage")),
            metrics=_metrics(values.get("metrics")),
        )

    @classmethod
    def failed(cls, message: str, *, status: int = 500, type_: str = "about:blank") -> "Outcome":
        """A failure with *message* as its reason, answered with HTTP *status* to a synchronous request."""
        return cls(JobStatus.FAILED, message, problem=Problem(status, type_, message))


def _usage(values: Any) -> dict[str, float] | None:
    """Outcomes come from where jobs run: whatever else stands there is passed over."""
    if not isinstance(values, Mapping):
        return None
    return {str(key): value for key, value in values.items() if isinstance(value, int | float)}


def _metrics(values: Any) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for entry in values if isinstance(values, list) else ():
        match entry:
            case [str() as name, int() | float() as value]:
                found.append((name, float(value)))
    return found


@dataclass(frozen=True, slots=True)
class Job:
    """
    A stored job.

    Attributes:
        number: Order of arrival, rising.
        claim_number: 0 until a runner first claims the job.
        progress: Percent, 0 to 100; 100 exactly when successful. Never falls.
        flow_run_id: The Prefect flow run, once it is recorded.
        subscribed: Whether somebody wants to be called back.
        owner: Whose it is: :attr:`~pygeoapi_prefect.identity.User.key` of who submitted it; None: nobody was known.
    """

    number: int
    job_id: str
    process_id: str
    status: JobStatus
    message: str
    progress: int
    created: datetime
    updated: datetime
    started: datetime | None
    finished: datetime | None
    recorded: bool
    claim_number: int
    runner_id: str | None
    media_type: str | None
    problem: Problem | None
    flow_run_id: UUID | None
    subscribed: bool = False
    owner: str | None = None

    @property
    def claim(self) -> Claim:
        return Claim(self.job_id, self.claim_number)

    def why_no_result(self) -> PygeoapiPrefectError | None:
        """The error that stands for its result: of the failure, the dismissal, or that it goes on; None: successful."""
        match self.status:
            case JobStatus.SUCCESSFUL:
                return None
            case JobStatus.FAILED:
                return JobFailedError(
                    self.message,
                    job_id=self.job_id,
                    http_status_code=self.problem.status if self.problem else HTTPStatus.INTERNAL_SERVER_ERROR,
                    ogc_exception_code=self.problem.type if self.problem else "about:blank",
                )
            case JobStatus.DISMISSED:
                return ResultNotAvailableError(user_msg="The job was dismissed.")
        return ResultNotReadyError()


@dataclass(frozen=True, slots=True)
class JobDetails:
    """
    A job with what may be large.

    Attributes:
        request: The execute request: ``inputs``, ``outputs``, ``response``.
        result: Manifest of the stored result; None unless the job was successful.
        user: Who submitted it, as they were then; None: nobody was known, or the job was deleted.
        usage: As :class:`Outcome` has it; None: not known.
        trace_parent: As :class:`NewJob` has it.
    """

    job: Job
    request: Mapping[str, Any]
    result: Mapping[str, Any] | None
    user: User | None = None
    usage: Mapping[str, float] | None = None
    trace_parent: str | None = None

    @property
    def has_secrets(self) -> bool:
        """Whether :class:`JobSecrets` belong to it, until it ends."""
        return bool(self.request.get("secret_inputs") or self.request.get("has_access_token"))

    def readable_inputs(self) -> dict[str, Any]:
        """The inputs, with those that nobody shall read replaced."""
        return readable_inputs(self.request)


def readable_inputs(request: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of an execute request, with those that nobody shall read replaced, and links without their queries."""
    inputs = request.get("inputs")
    secret = set(request.get("secret_inputs") or ())
    if not isinstance(inputs, Mapping):
        return {}
    return {name: HIDDEN if name in secret else _readable(value) for name, value in inputs.items()}


def _readable(value: Any) -> Any:
    """Whoever reads a presigned URL may read what it leads to."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [_readable(item) for item in value]
    if isinstance(value, dict) and isinstance(value.get("href"), str):
        return {**value, "href": without_secrets(value["href"])}
    return value


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a job's log; *level* as in :mod:`logging`. The job store cuts *text* at 8192 characters."""

    time: datetime
    level: int
    logger: str
    text: str

    def __post_init__(self) -> None:
        if self.time.tzinfo is None:
            raise ValueError("The time of a log line must be aware.")


@dataclass(frozen=True, slots=True)
class RunnerRecord:
    """
    A runner that is, or was, alive.

    Attributes:
        host: Identifies the machine, its boot and its process namespace, where *pid* and *pid_started* hold.
        pid_started: When the process started, in seconds since the epoch: tells a reused process id.
    """

    runner_id: str
    host: str
    pid: int
    pid_started: float


@dataclass(frozen=True, slots=True)
class Recording:
    """
    A job that Prefect does not show completely yet.

    Attributes:
        flow_run_id: None until the flow run is created.
        logs_sent: How many lines of the job's log Prefect has.
        details: The job as it is, or as it was when it was deleted before Prefect had it.
        is_deleted: Whether the job itself is gone, and its log with it.
    """

    job_id: str
    process_id: str
    flow_run_id: UUID | None
    logs_sent: int
    details: JobDetails
    is_deleted: bool


class CallbackKind(StrEnum):
    """What a client is called back for. Source: OGC 18-062r2, ``subscriber.yaml``."""

    SUCCESS = "successUri"
    IN_PROGRESS = "inProgressUri"
    FAILED = "failedUri"


@dataclass(frozen=True, slots=True)
class Callback:
    """
    A call that one runner shall make.

    Attributes:
        url: Of the client. It may hold a secret: it is shown to nobody.
        host: Of the URL, with its port.
        news: Counts what was to be told of this kind, from 1: the same number is the same news.
        claim_number: One higher at each claim. What an older claim says is refused.
        failures: Calls since the last one that arrived.
        job: As it is now.
    """

    number: int
    kind: CallbackKind
    url: str = field(repr=False)
    host: str
    news: int
    claim_number: int
    failures: int
    job: Job


@dataclass(frozen=True, slots=True)
class Outlook:
    """
    What is there for one runner to do.

    Attributes:
        claims: The claims that the runner still holds. A job that it works on and that is not here is to be stopped.
        jobs_wait: Whether any job waits to be claimed.
        cleanups_wait: Whether processors shall remove the resources of deleted jobs.
        callbacks_wait: Whether anybody is to be called back now.
    """

    claims: frozenset[Claim]
    jobs_wait: bool
    cleanups_wait: bool
    callbacks_wait: bool = False


@dataclass(frozen=True, slots=True)
class StoreLoad:
    """
    What all runners together have to do.

    Attributes:
        jobs: How many have not ended, by process and status.
        queue_length: How many jobs wait for a runner.
        oldest_waits: Seconds since the oldest of them was accepted; 0 where none waits.
        recordings: Jobs that Prefect does not show completely yet.
        callbacks: Calls to be made, now or later.
        runners: How many hold a lease.
    """

    jobs: Mapping[tuple[str, JobStatus], int]
    queue_length: int
    oldest_waits: float
    recordings: int
    callbacks: int
    runners: int
