"""The URLs that a client gives with an execute request, to be called back."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pygeoapi_prefect.exceptions import InvalidInputsError
from pygeoapi_prefect.jobs.records import CallbackKind

MAX_URL = 2048


def subscriber_urls(subscriber: Any) -> dict[str, str] | None:
    """
    Read ``subscriber`` of an execute request.

    Args:
        subscriber: The JSON object, pygeoapi's ``Subscriber``, or None.

    Returns:
        The URLs by :class:`~pygeoapi_prefect.jobs.records.CallbackKind`; None for None.

    Raises:
        InvalidInputsError: It is no object, has none of the three URLs, or one that cannot be called. Whether the
            address may be called is found out by the runner.

    Source:
        OGC 18-062r2, ``subscriber.yaml``; ``successUri`` is not required here.
    """
    if subscriber is None:
        return None
    if not isinstance(subscriber, Mapping):
        names = {CallbackKind.SUCCESS: "success_uri", CallbackKind.IN_PROGRESS: "in_progress_uri"}
        names[CallbackKind.FAILED] = "failed_uri"
        if not any(hasattr(subscriber, name) for name in names.values()):
            raise InvalidInputsError(user_msg="'subscriber' must be an object of URLs.")
        subscriber = {kind: getattr(subscriber, name, None) for kind, name in names.items()}
    urls = {kind.value: subscriber[kind] for kind in CallbackKind if subscriber.get(kind) is not None}
    if not urls:
        raise InvalidInputsError(user_msg=f"'subscriber' must have one of {', '.join(CallbackKind)}.")
    for kind, url in urls.items():
        if not _can_be_called(url):
            reason = f"must be an http or https URL without a user name, of at most {MAX_URL} characters."
            raise InvalidInputsError(user_msg=f"'subscriber/{kind}' {reason}")
    return urls


def host_of(url: str) -> str:
    """Host and port as the URL names them, in lower case: all that may be shown of it."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()[:255]


def _can_be_called(url: Any) -> bool:
    # printable ASCII, as RFC 3986 has it: databases and headers take nothing else
    if not isinstance(url, str) or len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return has_host and parts.scheme in ("http", "https") and "@" not in parts.netloc
