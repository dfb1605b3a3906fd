"""One call of a client: what is sent, and what its answer means."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache, partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import httpx

from pygeoapi_prefect.exceptions import ReferenceRefusedError, ResultNotAvailableError
from pygeoapi_prefect.jobs import Callback, CallbackKind, Job, JobStore
from pygeoapi_prefect.jobs.status_info import status_info
from pygeoapi_prefect.results import OutputLinks, ResultStore, respond
from pygeoapi_prefect.results.signed_links import LinkSigner
from pygeoapi_prefect.schemas import ResponseForm
from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE
from pygeoapi_prefect.schemas.problems import problem

_FIRST_RETRY_SECONDS = 2.0
_RETRY_FACTOR = 3.25  # seven of them fill an hour
_MAX_RETRY_SECONDS = 3600.0
_JITTER = 0.2
_PIECE_BYTES = 64 * 1024

_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class CallFailedError(Exception):
    """
    A call that did not arrive.

    Args:
        reason: For the logs; names neither URL nor address.
        is_final: Whether it will never arrive, however often it is made.
        retry_after: Seconds that the receiver asked for.
    """

    def __init__(self, reason: str, *, is_final: bool, retry_after: float = 0) -> None:
        super().__init__(reason)
        self.is_final = is_final
        self.retry_after = retry_after


def content_of(
    callback: Callback, store: JobStore, results: ResultStore, signer: LinkSigner | None = None
) -> tuple[str, bytes]:
    """
    What a call sends.

    Args:
        callback: The call.
        store: Where its job is.
        results: Where the job's results are.
        signer: Of links to outputs by reference; None: they are not signed.

    Returns:
        Media type and body: of ``successUri`` the results as ``/jobs/{jobId}/results`` answers them to a request for a
        ``document``, of ``failedUri`` the problem document that it answers, of ``inProgressUri`` the statusInfo.

    Raises:
        CallFailedError: The results are gone.
        UnknownJobError: The job is.
        ResultStoreError: The result store cannot be read now.
        JobStoreUnavailableError: Nor can the job store.
    """
    if callback.kind is CallbackKind.IN_PROGRESS:
        base_url = store.details(callback.job.job_id).request.get("base_url")
        return JSON_MEDIA_TYPE, json.dumps(status_info(callback.job, base_url)).encode()
    if callback.kind is CallbackKind.FAILED:
        return JSON_MEDIA_TYPE, json.dumps(_problem_of(callback.job)).encode()
    details = store.details(callback.job.job_id)
    try:
        request = {**details.request, "response": ResponseForm.DOCUMENT.value}
        base_url = details.request.get("base_url")
        sign = None if signer is None else partial(signer.parameters, callback.job)
        links = OutputLinks(base_url, callback.job.job_id, sign=sign) if base_url else None
        response = respond(results, details.result, request, as_returned=False, links=links)
    except ResultNotAvailableError as error:
        raise CallFailedError("the results are gone", is_final=True) from error
    content = response.loaded()
    if isinstance(content, str):
        content = content.encode()
    return response.media_type, content if isinstance(content, bytes) else json.dumps(content).encode()


def _problem_of(job: Job) -> dict[str, Any]:
    error = job.why_no_result()
    assert error is not None
    path = f"/jobs/{job.job_id}/results"
    return problem(error.http_status_code, error.ogc_exception_code, error.client_message, path=path)


def send(client: httpx.Client, callback: Callback, media_type: str, body: bytes) -> None:
    """
    Make the call. Nothing of the answer is read but its status and headers.

    Args:
        client: A guarded one.
        callback: Where to.
        media_type: Of *body*.
        body: Sent in pieces, for time is looked at between them.

    Raises:
        CallFailedError: It did not arrive.
    """
    headers = {
        "Content-Type": media_type,
        "Content-Length": str(len(body)),
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "User-Agent": _user_agent(),
        "Idempotency-Key": f"{callback.job.job_id}/{callback.kind}/{callback.news}",
    }
    try:
        request = client.build_request("POST", callback.url, content=_pieces(body), headers=headers)
        response = client.send(request, stream=True, follow_redirects=False)
        response.close()
    except ReferenceRefusedError as error:
        raise CallFailedError(error.client_message, is_final=True) from error
    except httpx.TimeoutException as error:
        raise CallFailedError("no answer in time", is_final=False) from error
    except httpx.TransportError as error:
        raise CallFailedError(f"no connection ({type(error).__name__})", is_final=False) from error
    except (httpx.InvalidURL, UnicodeError) as error:
        # the latter for host names that are no IDNA
        raise CallFailedError("the URL cannot be called", is_final=True) from error
    if not response.is_success:
        status = response.status_code
        may_arrive = status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        retry_after = seconds_of(response.headers.get("Retry-After")) if may_arrive else 0
        raise CallFailedError(f"answered {status}", is_final=not may_arrive, retry_after=retry_after)


def seconds_to_retry(failures: int, retry_after: float = 0) -> float:
    """
    How long to wait after so many failures: longer each time, at least as long as asked, an hour at the most.

    Args:
        failures: At least 1.
        retry_after: Seconds that the receiver asked for.
    """
    # a job may fail to be told more often than a float can be raised to
    seconds = _FIRST_RETRY_SECONDS * _RETRY_FACTOR ** min(failures - 1, 10)
    seconds *= random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 spreads calls; guards nothing
    return min(max(seconds, retry_after), _MAX_RETRY_SECONDS)


def seconds_of(retry_after: str | None) -> float:
    """The header ``Retry-After``, seconds or a date, in seconds from now; 0 for none or nonsense. Source: RFC 9110."""
    if retry_after is None:
        return 0
    if retry_after.isdecimal() and retry_after.isascii():
        return min(float(retry_after[:9]), _MAX_RETRY_SECONDS)
    try:
        at = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return 0
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return min(max(0.0, (at - datetime.now(UTC)).total_seconds()), _MAX_RETRY_SECONDS)


@cache
def _user_agent() -> str:
    return f"pygeoapi-prefect/{version('pygeoapi-prefect')}"


def _pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), _PIECE_BYTES):
        yield body[start : start + _PIECE_BYTES]
