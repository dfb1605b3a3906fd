"""
The only door to the Prefect API.

Everything this package tells Prefect or asks of it goes through :class:`PrefectApi`, over Prefect's public REST API.
The ``prefect`` package itself is not imported: that costs the importing process 65 MiB and two seconds, which the
runner would pay for as long as it lives.

::

    PygeoapiPrefectError
    ├─ ConfigurationError               Prefect's settings cannot be read
    ├─ PrefectRefusedError              the request is wrong; to send it again is useless
    │  └─ FlowRunNotFoundError          somebody deleted the flow run
    └─ PrefectUnavailableError          no connection, time-out, 401, 403, 408, 429 or 5xx; later may be better

Nothing is retried here: the caller knows what it may send twice. Safe to repeat are all reads,
:meth:`PrefectApi.flow_id`, :meth:`PrefectApi.create_flow_run` (its idempotency key),
:meth:`PrefectApi.set_flow_run_state` with the same state and :meth:`PrefectApi.update_progress_artifact`. Logs and new
artifacts would be doubled.
"""

import base64
import json
import logging
import ssl
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

import httpx

from pygeoapi_prefect.exceptions import ConfigurationError, PrefectUnavailableError, PygeoapiPrefectError
from pygeoapi_prefect.jobs.records import LogLine

_log = logging.getLogger(__name__)

FlowRunStateType = Literal[
    "SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED", "PAUSED", "CANCELLING"
]
"""The type of a flow run's state; its name is free text. Source: ``prefect.client.schemas.objects.StateType``."""

LOGS_PER_REQUEST = 500
"""Bounds how long one request holds the server's database. The API itself takes any number."""

LOG_BYTES_PER_REQUEST = 3_000_000
"""Of encoded logs. Prefect's own client sends at most ``batch_size - max_log_size`` = 3 000 000 bytes at once."""

LOG_MESSAGE_CHARACTERS = 25_000
"""Longer messages are cut. Source: Prefect's ``PREFECT_CLOUD_MAX_LOG_SIZE``; a server of one's own would take more."""

CUT_MARK = "… [truncated]"

STATES_PER_REQUEST = 200
"""Source: ``PREFECT_SERVER_API_DEFAULT_LIMIT``, the default and the largest limit of every ``/filter`` route."""

SETTINGS_TIMEOUT_SECONDS = 60.0
"""For importing Prefect's settings: 2 s on an idle machine."""

_READ_SETTINGS = """
import json, sys
try:
    from prefect.settings import get_current_settings
    settings = get_current_settings()
    def secret(value):
        return value.get_secret_value() if value is not None else None
    found = {
        "url": settings.api.url,
        "key": secret(settings.api.key),
        "auth_string": secret(settings.api.auth_string),
        "custom_headers": dict(settings.client.custom_headers),
        "ui_url": settings.ui_url,
        "skip_verify": settings.api.tls_insecure_skip_verify,
        "ca_file": settings.api.ssl_cert_file,
        "timeout": settings.api.request_timeout,
    }
except Exception as error:  # the text of a validation error may hold a secret that was mistyped
    places = [".".join(map(str, e["loc"])) for e in error.errors()] if hasattr(error, "errors") else []
    print(type(error).__name__, *places, file=sys.stderr)
    sys.exit(1)
print("\\n" + json.dumps(found))
"""


class PrefectRefusedError(PygeoapiPrefectError):
    """
    Prefect answered that a request is wrong, or not with what its API promises. To send it again is useless.

    Attributes:
        status_code: Of Prefect's answer.
    """

    default_client_message = "The server could not record this job."

    def __init__(self, msg: str, *, status_code: int) -> None:
        super().__init__(msg)
        self.status_code = status_code


class FlowRunNotFoundError(PrefectRefusedError):
    """
    Prefect has no such flow run, or no such artifact: somebody deleted it, or its database was replaced.

    Says nothing about the job, which lives in the job store.
    """


