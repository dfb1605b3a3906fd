"""What a job has used of its machine."""

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

_MIB = 1024 * 1024
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
"""Unit of ``ru_maxrss``. Source: getrusage(2)."""

_FORGET_PEAK = "5"
"""Resets the peak of resident memory. Source: proc(5), ``clear_refs``."""


class UsageMeter:
    """
    Measures this process and its children from its making on.

    Of children those count that have ended and were waited for. Peak memory is that of the one process that had most:
    of this process since the making where Linux tells it, of a child when it had more than all children before.
    """

    def __init__(self) -> None:
        with suppress(OSError):
            # a pool worker has run other jobs before
            Path("/proc/self/clear_refs").write_text(_FORGET_PEAK)
        self._wall = time.monotonic()
        self._cpu = _cpu_seconds()
        self._child_peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        self._io = _io_bytes()

    def report(self) -> dict[str, float]:
        """``wall_seconds``, ``cpu_seconds``, ``peak_memory_mib``, and where known ``read_bytes``, ``written_bytes``."""
        peak = _own_peak_bytes()
        child_peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        if child_peak > self._child_peak:
            peak = max(peak, child_peak * _MAXRSS_BYTES)
        usage: dict[str, float] = {
            "wall_seconds": time.monotonic() - self._wall,
            "cpu_seconds": _cpu_seconds() - self._cpu,
            "peak_memory_mib": peak / _MIB,
        }
        io = _io_bytes()
        if io is not None and self._io is not None:
            usage |= {"read_bytes": io[0] - self._io[0], "written_bytes": io[1] - self._io[1]}
        return usage


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _own_peak_bytes() -> int:
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES


def _io_bytes() -> tuple[int, int] | None:
    """
    Bytes that were asked for and handed over, whether a disk had to move for them or not.

    Source: proc(5), ``io``. Read here: psutil takes longer than all the rest of a meter.
    """
    try:
        counters = dict(line.split(b": ") for line in Path("/proc/self/io").read_bytes().splitlines())
        return int(counters[b"rchar"]), int(counters[b"wchar"])
    except (OSError, ValueError, KeyError):
        return None
