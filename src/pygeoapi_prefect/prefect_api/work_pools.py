"""Work pools and their queues: found and created; who works there."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

from pygeoapi_prefect.prefect_api.client import Client, PrefectRefusedError, quoted

WORKERS_PER_REQUEST = 200
"""More are not counted. Source: ``PREFECT_SERVER_API_DEFAULT_LIMIT``."""


class WorkPoolNotFoundError(PrefectRefusedError):
    """Prefect has no such work pool, or no such queue in it."""


@dataclass(frozen=True, slots=True)
class WorkPool:
    """
    Where workers of one type find flow runs.

    Attributes:
        type: Such as ``process``, ``docker`` or ``kubernetes``.
        is_paused: Whether its workers are given nothing.
        status: READY when a worker lives, NOT_READY when none does, PAUSED; None where Prefect does not say.
        base_job_template: Of the infrastructure: ``job_configuration`` and the JSON Schema of its ``variables``.
        default_queue_id: The queue of deployments that name none.
        concurrency_limit: Runs at the same time; None: no limit.
    """

    name: str
    type: str
    is_paused: bool
    status: str | None
    base_job_template: Mapping[str, Any]
    default_queue_id: UUID | None
    concurrency_limit: int | None


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """
    A queue of a work pool.

    Attributes:
        is_paused: Whether its runs wait.
        status: READY when a worker has asked lately, NOT_READY, PAUSED; None where Prefect does not say.
        priority: 1 goes first.
        concurrency_limit: Runs at the same time; None: no limit.
    """

    queue_id: UUID
    name: str
    is_paused: bool
    status: str | None
    priority: int
    concurrency_limit: int | None


class WorkPools(Client):
    """Finds and creates work pools and queues."""

    def work_pool(self, name: str) -> WorkPool | None:
        """A work pool, or None when there is none of that name."""
        try:
            found = self._call("GET", _path(name), missing=WorkPoolNotFoundError)
        except WorkPoolNotFoundError:
            return None
        return WorkPool(
            name=found["name"],
            type=found["type"],
            is_paused=found["is_paused"],
            status=found["status"],
            base_job_template=found["base_job_template"],
            default_queue_id=UUID(found["default_queue_id"]) if found["default_queue_id"] else None,
            concurrency_limit=found["concurrency_limit"],
        )

    def create_work_pool(self, name: str, work_pool_type: str, base_job_template: Mapping[str, Any]) -> bool:
        """
        Create a work pool with a queue called ``default``. One of that name stays as it is; may be repeated.

        Args:
            name: Must not begin with ``prefect``, which Prefect reserves.
            work_pool_type: See :class:`WorkPool`. Prefect takes any.
            base_job_template: From :meth:`work_pool_types`; an empty one is filled in by the first worker.

        Returns:
            Whether it was created.

        Raises:
            PrefectRefusedError: The name is reserved, or the template is none.
        """
        if name.lower().startswith("prefect"):  # Prefect answers 403, which reads like a matter of credentials
            raise PrefectRefusedError(
                f"Work pool {name!r} cannot be created: Prefect reserves names that begin with 'prefect'.",
                status_code=HTTPStatus.FORBIDDEN,
            )
        body = {"name": name, "type": work_pool_type, "base_job_template": dict(base_job_template)}
        return self._was_created("/work_pools/", body)

    def work_pool_types(self) -> dict[str, Mapping[str, Any]]:
        """
        The default base job template of each type of worker that Prefect's makers publish.

        The server fetches the list from GitHub once in ten minutes, and has an older copy of its own for where that
        cannot be reached, which it finds out after 5 s.
        """
        packages = self._call("GET", "/collections/views/aggregate-worker-metadata")
        return {
            worker_type: metadata["default_base_job_configuration"]
            for worker_types in packages.values()
            for worker_type, metadata in worker_types.items()
        }

    def work_queue(self, work_pool_name: str, name: str) -> WorkQueue | None:
        """A queue of a work pool, or None when there is no such queue or no such pool."""
        try:
            found = self._call("GET", f"{_path(work_pool_name)}/queues/{quoted(name)}", missing=WorkPoolNotFoundError)
        except WorkPoolNotFoundError:
            return None
        return WorkQueue(
            queue_id=UUID(found["id"]),
            name=found["name"],
            is_paused=found["is_paused"],
            status=found["status"],
            priority=found["priority"],
            concurrency_limit=found["concurrency_limit"],
        )

    def create_work_queue(self, work_pool_name: str, name: str) -> bool:
        """
        Create a queue in a work pool, with the lowest priority. One of that name stays as it is; may be repeated.

        Returns:
            Whether it was created.

        Raises:
            WorkPoolNotFoundError: There is no such work pool.
        """
        return self._was_created(f"{_path(work_pool_name)}/queues", {"name": name})

    def living_workers(self, work_pool_name: str) -> int:
        """
        How many workers of a work pool report that they live.

        The server gives a worker up three of its intervals after its last report, and looks every 15 s: by default
        one that was killed counts for another 90 to 105 s.

        Raises:
            WorkPoolNotFoundError: There is no such work pool.
        """
        body = {"workers": {"status": {"any_": ["ONLINE"]}}, "limit": WORKERS_PER_REQUEST}
        found = self._call("POST", f"{_path(work_pool_name)}/workers/filter", body, missing=WorkPoolNotFoundError)
        return len(found)

    def _was_created(self, path: str, body: Mapping[str, Any]) -> bool:
        try:
            self._call("POST", path, body, missing=WorkPoolNotFoundError)
        except PrefectRefusedError as error:
            if error.status_code != HTTPStatus.CONFLICT:
                raise
            return False
        return True


def _path(work_pool_name: str) -> str:
    return f"/work_pools/{quoted(work_pool_name)}"