@dataclass(frozen=True)
class PrefectConnection:
    """
    Where the Prefect API is and how to be let in.

    Attributes:
        api_url: Without a slash at its end, such as ``http://127.0.0.1:4200/api``.
        headers: Sent with every request; may hold secrets and so are not part of the repr.
        ui_url: Base of the links that people follow, without a slash at its end; None when Prefect knows of no UI.
        verify: Whether to check the server's certificate.
        ca_file: PEM file of the authorities to check it against; None for the usual ones (certifi's).
        timeout_seconds: How long one request may take to connect, to be sent, and between two bytes of its answer.
    """

    api_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ui_url: str | None = None
    verify: bool = True
    ca_file: str | None = None
    timeout_seconds: float = 60.0

    def flow_run_url(self, flow_run_id: UUID) -> str | None:
        """The page of a flow run in Prefect's UI, for people."""
        return f"{self.ui_url}/runs/flow-run/{flow_run_id}" if self.ui_url else None


def configured_connection() -> PrefectConnection | None:
    """
    Read the connection from Prefect's own settings.

    Those are environment variables, ``.env``, ``prefect.toml`` and ``pyproject.toml`` of the working directory and
    the active profile, in the order that Prefect defines. A child process reads them (about 2 s), so that ``prefect``
    is not imported here. Call it once, at start.

    Returns:
        The connection; None when the settings name no API, where Prefect itself would start a temporary server in
        every process.

    Raises:
        ConfigurationError: Prefect is not installed, or refuses its settings.
    """
    try:
        child = subprocess.run(  # noqa: S603  # constant code, no shell
            [sys.executable, "-P", "-c", _READ_SETTINGS],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=SETTINGS_TIMEOUT_SECONDS,
            check=True,
        )
        found = json.loads(_last_line(child.stdout))
    except subprocess.CalledProcessError as error:
        reason = _last_line(error.stderr)
        raise ConfigurationError(
            f"Prefect's settings cannot be read ({reason}). Run `prefect config view` as the same user in the same "
            "directory, and correct the variable or the profile that it names."
        ) from None  # the original holds the whole output
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise ConfigurationError(
            f"Prefect's settings cannot be read ({type(error).__name__}). Check that `{sys.executable} -m prefect "
            "config view` works."
        ) from error
    if not found["url"]:
        return None
    url = urlsplit(found["url"])
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ConfigurationError("PREFECT_API_URL must begin with http:// or https://, and usually ends with /api.")
    if url.username or url.password:  # the address is logged
        raise ConfigurationError("PREFECT_API_URL must not hold credentials. Put them in PREFECT_API_AUTH_STRING.")
    return PrefectConnection(
        api_url=found["url"].rstrip("/"),
        headers=_headers(found["custom_headers"], key=found["key"], auth_string=found["auth_string"]),
        ui_url=(found["ui_url"] or "").rstrip("/") or None,
        verify=not found["skip_verify"],
        ca_file=found["ca_file"],
        timeout_seconds=found["timeout"],
    )


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _headers(custom: Mapping[str, str], *, key: str | None, auth_string: str | None) -> dict[str, str]:
    """Like Prefect's client: the auth string wins over the key, and custom headers over both."""
    headers: dict[str, str] = {}
    if auth_string:
        headers["authorization"] = "Basic " + base64.b64encode(auth_string.encode()).decode()
    elif key:
        headers["authorization"] = f"Bearer {key}"
    managed = {"user-agent", "prefect-csrf-token", "prefect-csrf-client"}
    return headers | {name.lower(): value for name, value in custom.items() if name.lower() not in managed}


