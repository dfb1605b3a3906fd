"""Connections that libraries keep with the credentials that they found in the environment."""

import sys


def forget_connections() -> None:
    """
    Let object stores be opened anew, with the credentials that the environment has then.

    fsspec keeps file systems by their arguments, and boto3 a session: what one job has opened with its user's
    credentials the next job of the pool worker would use as well. Whoever holds such an object goes on to use it.
    """
    if "fsspec" in sys.modules:
        import fsspec

        for driver in list(fsspec.registry.values()):
            driver.clear_instance_cache()
    if "boto3" in sys.modules:
        sys.modules["boto3"].DEFAULT_SESSION = None  # type: ignore[attr-defined]  # boto3 has no types
