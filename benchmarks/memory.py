"""Memory and processor time of a group of processes."""

import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

from servers import ServerGroup

KIBIBYTE = 1024


def pss_bytes(process_ids: list[int]) -> int:
    """
    Return the proportional set sizes of all these processes together.

    A page that several processes share counts once in the sum, so forked children are not counted twice.
    """
    total = 0
    for pid in process_ids:
        with suppress(OSError):
            for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * KIBIBYTE
                    break
    return total


class PeakMemory:
    """
    Samples the memory of a group in a thread, as often as it can, while the ``with`` block runs.

    A peak shorter than one sample, some 10 ms, can be missed.
    """

    def __init__(self, group: ServerGroup):
        self._group = group
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak_bytes = 0

    def _sample(self) -> None:
        while not self._ended.is_set():
            self.peak_bytes = max(self.peak_bytes, pss_bytes(self._group.process_ids()))
            self._ended.wait(0.005)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def _cpu_seconds(process_ids: list[int]) -> dict[int, float]:
    seconds = {}
    for pid in process_ids:
        with suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            seconds[pid] = times.user + times.system
    return seconds


def settle(group: ServerGroup, *, busy_share: float = 0.15, timeout_seconds: float = 60) -> bool:
    """
    Wait until the group is at rest, so that no figure pays for the work that the one before left behind.

    Args:
        group: Whose processes.
        busy_share: At rest is below this share of one core, over one second.
        timeout_seconds: After that time it goes on anyhow.

    Returns:
        Whether the group came to rest.
    """
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        before = _cpu_seconds(group.process_ids())
        started = time.monotonic()
        time.sleep(1)
        after = _cpu_seconds(group.process_ids())
        used = sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
        if used / (time.monotonic() - started) < busy_share:
            return True
    return False
