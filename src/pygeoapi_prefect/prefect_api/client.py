"""One request to the Prefect API, and what can go wrong with it."""

import json
import threading
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid4

import httpx

from pygeoapi_prefect.exceptions import PrefectUnavailableError, PygeoapiPrefectError
from pygeoapi_prefect.prefect_api.connection import PrefectConnection, verification


class PrefectRefusedError(PygeoapiPrefectError):
    """
    Prefect answered that a request is wrong, or not with what its API promises. To send it again is useless.

    Attributes:
        status_code: Of Prefect's answer.
    """

    default_client_message = "The server could not pass this job on."

    def __init__(self, msg: str, *, status_code: int) -> None:
        super().__init__(msg)
        self.status_code = status_code


class Client:
    """
    Sends requests to the Prefect API.

    Holds one pool of at most eight kept-alive connections; safe to share between threads. Close it, or use it as a
    context manager; it cannot be opened again.

    Every call raises:
        PrefectUnavailableError: No connection, no answer in time, 408, 429, 5xx, or 401/403 with the remedy.
        PrefectRefusedError: Any other answer that is not the expected one; the text holds the server's detail.
    """

    def __init__(self, connection: PrefectConnection) -> None:
        """
        Args:
            connection: Where to; nothing is sent yet.
        """
        self.connection = connection
        # Through a proxy named in the environment nobody reaches the loopback interface of this machine.
        loopback = urlsplit(connection.api_url).hostname in {"127.0.0.1", "localhost", "::1"}
        self._client = httpx.Client(
            base_url=connection.api_url,
            headers={"user-agent": "pygeoapi-prefect", **connection.headers},
            # without TLS to the loopback interface the authorities' certificates are not loaded: 22 ms and 4 MiB
            verify=False if loopback and connection.api_url.startswith("http://") else verification(connection),
            timeout=connection.timeout_seconds,
            # Prefect's own limits. Cloud's load balancer closes idle connections after 30 s.
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=8, keepalive_expiry=25),
            follow_redirects=not loopback,
            trust_env=not loopback,
        )
        self._flow_ids: dict[str, UUID] = {}
        self._csrf_lock = threading.Lock()
        self._csrf_client = str(uuid4())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. Calls still under way in other threads fail."""
        self._client.close()

    def is_healthy(self, *, timeout_seconds: float = 5.0) -> bool:
        """
        Whether the API answers. Never raises, and does not tell whether it would let us in: see :meth:`version`.

        Args:
            timeout_seconds: How long to wait for the answer.
        """
        try:
            answer = self._client.get("/health", timeout=timeout_seconds)
        except httpx.HTTPError:
            return False
        return answer.status_code == HTTPStatus.OK

    def version(self) -> str:
        """
        Prefect's version on the server, such as ``3.8.8``. Unlike :meth:`is_healthy` it needs authentication.

        Prefect Cloud has no such route and raises :class:`PrefectRefusedError`.
        """
        return str(self._call("GET", "/admin/version"))

    def flow_id(self, flow_name: str) -> UUID:
        """
        The id of a flow, which is created when Prefect has none of that name. Asked once in this object's life.

        Args:
            flow_name: Without ``/``, ``%``, ``&``, ``<`` and ``>``, which Prefect refuses.
        """
        known = self._flow_ids.get(flow_name)
        if known is None:
            known = self._flow_ids[flow_name] = UUID(self._call("POST", "/flows/", {"name": flow_name})["id"])
        return known

    def _call_with_flow(self, path: str, flow_name: str, body: Mapping[str, Any]) -> Any:
        """Post what belongs to a flow."""
        try:
            return self._call("POST", path, {**body, "flow_id": str(self.flow_id(flow_name))})
        except PrefectRefusedError as error:
            # Somebody deleted the flow, whose id we kept: 409, a foreign key that leads nowhere. Make it anew, once.
            if error.status_code not in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
                raise
            self._flow_ids.pop(flow_name, None)
            return self._call("POST", path, {**body, "flow_id": str(self.flow_id(flow_name))})

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        missing: type[PrefectRefusedError] | None = None,
    ) -> Any:
        """
        Send one request and translate what can go wrong.

        Args:
            method: Of HTTP.
            path: Below the API's URL.
            body: Encoded as JSON.
            content: A body that is encoded already.
            params: Of the query.
            missing: Raised when Prefect itself says that it has no such thing.

        Returns:
            The decoded answer; None when it has no content.
        """
        if body is not None:
            content = encoded(body)
        headers = {"content-type": "application/json"} if content is not None else {}
        try:
            answer = self._client.request(method, path, content=content, params=params, headers=headers)
            if answer.status_code == HTTPStatus.FORBIDDEN and b"CSRF" in answer.content:
                self._renew_csrf_token()
                answer = self._client.request(method, path, content=content, params=params, headers=headers)
        except httpx.HTTPError as error:
            raise PrefectUnavailableError(
                f"Prefect at {self.connection.api_url} cannot be reached ({type(error).__name__}: {error}). Check that "
                "the server runs and that PREFECT_API_URL is its address as seen from this host."
            ) from error
        if not answer.is_success:
            raise self._refusal(method, path, answer, missing)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise PrefectRefusedError(
                f"{self.connection.api_url} does not answer as a Prefect API. PREFECT_API_URL usually ends with /api.",
                status_code=answer.status_code,
            ) from error

    def _refusal(
        self, method: str, path: str, answer: httpx.Response, missing: type[PrefectRefusedError] | None
    ) -> PygeoapiPrefectError:
        where = f"Prefect at {self.connection.api_url} answered {answer.status_code} to {method} {path}"
        status = answer.status_code
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return PrefectUnavailableError(
                f"{where}: it does not let us in. Set PREFECT_API_KEY (Prefect Cloud) or PREFECT_API_AUTH_STRING (a "
                "server with basic authentication) for the user that runs pygeoapi."
            )
        detail = _detail(answer)
        if status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS} or status >= 500:
            return PrefectUnavailableError(f"{where}: {detail}")
        # A 404 that is not Prefect's own (a proxy, a wrong path) must not read as "deleted".
        if missing and status == HTTPStatus.NOT_FOUND and detail != "Not Found" and answer.text.startswith("{"):
            return missing(f"{where}: {detail}", status_code=status)
        return PrefectRefusedError(f"{where}: {detail}", status_code=status)

    def _renew_csrf_token(self) -> None:
        """For servers with ``PREFECT_SERVER_CSRF_PROTECTION_ENABLED``; tokens live for an hour."""
        with self._csrf_lock:
            answer = self._client.get("/csrf-token", params={"client": self._csrf_client})
            if answer.is_success:
                self._client.headers["Prefect-Csrf-Token"] = answer.json()["token"]
                self._client.headers["Prefect-Csrf-Client"] = self._csrf_client


def _detail(answer: httpx.Response) -> str:
    """What the server says about a refusal, without the input that its validation errors repeat."""
    try:
        body = answer.json()
    except ValueError:
        return answer.reason_phrase
    if not isinstance(body, dict):
        return answer.reason_phrase
    errors = body.get("exception_detail") or body.get("detail")
    if isinstance(errors, list):
        return "; ".join(
            f"{'.'.join(map(str, e.get('loc', ())))}: {e.get('msg')}" for e in errors if isinstance(e, dict)
        )[:1000]
    return str(errors or body.get("exception_message") or answer.reason_phrase)[:1000]


def encoded(value: Any) -> bytes:
    """
    *value* as JSON that every server can store: others than this answer 500, which reads like an outage.

    Raises:
        PrefectRefusedError: It is no JSON.
    """
    try:
        text = json.dumps(_storable(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise PrefectRefusedError(f"What Prefect is to be told is not JSON: {error}", status_code=400) from error
    return text.encode(errors="replace")  # lone surrogates, as undecodable file names bring them


def _storable(value: Any) -> Any:
    """PostgreSQL takes no NUL character in any text."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, Mapping):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    return value


def quoted(*segments: str) -> str:
    """Names as segments of a path, each safe whatever it holds."""
    return "/".join(quote(segment, safe="") for segment in segments)
