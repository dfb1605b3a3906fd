"""What a job needs of the place where it runs, looked at before it begins."""

import importlib.util
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from pydantic import Field

from pygeoapi_prefect.handlers.options import HandlerOptions

_MIB = 1024 * 1024
_CGROUP = Path("/sys/fs/cgroup")
"""Of this process, in a container. Source: Linux, admin-guide/cgroup-v2."""


class NeededResources(HandlerOptions):
    """
    What has to be there.

    Attributes:
        min_free_disk_mib: Where the job's temporary files are.
        min_memory_mib: Memory that can be had without swapping, within the limit of the container.
        commands: Programs on ``PATH``.
        environment_variables: That are set, and not empty.
        reachable: Files, folders and fsspec URLs that exist.
        modules: Python packages that are installed.
    """

    min_free_disk_mib: float | None = Field(default=None, gt=0)
    min_memory_mib: float | None = Field(default=None, gt=0)
    commands: Sequence[str] = ()
    environment_variables: Sequence[str] = ()
    reachable: Sequence[str] = ()
    modules: Sequence[str] = ()


def lacking(needed: NeededResources, scratch: str) -> Iterator[tuple[str, str]]:
    """
    What is not there: in words for the client, and in words for the operator.

    Args:
        needed: What the job needs.
        scratch: Folder of its temporary files.
    """
    if needed.min_free_disk_mib is not None:
        free_mib = shutil.disk_usage(scratch).free / _MIB
        if free_mib < needed.min_free_disk_mib:
            yield "disk space", f"{scratch} has {free_mib:.0f} MiB free, of {needed.min_free_disk_mib:g} MiB"
    if needed.min_memory_mib is not None:
        memory_mib = available_memory_mib()
        if memory_mib < needed.min_memory_mib:
            yield "memory", f"{memory_mib:.0f} MiB of memory are available, of {needed.min_memory_mib:g} MiB"
    for command in needed.commands:
        if shutil.which(command) is None:
            yield "a program", f"the program {command!r} is not on PATH"
    for name in needed.environment_variables:
        if not os.environ.get(name):
            yield "a setting", f"the environment variable {name} is not set"
    for module in needed.modules:
        if importlib.util.find_spec(module) is None:
            yield "a program", f"the Python package {module!r} is not installed"
    for url in needed.reachable:
        if reason := _why_unreachable(url):
            yield "data", f"{url} {reason}"


def available_memory_mib() -> float:
    """What can be had without swapping, within the limit of the control group."""
    available = psutil.virtual_memory().available
    # "max" where there is no limit; other systems, and older ones, do not have the files
    with suppress(OSError, ValueError):
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        facts = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        # files that were read once count as used, though the kernel gives them up at once
        available = min(available, limit - used + int(facts.get("inactive_file", 0)))
    return available / _MIB


def _why_unreachable(url: str) -> str | None:
    import fsspec

    try:
        file_system, path = fsspec.url_to_fs(url)
        return None if file_system.exists(path) else "does not exist"
    except Exception as error:
        # a driver may raise anything
        return f"cannot be reached: {type(error).__name__}: {error}"
