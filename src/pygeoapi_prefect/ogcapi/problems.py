"""Problem documents. Source: RFC 9457; types from OGC 18-062r2 where it has one."""

from http import HTTPStatus
from typing import Any

from pygeoapi_prefect.exceptions import OGC_EXCEPTIONS

MEDIA_TYPE = "application/problem+json"

TYPES = {
    "NoSuchProcess": f"{OGC_EXCEPTIONS}/no-such-process",
    "NoSuchJob": f"{OGC_EXCEPTIONS}/no-such-job",
    "ResultNotReady": f"{OGC_EXCEPTIONS}/result-not-ready",
    "JobResultNotFound": f"{OGC_EXCEPTIONS}/result-not-available",
}
"""pygeoapi's codes that stand for an exception of the standard."""


def problem(status: int, code: str, detail: str) -> dict[str, Any]:
    """
    Args:
        status: HTTP status.
        code: A type of the standard, or one of pygeoapi's codes.
        detail: For the client.

    Returns:
        The document. ``code`` and ``description`` say the same once more, for clients made for stock pygeoapi.
    """
    type_ = TYPES.get(code) or (code if code.startswith("http") else "about:blank")
    short = code.rpartition("/")[2]
    return {
        "type": type_,
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "code": short if code != "about:blank" else "NoApplicableCode",
        "description": detail,
    }
