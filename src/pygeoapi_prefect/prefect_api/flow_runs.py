"""Flow runs: created, told and asked their state, with logs and progress."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from pygeoapi_prefect.jobs.records import LogLine
from pygeoapi_prefect.prefect_api.client import Client, PrefectRefusedError, encoded

FlowRunStateType = Literal[
    "SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED", "PAUSED", "CANCELLING"
]
"""The type of a flow run's state; its name is free text. Source: ``prefect.client.schemas.objects.StateType``."""

LOGS_PER_REQUEST = 500
"""Bounds how long one request holds the server's database. The API itself takes any number."""

LOG_BYTES_PER_REQUEST = 3_000_000
"""Of encoded logs. Prefect's own client sends at most ``batch_size - max_log_size`` = 3 000 000 bytes at once."""

LOG_MESSAGE_CHARACTERS = 25_000
"""Longer messages are cut. Source: Prefect's ``PREFECT_CLOUD_MAX_LOG_SIZE``; a server of one's own would take more."""

CUT_MARK = "… [truncated]"

IDS_PER_REQUEST = 200
"""Source: ``PREFECT_SERVER_API_DEFAULT_LIMIT``, the default and the largest limit of every ``/filter`` route."""


PROGRESS_REQUESTS = 5
"""How many requests look for the bars of :data:`IDS_PER_REQUEST` runs, each for 200 bars, newest first."""


class FlowRunNotFoundError(PrefectRefusedError):
    """
    Prefect has no such flow run, or no such artifact: somebody deleted it, or its database was replaced.

    Says nothing about the job, which lives in the job store.
    """


@dataclass(frozen=True, slots=True)
class FlowRunState:
    """
    What Prefect says of a flow run at one time.

    Attributes:
        type: What the state means; the other attributes are for people.
        name: Shown in the UI, such as ``Late`` for SCHEDULED.
        message: Shown with the state; may hold the text of an exception.
        timestamp: When the run reached the state, by the server's clock, aware; None for a run that never had one.
    """

    type: FlowRunStateType
    name: str
    message: str | None
    timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class Progress:
    """
    How far a flow run says that it is.

    Attributes:
        percent: 0 to 100.
        description: Markdown, by the flow's author.
    """

    percent: float
    description: str | None


