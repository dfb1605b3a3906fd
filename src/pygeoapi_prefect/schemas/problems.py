"""Problem documents. Source: RFC 9457; types from OGC 18-062r2 where it has one."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pygeoapi_prefect.exceptions import OGC_EXCEPTIONS, Violation

MEDIA_TYPE = "application/problem+json"

TYPES = {
    "NoSuchProcess": f"{OGC_EXCEPTIONS}/no-such-process",
    "NoSuchJob": f"{OGC_EXCEPTIONS}/no-such-job",
    "ResultNotReady": f"{OGC_EXCEPTIONS}/result-not-ready",
    "JobResultNotFound": f"{OGC_EXCEPTIONS}/result-not-available",
}
"""pygeoapi's codes that stand for an exception of the standard."""


def problem(
    status: int, code: str, detail: str, *, path: str | None = None, violations: Iterable[Violation] = ()
) -> dict[str, Any]:
    """
    Args:
        status: HTTP status.
        code: A type of the standard, or one of pygeoapi's codes.
        detail: For the client.
        path: Of the request, not quoted; None where it is not known.
        violations: What is wrong with an execute request: each has a ``pointer`` and a ``detail``.

    Returns:
        The document. ``code`` and ``description`` say the same once more, for clients made for stock pygeoapi.
    """
    type_ = TYPES.get(code) or (code if code.startswith("http") else "about:blank")
    short = code.rpartition("/")[2]
    document = {
        "type": type_,
        "title": _title(status),
        "status": int(status),
        "detail": detail,
        "code": short if code != "about:blank" else "NoApplicableCode",
        "description": detail,
    }
    if path is not None:
        document["instance"] = quote(path, safe="/", errors="replace")
    if errors := [{"pointer": one.pointer, "detail": one.detail} for one in violations]:
        document["errors"] = errors
    return document


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        # a processor may have a status of its own
        return "Error"
