"""
The process that pool workers are forked from.

It is forked from the runner before that has any thread, so it shares the memory of everything already imported, and
it stays single-threaded, so its own forks are safe. It is the parent of all pool workers and adopts whatever they
leave behind: it alone ends processes, so a process id that it signals cannot have been reused.

``multiprocessing``'s own forkserver does not adopt orphans, does not tell how a child ended, and keeps a tracker
process beside it.
"""

import gc
import json
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from pygeoapi_prefect.runner.os_processes import (
    adopt_orphans,
    descendants,
    die_with_parent,
    kill_descendants,
    send,
)

LOGGER = logging.getLogger(__name__)

_MESSAGE_BYTES = 4096
_STOP_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Forked:
    """A pool worker was started."""

    worker: int
    pid: int


@dataclass(frozen=True, slots=True)
class Exited:
    """A pool worker ended; *reason* says how, in words."""

    worker: int
    reason: str


class Forkserver:
    """
    The runner's handle of its forkserver.

    Args:
        run_worker: Runs in each forked pool worker, with its connection to the runner; returns when the worker ends.
        preload: Imports what all pool workers shall share, in the forkserver alone. It must start no thread.
    """

    def __init__(self, run_worker: Callable[[Connection], None], *, preload: Callable[[], None] | None = None) -> None:
        """Fork the forkserver. The calling process must be single-threaded."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # what is imported by now stays shared between runner, forkserver and pool workers
        gc.collect()
        gc.freeze()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            try:
                # no parent-death signal: it ends when the runner's end of the socket closes, after all that it adopted
                if preload is not None:
                    _preload(preload)
                _Server(theirs, run_worker).serve()
            finally:
                os._exit(0)
        theirs.close()
        ours.setblocking(False)
        self._socket = ours

    def fileno(self) -> int:
        """Readable when :meth:`receive` has something."""
        return self._socket.fileno()

    def fork(self, worker: int, connection: Connection, *, spawn: bool) -> None:
        """Start pool worker number *worker* on its end of a connection. *spawn*: with an interpreter of its own."""
        message = json.dumps({"do": "fork", "worker": worker, "spawn": spawn}).encode()
        self._socket.setblocking(True)
        socket.send_fds(self._socket, [message], [connection.fileno()])
        self._socket.setblocking(False)

    def stop(self, worker: int, *, grace: float) -> None:
        """End a pool worker and everything it started: politely, and after *grace* seconds for good."""
        self._socket.setblocking(True)
        self._socket.send(json.dumps({"do": "stop", "worker": worker, "grace": grace}).encode())
        self._socket.setblocking(False)

    def receive(self) -> list[Forked | Exited]:
        """
        What happened since the last call.

        Raises:
            EOFError: The forkserver itself ended, and its pool workers with it.
        """
        events: list[Forked | Exited] = []
        while True:
            try:
                message = self._socket.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return events
            except OSError as error:
                raise EOFError from error
            if not message:
                raise EOFError
            values = json.loads(message)
            events.append(Forked(**values) if "pid" in values else Exited(**values))

    def close(self) -> None:
        """End the forkserver and every pool worker."""
        self._socket.close()
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


class _Server:
    def __init__(self, control: socket.socket, run_worker: Callable[[Connection], None]) -> None:
        self._control = control
        self._run_worker = run_worker
        self._workers: dict[int, int] = {}  # pid -> number
        self._stops: dict[int, float] = {}  # pid -> deadline
        self._child_read, self._child_write = os.pipe()

    def serve(self) -> None:
        adopt_orphans()
        os.set_blocking(self._child_write, False)
        for sig in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sig, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._child_write, warn_on_full_buffer=False)
        selector = selectors.DefaultSelector()
        selector.register(self._control, selectors.EVENT_READ)
        selector.register(self._child_read, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(_STOP_POLL_SECONDS if self._stops else None):
                if key.fd == self._child_read:
                    os.read(self._child_read, 512)
                elif not self._obey():
                    self._end()
                    return
            self._reap()
            self._end_overdue()

    def _obey(self) -> bool:
        try:
            message, fds, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 1)
        except OSError:
            return False
        if not message:
            return False
        order = json.loads(message)
        if order["do"] == "fork":
            self._fork(order["worker"], fds[0], spawn=order["spawn"])
        else:
            self._stop(order["worker"], order["grace"])
        return True

    def _fork(self, number: int, fd: int, *, spawn: bool) -> None:
        forkserver_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
                    signal.signal(sig, signal.SIG_DFL)
                for unused in (self._child_read, self._child_write):
                    os.close(unused)
                self._control.close()
                os.setsid()
                adopt_orphans()
                die_with_parent(forkserver_pid)
                if spawn:
                    os.set_inheritable(fd, True)
                    module = "pygeoapi_prefect.runner.pool_worker"
                    os.execv(sys.executable, [sys.executable, "-m", module, str(fd)])  # noqa: S606 our own module
                self._run_worker(Connection(fd))
            except SystemExit:
                pass
            finally:
                os._exit(0)
        os.close(fd)
        self._workers[pid] = number
        self._tell({"worker": number, "pid": pid})

    def _stop(self, number: int, grace: float) -> None:
        for pid, worker in self._workers.items():
            if worker == number:
                self._stops[pid] = time.monotonic() + grace
                send(signal.SIGTERM, descendants(pid))
                os.kill(pid, signal.SIGTERM)

    def _end_overdue(self) -> None:
        for pid, deadline in list(self._stops.items()):
            if time.monotonic() < deadline:
                # a worker that is gone may have left processes that still take leave
                if pid in self._workers or self._orphans():
                    continue
            elif pid in self._workers:
                kill_descendants(pid)
                os.kill(pid, signal.SIGKILL)
            del self._stops[pid]
            if not self._stops:
                self._kill_orphans()

    def _reap(self) -> None:
        somebody_left = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            number = self._workers.pop(pid, None)
            if number is not None:
                somebody_left = True
                self._tell({"worker": number, "reason": _reason(status)})
        if somebody_left and not self._stops:
            self._kill_orphans()

    def _orphans(self) -> bool:
        return any(
            process.ppid() == os.getpid() and process.pid not in self._workers for process in descendants(os.getpid())
        )

    def _kill_orphans(self) -> None:
        # children that are no workers were left by a worker that is gone: a living one adopts its own
        kill_descendants(os.getpid(), but=self._workers)

    def _end(self) -> None:
        signal.set_wakeup_fd(-1)
        self._control.close()
        kill_descendants(os.getpid())

    def _tell(self, values: dict[str, object]) -> None:
        with suppress(OSError):
            self._control.send(json.dumps(values).encode())


def _preload(preload: Callable[[], None]) -> None:
    try:
        preload()
    except Exception:
        # a pool worker that imports it by itself says why it cannot
        LOGGER.exception("preloading failed", extra={"action": "preload"})
    if threading.active_count() > 1:
        names = [thread.name for thread in threading.enumerate()]
        LOGGER.error("preloading started threads, which no fork survives", extra={"threads": names})
    gc.collect()
    gc.freeze()


def _reason(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with suppress(ValueError):
            return f"was killed by signal {number} ({signal.Signals(number).name})"
        return f"was killed by signal {number}"
    return f"ended with exit code {os.WEXITSTATUS(status)}"
