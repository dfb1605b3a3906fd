"""The inputs of a job that were sent by reference, fetched where the job runs."""

import mimetypes
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pygeoapi_prefect.exceptions import ReferenceFailedError, ReferenceRefusedError, ReferenceTooLargeError
from pygeoapi_prefect.jobs.queries import MESSAGE_RUNNING
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.process.progress import report_progress
from pygeoapi_prefect.references.addresses import AddressPolicy, without_secrets
from pygeoapi_prefect.references.content import MAX_VALUE_BYTES, in_line
from pygeoapi_prefect.references.limits import ReferenceLimits
from pygeoapi_prefect.schemas.media_types import essence

if TYPE_CHECKING:
    from pygeoapi_prefect.references.fetch import Fetched

MAX_NAME_LENGTH = 100

Fetch = Callable[[str, Mapping[str, Any], Mapping[str, Any]], Any]


def fetch_for(order: JobOrder) -> Fetch | None:
    """
    What fetches the inputs of a job, as its process wants them.

    Args:
        order: The job.

    Returns:
        Takes an input's id, the link that was sent for it, and the input's description; returns the value, or the path
        of a file in ``tempfile``'s folder. It raises ReferenceRefusedError, ReferenceFailedError and
        ReferenceUnavailableError, which name the input. None where the process wants the link itself.
    """
    return None if order.settings.references == "link" else _Fetch(order)


class _Fetch:
    def __init__(self, order: JobOrder) -> None:
        self._gives_file = order.settings.references == "file"
        self._limits = ReferenceLimits(**order.reference_limits)
        self._policy = AddressPolicy(
            allow_internal=order.resource.get("allow_internal_requests") is True,
            allowed_hosts=self._limits.allowed_hosts,
        )

    def __call__(self, input_id: str, link: Mapping[str, Any], description: Mapping[str, Any]) -> Any:
        report_progress(0, f"Fetching input {input_id!r}")
        try:
            return self._file(link) if self._gives_file else self._value(link, description)
        except (ReferenceRefusedError, ReferenceFailedError) as error:
            where = f"Input {input_id!r}"
            raise type(error)(f"{where}: {error}", user_msg=f"{where}: {error.client_message}") from error
        finally:
            report_progress(0, MESSAGE_RUNNING)

    def _file(self, link: Mapping[str, Any]) -> str:
        # a folder for each, so that files of one name do not meet
        folder = Path(tempfile.mkdtemp(prefix="input-"))
        return str(self._fetched(link, folder / file_name(link), self._limits.max_bytes).path)

    def _value(self, link: Mapping[str, Any], description: Mapping[str, Any]) -> Any:
        with tempfile.TemporaryDirectory(prefix="input-") as folder:
            fetched = self._fetched(link, Path(folder) / "value", min(self._limits.max_bytes, MAX_VALUE_BYTES))
            media_type = fetched.media_type
            if link.get("type") and essence(link["type"]) != essence(media_type or ""):
                # who refers to it knows better than a server that goes by file names
                media_type = link["type"]
            return in_line(fetched.path, media_type, description.get("schema"), shown=without_secrets(link["href"]))

    def _fetched(self, link: Mapping[str, Any], target: Path, max_bytes: int) -> "Fetched":
        # httpx is for the place where the job runs
        from pygeoapi_prefect.references.fetch import fetch

        try:
            return fetch(
                link["href"],
                target,
                policy=self._policy,
                max_bytes=max_bytes,
                timeout=self._limits.timeout,
                accept=link.get("type"),
            )
        except ReferenceTooLargeError as error:
            key = "server.manager.reference_max_bytes"
            if max_bytes < self._limits.max_bytes:
                key = "processor.prefect.references (to file)"
            raise ReferenceTooLargeError(
                f"{error} Change {key} if it shall be taken.", user_msg=error.user_msg
            ) from error


def file_name(link: Mapping[str, Any]) -> str:
    """
    A name for the file of a link: that in its URL as far as it is harmless, with a suffix by which libraries know it.
    """
    try:
        last = unquote(urlsplit(link["href"]).path).rpartition("/")[2]
    except ValueError:
        last = ""
    name = re.sub(r"[^\w.-]+", "_", last, flags=re.ASCII).lstrip(".-")[-MAX_NAME_LENGTH:] or "input"
    if "." not in name:
        name += mimetypes.guess_extension(essence(link.get("type") or "")) or ""
    return name
