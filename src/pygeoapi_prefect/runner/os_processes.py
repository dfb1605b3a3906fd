"""What the operating system does for us. Linux in full; elsewhere without parent-death signals and subreapers."""

import ctypes
import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends, busy in C code or not."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:
            os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, ``setsid`` or not."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def in_child(ask: Callable[[], Any]) -> Any:
    """
    What *ask* returns in a forked child, whose memory is gone afterwards.

    Args:
        ask: Returns something that JSON can hold. The calling process must be single-threaded.

    Returns:
        None when the child failed.
    """
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read_fd)
            with os.fdopen(write_fd, "w") as answer:
                json.dump(ask(), answer)
        finally:
            os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else None


def this_host() -> str:
    """Names the machine, its boot and the namespace in which process ids mean anything."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def start_time(pid: int) -> float:
    """When the process started, in seconds since the epoch. Raises psutil.NoSuchProcess."""
    return psutil.Process(pid).create_time()


def is_alive(pid: int, started: float) -> bool:
    """Whether the process that had *pid* and started at *started* lives."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int) -> list[psutil.Process]:
    """Children, their children and so on, living at the moment of the call."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def send(sig: int, processes: Iterable[psutil.Process]) -> None:
    """Send a signal to each process that still is the one it was."""
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.send_signal(sig)


def kill_descendants(pid: int, *, but: Iterable[int] = ()) -> None:
    """
    Kill every descendant, those that appear meanwhile included; returns when none is left.

    Args:
        pid: Whose.
        but: Children of *pid* that stay, with their own descendants.
    """
    spared = set(but)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        doomed = []
        try:
            children = psutil.Process(pid).children()
        except psutil.NoSuchProcess:
            return
        for child in children:
            if child.pid not in spared:
                doomed += [child, *descendants(child.pid)]
        doomed = [process for process in doomed if _runs(process)]
        if not doomed:
            return
        send(signal.SIGKILL, doomed)
        time.sleep(0.01)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class FileLock:
    """
    A lock of the kernel on a file: gone with its process, whatever ends it.

    A forked child shares the lock, so take it after the last fork. Not for network file systems.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self, *, shared: bool = False, wait: bool = False) -> bool:
        """Take the lock; False when others hold it and *wait* is False."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
        try:
            fcntl.flock(self._file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def is_free(self) -> bool:
        """Whether nobody holds the lock; for a lock that this object does not hold itself."""
        free = self.acquire()
        self.release()
        return free
