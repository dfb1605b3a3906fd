"""Changes of flow runs' states, told by Prefect as they happen."""

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self, cast
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from pygeoapi_prefect.exceptions import PrefectUnavailableError
from pygeoapi_prefect.prefect_api.connection import PrefectConnection, verification
from pygeoapi_prefect.prefect_api.flow_runs import FlowRunState, FlowRunStateType, flow_run_state

TAG = "pygeoapi"
"""Of every flow run that stands for a job."""

SUBPROTOCOL = "prefect"
"""A server that has an auth string wants it. Source: ``prefect.server.utilities.subscriptions``."""

EVENT_PREFIX = "prefect.flow-run."
"""Begins the name of each event of a flow run, and the id of its resource."""

SINCE = timedelta(minutes=15)
"""How far this host's clock may be ahead. The server's own bound is ``PREFECT_EVENTS_MAXIMUM_WEBSOCKET_BACKFILL``."""

UNTIL = timedelta(days=3650)
"""The server's default is the time of subscribing, after which nothing would come."""

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""An event holds up to three state messages of 100 000 characters each."""

WAITING_MESSAGES = 1024
"""Received and not yet asked for. Of those that wait on its side the server drops all but 256."""

CLOSE_SECONDS = 1.0
"""For an orderly end, before the connection is cut."""

_BROKEN = (WebSocketException, OSError, EOFError)
_POLICY_VIOLATION = 1008  # RFC 6455: how Prefect refuses a token
_HANDSHAKE_HEADERS = {"user-agent", "connection", "upgrade", "host"}


@dataclass(frozen=True, slots=True)
class FlowRunEvent:
    """A flow run has reached a state."""

    flow_run_id: UUID
    state: FlowRunState


class FlowRunEvents:
    """
    A subscription to the changes of flow runs' states; an iterator over them.

    It begins some milliseconds after this object was made (Prefect does not say when), and replays nothing. Events
    can be missing and can arrive twice or in another order: Prefect's server drops those of a subscriber that is 256
    behind, and one of several server processes without Redis tells only its own. They say where to look soon; who
    must know the states asks for them now and then (:meth:`PrefectApi.flow_run_states`), and after each new
    subscription. Among events of one run, :attr:`FlowRunState.timestamp` tells the newest.

    One thread at a time may receive; any may :meth:`close`. Use it as a context manager, or close it.
    """

    def __init__(
        self, connection: PrefectConnection, *, tag: str = TAG, state_names: Sequence[str] | None = None
    ) -> None:
        """
        Subscribe.

        Args:
            connection: Where to.
            tag: Only runs that had this tag when they were created.
            state_names: Only states of these names, which saves the server the others; None: all.

        Raises:
            PrefectUnavailableError: No connection, or the server does not let us in; says the remedy.
            ConfigurationError: The connection's ``ca_file`` cannot be read.
        """
        self._connection = connection
        self._tag_id = f"prefect.tag.{tag}"
        self._names: dict[str, list[str]] = {"prefix": [EVENT_PREFIX]}
        if state_names is not None:
            self._names = {"name": [f"{EVENT_PREFIX}{name}" for name in state_names]}
        self._is_closed = False
        url = _socket_url(connection.api_url)
        is_loopback = urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
        try:
            self._socket = connect(
                url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                ssl=httpx.create_ssl_context(verification(connection)) if url.startswith("wss://") else None,
                additional_headers=_handshake_headers(connection.headers),
                user_agent_header="pygeoapi-prefect",
                proxy=None if is_loopback else True,  # as for requests
                open_timeout=connection.timeout_seconds,
                close_timeout=CLOSE_SECONDS,
                max_size=MAX_MESSAGE_BYTES,
                max_queue=WAITING_MESSAGES,
            )
        except _BROKEN as error:
            raise self._unavailable(error) from error
        try:
            self._subscribe()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[FlowRunEvent]:
        """Every event, until this object is closed; raises PrefectUnavailableError when the connection breaks."""
        while not self._is_closed:
            try:
                event = self.receive(None)
            except PrefectUnavailableError:
                if self._is_closed:
                    return
                raise
            if event is not None:
                yield event

    def receive(self, timeout_seconds: float | None) -> FlowRunEvent | None:
        """
        Wait for the next event.

        Args:
            timeout_seconds: At most so long; 0 looks at what is there; None waits for ever.

        Returns:
            The event; None when none came in time.

        Raises:
            PrefectUnavailableError: The connection broke (where nobody says so, pings find out within 40 s) or was
                closed. Subscribe anew.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                message = self._message(left)
            except TimeoutError:
                return None
            event = _event(message, self._tag_id)
            if event is not None:
                return event

    def close(self) -> None:
        """End the subscription, within a second or so. Whoever waits for an event waits no longer. May be repeated."""
        self._is_closed = True
        self._socket.close()

    def _subscribe(self) -> None:
        self._send({"type": "auth", "token": _token(self._connection.headers)})
        answer = self._message(self._connection.timeout_seconds)
        if answer.get("type") != "auth_success":
            raise PrefectUnavailableError(self._remedy(str(answer.get("reason", "refused"))))
        now = datetime.now(UTC)
        self._send(
            {
                "type": "filter",
                "backfill": False,
                "filter": {
                    "occurred": {"since": (now - SINCE).isoformat(), "until": (now + UNTIL).isoformat()},
                    "event": self._names,
                    # Prefect 3.8's own server heeds this only where it replays (its EventRelatedFilter cannot say
                    # what it includes), so the tag is looked for again in each event.
                    "related": [{"id": [self._tag_id], "role": ["tag"]}],
                },
            }
        )

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self._socket.send(json.dumps(message))
        except _BROKEN as error:
            raise self._unavailable(error) from error

    def _message(self, timeout_seconds: float | None) -> dict[str, Any]:
        try:
            message = json.loads(self._socket.recv(timeout_seconds))
        except TimeoutError:  # an OSError, too
            raise
        except (*_BROKEN, ValueError) as error:
            raise self._unavailable(error) from error
        return message if isinstance(message, dict) else {}

    def _unavailable(self, error: Exception) -> PrefectUnavailableError:
        if self._is_closed:
            return PrefectUnavailableError("The subscription to Prefect's events was closed.")
        if isinstance(error, ConnectionClosed) and error.rcvd and error.rcvd.code == _POLICY_VIOLATION:
            return PrefectUnavailableError(self._remedy(error.rcvd.reason))
        if isinstance(error, InvalidStatus) and error.response.status_code in {401, 403}:  # a proxy
            return PrefectUnavailableError(self._remedy(str(error)))
        return PrefectUnavailableError(
            f"Events of Prefect at {self._connection.api_url} cannot be received ({type(error).__name__}: {error}). "
            "Check that the server runs and that proxies before it pass on WebSockets."
        )

    def _remedy(self, reason: str) -> str:
        return (
            f"Prefect at {self._connection.api_url} does not let us subscribe to events ({reason}). Set "
            "PREFECT_API_KEY (Prefect Cloud) or PREFECT_API_AUTH_STRING (a server with basic authentication) for the "
            "user that runs pygeoapi."
        )