class PrefectApi:
    """
    The calls this package makes to the Prefect API.

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
            verify=False if loopback and connection.api_url.startswith("http://") else _verification(connection),
            timeout=connection.timeout_seconds,
            # Prefect's own limits. Cloud's load balancer closes idle connections after 30 s.
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=8, keepalive_expiry=25),
            follow_redirects=not loopback,
            trust_env=not loopback,
        )
        self._flow_ids: dict[str, UUID] = {}
        self._csrf_lock = threading.Lock()
        self._csrf_client = str(uuid.uuid4())

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

    def create_flow_run(
        self,
        *,
        flow_name: str,
        name: str,
        parameters: Mapping[str, Any],
        tags: Iterable[str] = (),
        idempotency_key: str,
        state_type: FlowRunStateType,
        state_name: str | None = None,
        state_message: str | None = None,
    ) -> UUID:
        """
        Create a flow run, or find the one that an earlier call with the same key created.

        A run found keeps its name, parameters and state: set the state afterwards if that matters.

        Args:
            flow_name: See :meth:`flow_id`.
            name: Of the run; need not be unique.
            parameters: JSON, at most 512 KiB, for everybody to see. No secrets.
            tags: To filter by in the UI.
            idempotency_key: Unique within the flow.
            state_type: The first state. SCHEDULED would be picked up by nobody: such a run has no deployment.
            state_name: Shown in the UI; None for the type's own name.
            state_message: Shown with the state.

        Returns:
            The flow run's id.
        """
        body = {
            "name": name,
            "parameters": dict(parameters),
            "tags": sorted(set(tags)),
            "idempotency_key": idempotency_key,
            "state": {"type": state_type, "name": state_name, "message": state_message},
        }
        try:
            created = self._call("POST", "/flow_runs/", body | {"flow_id": str(self.flow_id(flow_name))})
        except PrefectRefusedError as error:
            # Somebody deleted the flow, whose id we kept: 409, a foreign key that leads nowhere. Make it anew, once.
            if error.status_code not in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
                raise
            self._flow_ids.pop(flow_name, None)
            created = self._call("POST", "/flow_runs/", body | {"flow_id": str(self.flow_id(flow_name))})
        return UUID(created["id"])

    def set_flow_run_state(
        self,
        flow_run_id: UUID,
        *,
        state_type: FlowRunStateType,
        state_name: str | None = None,
        message: str | None = None,
        force: bool = True,
    ) -> bool:
        """
        Give a flow run a new state, with the time of the server's clock.

        Args:
            flow_run_id: Of the run.
            state_type: The new state's type.
            state_name: Shown in the UI; None for the type's own name.
            message: Shown with the state.
            force: Whether Prefect's rules of orchestration are passed over. True for runs that only we write; False
                to ask for Cancelling, which a run that has already ended refuses.

        Returns:
            Whether Prefect took the state as it is; always True with *force*.

        Raises:
            FlowRunNotFoundError: The flow run was deleted.
        """
        state = {"type": state_type, "name": state_name, "message": message}
        answer = self._call(
            "POST", f"/flow_runs/{flow_run_id}/set_state", {"state": state, "force": force}, of_run=True
        )
        return bool(answer["status"] == "ACCEPT")

    def read_flow_run_state(self, flow_run_ids: Iterable[UUID]) -> dict[UUID, str | None]:
        """
        The types of the present states of many flow runs, in requests of :data:`STATES_PER_REQUEST`.

        Args:
            flow_run_ids: Any number; none makes no request.

        Returns:
            One entry for each id asked for: a :data:`FlowRunStateType`, or None where the run was deleted.
        """
        states: dict[UUID, str | None] = dict.fromkeys(flow_run_ids)
        ids = [str(flow_run_id) for flow_run_id in states]
        for start in range(0, len(ids), STATES_PER_REQUEST):
            asked = ids[start : start + STATES_PER_REQUEST]
            body = {"flow_runs": {"id": {"any_": asked}}, "limit": len(asked)}
            # A run that never had a state counts as pending, as it does for Prefect.
            states |= {
                UUID(run["id"]): run["state_type"] or "PENDING" for run in self._call("POST", "/flow_runs/filter", body)
            }
        return states

    def write_logs(self, flow_run_id: UUID, lines: Iterable[LogLine]) -> None:
        """
        Add lines to a flow run's log, in requests of bounded count and size.

        Prefect takes lines for runs that it does not have, and drops them later: a deleted run is no error here.

        Args:
            flow_run_id: Of the run.
            lines: Any number; none makes no request. Where a request fails, those before it have been written.
        """
        for batch in _batches(_encoded_line(flow_run_id, line) for line in lines):
            self._call("POST", "/logs/", content=b"[" + b",".join(batch) + b"]")

    def create_progress_artifact(
        self, flow_run_id: UUID, key: str, progress: float, description: str | None = None
    ) -> UUID:
        """
        Create the artifact that shows a flow run's progress as a bar.

        Args:
            flow_run_id: Of the run. Prefect does not check that it exists.
            key: Lower-case letters, digits and dashes; artifacts of one key make one history in the UI.
            progress: Percent, 0 to 100.
            description: Markdown, shown with the bar.

        Returns:
            The artifact's id.
        """
        body = {
            "type": "progress",
            "key": key,
            "data": _percent(progress),
            "description": description,
            "flow_run_id": str(flow_run_id),
        }
        return UUID(self._call("POST", "/artifacts/", body)["id"])

    def update_progress_artifact(self, artifact_id: UUID, progress: float) -> None:
        """
        Move the bar.

        Args:
            artifact_id: From :meth:`create_progress_artifact`.
            progress: Percent, 0 to 100.

        Raises:
            FlowRunNotFoundError: The artifact was deleted, alone or with its flow run.
        """
        self._call("PATCH", f"/artifacts/{artifact_id}", {"data": _percent(progress)}, of_run=True)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content: bytes | None = None,
        of_run: bool = False,
    ) -> Any:
        """
        Send one request and translate what can go wrong.

        Args:
            method: Of HTTP.
            path: Below the API's URL.
            body: Encoded as JSON; refused with :class:`PrefectRefusedError` when it is no JSON.
            content: A body that is encoded already.
            of_run: Whether 404 means that the flow run is gone.

        Returns:
            The decoded answer; None when it has no content.
        """
        if body is not None:
            try:
                content = _encoded(body)
            except (TypeError, ValueError) as error:
                raise PrefectRefusedError(f"A request to {path} is not JSON: {error}", status_code=400) from error
        headers = {"content-type": "application/json"} if content is not None else {}
        try:
            answer = self._client.request(method, path, content=content, headers=headers)
            if answer.status_code == HTTPStatus.FORBIDDEN and b"CSRF" in answer.content:
                self._renew_csrf_token()
                answer = self._client.request(method, path, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise PrefectUnavailableError(
                f"Prefect at {self.connection.api_url} cannot be reached ({type(error).__name__}: {error}). Check that "
                "the server runs and that PREFECT_API_URL is its address as seen from this host."
            ) from error
        if not answer.is_success:
            raise self._refusal(method, path, answer, of_run=of_run)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise PrefectRefusedError(
                f"{self.connection.api_url} does not answer as a Prefect API. PREFECT_API_URL usually ends with /api.",
                status_code=answer.status_code,
            ) from error

    def _refusal(self, method: str, path: str, answer: httpx.Response, *, of_run: bool) -> PygeoapiPrefectError:
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
        if of_run and status == HTTPStatus.NOT_FOUND and detail != "Not Found" and answer.text.startswith("{"):
            return FlowRunNotFoundError(f"{where}: {detail}", status_code=status)
        return PrefectRefusedError(f"{where}: {detail}", status_code=status)

    def _renew_csrf_token(self) -> None:
        """For servers with ``PREFECT_SERVER_CSRF_PROTECTION_ENABLED``; tokens live for an hour."""
        with self._csrf_lock:
            answer = self._client.get("/csrf-token", params={"client": self._csrf_client})
            if answer.is_success:
                self._client.headers["Prefect-Csrf-Token"] = answer.json()["token"]
                self._client.headers["Prefect-Csrf-Client"] = self._csrf_client


def _verification(connection: PrefectConnection) -> ssl.SSLContext | bool:
    if not connection.verify or connection.ca_file is None:
        return connection.verify
    try:
        return ssl.create_default_context(cafile=connection.ca_file)
    except OSError as error:
        raise ConfigurationError(
            f"PREFECT_API_SSL_CERT_FILE names {connection.ca_file}, which is no readable PEM file of certificates."
        ) from error


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


def _percent(progress: float) -> float:
    return min(100.0, max(0.0, float(progress)))


def _encoded_line(flow_run_id: UUID, line: LogLine) -> bytes:
    message = line.text
    if len(message) > LOG_MESSAGE_CHARACTERS:
        message = message[: LOG_MESSAGE_CHARACTERS - len(CUT_MARK)] + CUT_MARK
    return _encoded(
        {
            "name": line.logger,
            "level": int(line.level),
            "message": message,
            "timestamp": line.time.astimezone(UTC).isoformat(),
            "flow_run_id": str(flow_run_id),
        }
    )


def _encoded(value: Any) -> bytes:
    """As JSON that every server can store: others than this answer 500, which reads like an outage."""
    text = json.dumps(_storable(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
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


def _batches(lines: Iterable[bytes]) -> Iterator[Sequence[bytes]]:
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if batch and (len(batch) == LOGS_PER_REQUEST or size + len(line) > LOG_BYTES_PER_REQUEST):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    if batch:
        yield batch
