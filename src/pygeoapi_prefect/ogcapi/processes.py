"""The list of processes, and the description of one."""

from collections.abc import Callable

from pygeoapi.api import API, APIRequest

from pygeoapi_prefect.ogcapi.boundary import Answer, within_boundary


@within_boundary
def describe_processes(
    original: Callable[..., Answer], api: API, request: APIRequest, process: str | None = None
) -> Answer:
    """Mends: stock has no answer for a process that is configured and cannot be imported."""
    if process is not None:
        api.manager.require_available(process)
    return original(api, request, process)