def _socket_url(api_url: str) -> str:
    """Like Prefect's client, for Prefect Cloud too."""
    scheme, _, rest = api_url.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/events/out"


def _handshake_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What requests carry, for proxies that want it, without what makes the handshake."""
    return {
        name: value
        for name, value in headers.items()
        if name.lower() not in _HANDSHAKE_HEADERS and not name.lower().startswith("sec-websocket-")
    }


def _token(headers: Mapping[str, str]) -> str | None:
    """The auth string or the API key, which the socket wants in a message: what requests send, as it was set."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        return base64.b64decode(credentials).decode(errors="replace")
    return credentials or None


def _event(message: Mapping[str, Any], tag_id: str) -> FlowRunEvent | None:
    """The change of state that a message tells; None for every other message, such as heartbeats."""
    if message.get("type") != "event":
        return None
    event = message["event"]
    resource = event["resource"]
    state_type = resource.get("prefect.state-type")
    if not state_type or all(related.get("prefect.resource.id") != tag_id for related in event["related"]):
        return None
    return FlowRunEvent(
        UUID(resource["prefect.resource.id"].removeprefix(EVENT_PREFIX)),
        flow_run_state(
            cast(FlowRunStateType, state_type),
            resource.get("prefect.state-name"),
            resource.get("prefect.state-message"),
            resource.get("prefect.state-timestamp"),
        ),
    )
