"""
The process of the local Prefect server: ``python -P prefect_server_main.py <port> <parent pid>``.

It imports nothing of this package and nothing of pygeoapi (+50 MiB that the server has no use for). All settings
come through the environment that :class:`~pygeoapi_prefect.runner.prefect_server.LocalPrefectServer` composes.
"""

import asyncio
import ctypes
import os
import signal
import sys
from importlib import metadata
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1
"""Source: prctl(2)."""

ORPHANED = signal.SIGHUP
"""What the kernel sends when the parent is gone. Not SIGTERM: see :func:`die_with_parent`."""

GRACE_SECONDS = 1.5
"""How long the server may take to close its connections and its database after the parent has died."""

NICENESS = 10
"""Jobs and the web process come first: on two cores a busy Prefect server would slow both."""


def die_with_parent(parent_pid: int) -> None:
    """
    Make sure that this process ends within :data:`GRACE_SECONDS` of its parent, however that one ends. Measured: 0.2 s.

    The kernel sends the signal already when the *thread* that started us ends. So the handler asks whether the
    process is still there and lets that case pass; the signal comes again with the next of its threads, and with
    the process.
    """

    def end(_signum: int, _frame: FrameType | None) -> None:
        if os.getppid() != parent_pid:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)
            os.kill(os.getpid(), signal.SIGTERM)  # uvicorn's own handler; before it is there, the default: death

    signal.signal(ORPHANED, end)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(ORPHANED), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:  # it died before we asked
        sys.exit(1)


def make_database() -> None:
    """
    Make or migrate the database in a child, once for each version of Prefect.

    The server would do it itself, and keep 25 MiB of what that needs until it is restarted. When it fails here, the
    server tries again and its log tells why.
    """
    marker, version = Path("database-made-by"), metadata.version("prefect")
    if marker.exists() and marker.read_text() == version:
        return
    maker_pid = os.fork()
    if maker_pid == 0:
        status = 1
        try:
            die_with_parent(os.getppid())
            from prefect.server.database import provide_database_interface

            asyncio.run(provide_database_interface().create_db())
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(maker_pid, 0)[1] == 0:
        marker.write_text(version)


def main() -> None:
    """Serve until SIGTERM, SIGINT or the end of the parent."""
    port, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent_pid)
    os.nice(NICENESS)
    make_database()

    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(
        create_app(final=True),  # with fastapi before 0.137 Prefect drops 50 MiB then
        host="127.0.0.1",
        port=port,
        log_level="warning",
        access_log=False,
        workers=1,
        lifespan="on",
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
