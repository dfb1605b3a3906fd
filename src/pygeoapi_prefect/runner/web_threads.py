"""How many synchronous requests a web process may wait for, so that others still get through."""

import os
import sys

_WITHOUT_LIMIT = 16


def default_sync_waits() -> int:
    """
    Half the threads of this web process, at least 1.

    gunicorn tells its threads on the command line or in ``GUNICORN_CMD_ARGS``; one that sets them in a file is taken
    for a worker of one thread. Starlette runs requests on the event loop's default executor. Flask's own server
    starts a thread for each request.
    """
    if "gunicorn.arbiter" in sys.modules:
        return max(1, _gunicorn_threads() // 2)
    if "uvicorn" in sys.modules:
        return max(1, min(32, (os.cpu_count() or 1) + 4) // 2)
    return _WITHOUT_LIMIT


def _gunicorn_threads() -> int:
    from gunicorn.config import Config

    config = Config()
    arguments = [*config.get_cmd_args_from_env(), *sys.argv[1:]]
    known, _ = config.parser().parse_known_args(arguments)
    return int(known.threads or config.threads)
