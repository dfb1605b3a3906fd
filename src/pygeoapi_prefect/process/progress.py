"""Progress of the job that the calling code runs in."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOGGER = logging.getLogger(__name__)

_report: Callable[[int, str | None], None] | None = None
_lock = threading.Lock()


def report_progress(percent: float, message: str | None = None) -> None:
    """
    Tell how far the job is; shown by ``GET /jobs/{jobId}`` and in Prefect while the job runs.

    Call it from any code and any thread of the job's process, and of processes that it forks. Outside a job it only
    writes a debug log line. The progress of a job never goes backwards, and 100 is reached by success alone.

    Args:
        percent: From 0 to 100.
        message: What the job is doing, for its user; None keeps the last message.

    Raises:
        ValueError: *percent* is not between 0 and 100.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"progress must be between 0 and 100 percent, not {percent!r}")
    with _lock:
        if _report is not None:
            _report(int(percent), message)
            return
    LOGGER.debug("progress outside a job", extra={"action": "report_progress", "percent": percent})


def report_to(report: Callable[[int, str | None], None] | None) -> None:
    """From now on the calling process runs one job, whose progress *report* takes; None: it runs none."""
    global _report  # noqa: PLW0603 one job at a time in a process
    with _lock:
        _report = report


@contextmanager
def progress_goes_to(report: Callable[[int, str | None], None]) -> Iterator[None]:
    """For the time of the block the calling process runs one job, whose progress *report* takes."""
    report_to(report)
    try:
        yield
    finally:
        report_to(None)