class FlowRuns(Client):
    """Creates and follows flow runs."""

    def create_flow_run(
        self,
        *,
        flow_name: str,
        name: str,
        parameters: Mapping[str, Any],
        tags: Iterable[str] = (),
        idempotency_key: str,
        state_type: FlowRunStateType,
        state_name: str | None = None,
        state_message: str | None = None,
    ) -> UUID:
        """
        Create a flow run, or find the one that an earlier call with the same key created.

        A run found keeps its name, parameters and state: set the state afterwards if that matters.

        Args:
            flow_name: See :meth:`flow_id`.
            name: Of the run; need not be unique.
            parameters: JSON, at most 512 KiB, for everybody to see. No secrets.
            tags: To filter by in the UI.
            idempotency_key: Unique within the flow.
            state_type: The first state. SCHEDULED would be picked up by nobody: such a run has no deployment.
            state_name: Shown in the UI; None for the type's own name.
            state_message: Shown with the state.

        Returns:
            The flow run's id.
        """
        body = {
            "name": name,
            "parameters": dict(parameters),
            "tags": sorted(set(tags)),
            "idempotency_key": idempotency_key,
            "state": {"type": state_type, "name": state_name, "message": state_message},
        }
        return UUID(self._call_with_flow("/flow_runs/", flow_name, body)["id"])

    def set_flow_run_state(
        self,
        flow_run_id: UUID,
        *,
        state_type: FlowRunStateType,
        state_name: str | None = None,
        message: str | None = None,
        force: bool = True,
    ) -> bool:
        """
        Give a flow run a new state, with the time of the server's clock.

        Args:
            flow_run_id: Of the run.
            state_type: The new state's type.
            state_name: Shown in the UI; None for the type's own name.
            message: Shown with the state.
            force: Whether Prefect's rules of orchestration are passed over. True for runs that only we write; False
                to ask for Cancelling, which a run that has already ended refuses.

        Returns:
            Whether Prefect took the state as it is; always True with *force*.

        Raises:
            FlowRunNotFoundError: The flow run was deleted.
        """
        state = {"type": state_type, "name": state_name, "message": message}
        answer = self._call(
            "POST",
            f"/flow_runs/{flow_run_id}/set_state",
            {"state": state, "force": force},
            missing=FlowRunNotFoundError,
        )
        return bool(answer["status"] == "ACCEPT")

    def find_flow_runs(self, *, tags: Iterable[str]) -> list[UUID]:
        """
        The flow runs that have all of *tags*, in whatever state and of whatever flow.

        Returns:
            Their ids, at most :data:`IDS_PER_REQUEST`.
        """
        body = {"flow_runs": {"tags": {"all_": sorted(tags)}}, "limit": IDS_PER_REQUEST}
        return [UUID(run["id"]) for run in self._call("POST", "/flow_runs/filter", body)]

    def flow_run_states(self, flow_run_ids: Iterable[UUID]) -> dict[UUID, FlowRunState | None]:
        """
        The present states of many flow runs, in requests of :data:`IDS_PER_REQUEST`.

        Args:
            flow_run_ids: Any number; none makes no request.

        Returns:
            One entry for each id asked for; None where the run was deleted.
        """
        states: dict[UUID, FlowRunState | None] = dict.fromkeys(flow_run_ids)
        for asked in _portions(states):
            body = {"flow_runs": {"id": {"any_": asked}}, "limit": len(asked)}
            states |= {UUID(run["id"]): _state(run["state"]) for run in self._call("POST", "/flow_runs/filter", body)}
        return states

    def write_logs(self, flow_run_id: UUID, lines: Iterable[LogLine]) -> None:
        """
        Add lines to a flow run's log, in requests of bounded count and size.

        Prefect takes lines for runs that it does not have, and drops them later: a deleted run is no error here.

        Args:
            flow_run_id: Of the run.
            lines: Any number; none makes no request. Where a request fails, those before it have been written.
        """
        for batch in _batches(_encoded_line(flow_run_id, line) for line in lines):
            self._call("POST", "/logs/", content=b"[" + b",".join(batch) + b"]")

    def flow_run_logs(self, flow_run_id: UUID, *, after: int = 0, limit: int = 200) -> list[LogLine]:
        """
        Read a flow run's log, that of its task runs included, by the time of each line.

        Prefect numbers no lines, and workers and flows send theirs every two seconds: a line may arrive late and
        stand before one that was read already. Who reads on with *after* then reads one line twice and misses
        another. Read all from 0 once the run has ended and its log is to be complete.

        Args:
            flow_run_id: Of the run; the log of a deleted one is empty, or what is left of it.
            after: How many of the oldest lines to leave out.
            limit: At most so many lines, 1 to 200; a server of one's own may allow more or fewer
                (``PREFECT_SERVER_API_DEFAULT_LIMIT``).
        """
        body = {
            "logs": {"flow_run_id": {"any_": [str(flow_run_id)]}},
            "sort": "TIMESTAMP_ASC",
            "offset": after,
            "limit": limit,
        }
        return [
            LogLine(datetime.fromisoformat(log["timestamp"]), log["level"], log["name"], log["message"])
            for log in self._call("POST", "/logs/filter", body)
        ]

    def create_progress_artifact(
        self, flow_run_id: UUID, key: str, progress: float, description: str | None = None
    ) -> UUID:
        """
        Create the artifact that shows a flow run's progress as a bar.

        Args:
            flow_run_id: Of the run. Prefect does not check that it exists.
            key: Lower-case letters, digits and dashes; artifacts of one key make one history in the UI.
            progress: Percent, 0 to 100.
            description: Markdown, shown with the bar.

        Returns:
            The artifact's id.
        """
        body = {
            "type": "progress",
            "key": key,
            "data": _percent(progress),
            "description": description,
            "flow_run_id": str(flow_run_id),
        }
        return UUID(self._call("POST", "/artifacts/", body)["id"])

    def update_progress_artifact(self, artifact_id: UUID, progress: float) -> None:
        """
        Move the bar.

        Args:
            artifact_id: From :meth:`create_progress_artifact`.
            progress: Percent, 0 to 100.

        Raises:
            FlowRunNotFoundError: The artifact was deleted, alone or with its flow run.
        """
        self._call("PATCH", f"/artifacts/{artifact_id}", {"data": _percent(progress)}, missing=FlowRunNotFoundError)

    def progress_artifacts(self, flow_run_ids: Iterable[UUID]) -> dict[UUID, Progress]:
        """
        The bar of each flow run that was created or moved last.

        Bars of task runs do not count: one that is full says that a task has ended, not the run. Where a run's tasks
        have moved more than some thousand bars after its own, its own is not found.

        Args:
            flow_run_ids: Any number; none makes no request.

        Returns:
            An entry for each run that has a bar of its own.
        """
        found: dict[UUID, Progress] = {}
        for asked in _portions(flow_run_ids):
            wanted = set(asked)
            for request in range(PROGRESS_REQUESTS):
                body = {
                    "artifacts": {"flow_run_id": {"any_": asked}, "type": {"any_": ["progress"]}},
                    "sort": "UPDATED_DESC",
                    "offset": request * IDS_PER_REQUEST,
                    "limit": IDS_PER_REQUEST,
                }
                artifacts = self._call("POST", "/artifacts/filter", body)
                for artifact in artifacts:
                    of_run = artifact["flow_run_id"]
                    if (
                        artifact["task_run_id"] is None
                        and of_run in wanted
                        and isinstance(artifact["data"], int | float)
                    ):
                        wanted.remove(of_run)
                        found[UUID(of_run)] = Progress(_percent(artifact["data"]), artifact["description"])
                if not wanted or len(artifacts) < IDS_PER_REQUEST:
                    break
        return found


