"""The pool workers of a runner."""

import json
import multiprocessing
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from pygeoapi_prefect.runner.forkserver import Exited, Forked, Forkserver


@dataclass(eq=False)
class PoolWorker:
    """
    A pool worker, as the runner sees it.

    Attributes:
        spawned: Whether it has an interpreter of its own.
        task: What it works on; None while it is idle.
        known_processes: Ids of processes whose code it has imported.
    """

    number: int
    connection: Connection
    spawned: bool
    pid: int | None = None
    task: Any = None
    tasks_done: int = 0
    known_processes: set[str] = field(default_factory=set)

    @property
    def is_idle(self) -> bool:
        return self.task is None and not self.connection.closed

    def fileno(self) -> int:
        return self.connection.fileno()


class Pool:
    """
    Warm pool workers, started when they are needed and kept.

    Args:
        forkserver: Starts and ends them.
        tasks_per_worker: After so many tasks a worker is replaced.
    """

    def __init__(self, forkserver: Forkserver, *, tasks_per_worker: int) -> None:
        self._forkserver = forkserver
        self._tasks_per_worker = tasks_per_worker
        self._last_number = 0
        self.workers: dict[int, PoolWorker] = {}

    def start_worker(self, *, spawned: bool = False) -> PoolWorker:
        """Start one more pool worker."""
        self._last_number += 1
        ours, theirs = multiprocessing.Pipe()
        worker = PoolWorker(self._last_number, ours, spawned)
        self.workers[worker.number] = worker
        self._forkserver.fork(worker.number, theirs, spawn=spawned)
        theirs.close()
        return worker

    def idle_worker(self, process_id: str, *, spawned: bool) -> PoolWorker | None:
        """An idle worker of that kind; one that has imported the process's code if there is one."""
        idle = [worker for worker in self.workers.values() if worker.is_idle and worker.spawned == spawned]
        return max(idle, key=lambda worker: process_id in worker.known_processes, default=None)

    def assign(self, worker: PoolWorker, process_id: str, task: Any, order: Mapping[str, Any]) -> bool:
        """Give an idle worker its task; False when the worker has ended meanwhile."""
        try:
            worker.connection.send_bytes(json.dumps(order).encode())
        except OSError:
            worker.connection.close()
            return False
        worker.task = task
        worker.known_processes.add(process_id)
        return True

    def release(self, worker: PoolWorker) -> None:
        """The worker's task is done; the worker is idle again, or retired after enough tasks."""
        worker.task = None
        worker.tasks_done += 1
        if worker.tasks_done >= self._tasks_per_worker:
            self.retire(worker)

    def retire(self, worker: PoolWorker) -> None:
        """Let an idle worker end."""
        worker.task = _RETIRED
        worker.connection.close()

    def stop(self, worker: PoolWorker, *, grace: float) -> None:
        """End a worker with all that its task started."""
        self._forkserver.stop(worker.number, grace=grace)

    def receive(self, worker: PoolWorker) -> list[dict[str, Any]]:
        """The messages that the worker has sent by now."""
        messages: list[dict[str, Any]] = []
        try:
            while not worker.connection.closed and worker.connection.poll():
                messages.append(json.loads(worker.connection.recv_bytes()))
        except (EOFError, OSError):
            worker.connection.close()
        return messages

    def process_events(self) -> list[tuple[PoolWorker, str]]:
        """Workers that have ended, each with the reason. Raises EOFError when the forkserver is gone."""
        ended = []
        for event in self._forkserver.receive():
            match event:
                case Forked(number, pid):
                    if number in self.workers:
                        self.workers[number].pid = pid
                case Exited(number, reason):
                    if worker := self.workers.pop(number, None):
                        ended.append((worker, reason))
        return ended


_RETIRED = object()