def flow_run_state(
    state_type: FlowRunStateType, name: str | None, message: str | None, timestamp: str | None
) -> FlowRunState:
    """A state from the words in which Prefect tells it."""
    at = datetime.fromisoformat(timestamp) if timestamp else None
    return FlowRunState(state_type, name or state_type.capitalize(), message or None, at)


def _state(state: Mapping[str, Any] | None) -> FlowRunState:
    if state is None:
        # A run that never had a state counts as pending, as it does for Prefect.
        return flow_run_state("PENDING", None, None, None)
    return flow_run_state(state["type"], state["name"], state["message"], state["timestamp"])


def _portions(flow_run_ids: Iterable[UUID]) -> Iterator[list[str]]:
    ids = [str(flow_run_id) for flow_run_id in dict.fromkeys(flow_run_ids)]
    for start in range(0, len(ids), IDS_PER_REQUEST):
        yield ids[start : start + IDS_PER_REQUEST]


def _percent(progress: float) -> float:
    return min(100.0, max(0.0, float(progress)))


def _encoded_line(flow_run_id: UUID, line: LogLine) -> bytes:
    message = line.text
    if len(message) > LOG_MESSAGE_CHARACTERS:
        message = message[: LOG_MESSAGE_CHARACTERS - len(CUT_MARK)] + CUT_MARK
    return encoded(
        {
            "name": line.logger,
            "level": int(line.level),
            "message": message,
            "timestamp": line.time.astimezone(UTC).isoformat(),
            "flow_run_id": str(flow_run_id),
        }
    )


def _batches(lines: Iterable[bytes]) -> Iterator[Sequence[bytes]]:
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if batch and (len(batch) == LOGS_PER_REQUEST or size + len(line) > LOG_BYTES_PER_REQUEST):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    if batch:
        yield batch
