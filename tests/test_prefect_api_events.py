"""Changes of states as Prefect tells them, on the session's Prefect server and on sockets of our own."""

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from queue import Empty, Queue
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.sync.server import ServerConnection, serve

from factories import PREFECT_START_SECONDS, make_run
from pygeoapi_prefect.exceptions import PrefectUnavailableError
from pygeoapi_prefect.prefect_api import FlowRunEvent, FlowRunEvents, FlowRunState, PrefectApi, PrefectConnection
from pygeoapi_prefect.prefect_api.events import MAX_MESSAGE_BYTES, SUBPROTOCOL
from pygeoapi_prefect.runner import flow_run_watch
from pygeoapi_prefect.runner.flow_run_watch import FlowRunWatch
from pygeoapi_prefect.runner.prefect_server import LocalPrefectServer

SOON = 10.0
"""Seconds in which an event is here; measured: 0.02 (p50), 0.03 (p95)."""

NOT_AT_ALL = 0.3


@pytest.fixture
def events(api: PrefectApi) -> Iterator[FlowRunEvents]:
    with FlowRunEvents(api.connection) as events:
        yield events


def states(events: FlowRunEvents, count: int) -> list[tuple[str, str]]:
    """Type and message of the states in the next events."""
    received = [events.receive(SOON) for _ in range(count)]
    return [(event.state.type, event.state.message or "") for event in received if event is not None]


# What is told


def test_each_change_is_told(api: PrefectApi, events: FlowRunEvents) -> None:
    """A run's states arrive as the API has them: the first, those set with force and those asked for politely."""
    flow_run_id = make_run(api, tags=["pygeoapi", "job:1"], state_type="PENDING", state_message="Waits")
    api.set_flow_run_state(flow_run_id, state_type="RUNNING", force=True)
    api.set_flow_run_state(flow_run_id, state_type="CANCELLING", message="By somebody in the UI", force=False)
    assert states(events, 3) == [("PENDING", "Waits"), ("RUNNING", ""), ("CANCELLING", "By somebody in the UI")]
    api.set_flow_run_state(flow_run_id, state_type="CANCELLED", state_name="Stopped", message="Größe")
    event = events.receive(SOON)
    assert event == FlowRunEvent(flow_run_id, api.flow_run_states([flow_run_id])[flow_run_id])
    assert event is not None
    assert event.state == FlowRunState("CANCELLED", "Stopped", "Größe", event.state.timestamp)


def test_runs_of_deployments_are_told(api: PrefectApi, events: FlowRunEvents) -> None:
    """A run that waits for a worker is told like every other."""
    deployment_id = api.save_deployment("squared/told", entrypoint="a.py:b")
    flow_run_id = api.create_deployment_run(
        deployment_id, name="x", parameters={}, tags=["pygeoapi"], idempotency_key=str(uuid4())
    )
    event = events.receive(SOON)
    assert event is not None
    assert (event.flow_run_id, event.state.type) == (flow_run_id, "SCHEDULED")


def test_other_runs_are_not_told(api: PrefectApi, events: FlowRunEvents) -> None:
    """Prefect 3.8 sends the events of every run; those without the tag are left out here."""
    make_run(api, tags=["other", "job:pygeoapi"])
    tagged = make_run(api, tags=["pygeoapi"])
    event = events.receive(SOON)
    assert event is not None
    assert event.flow_run_id == tagged
    assert events.receive(NOT_AT_ALL) is None


def test_what_happened_before_a_run_was_known_is_told_again(api: PrefectApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is cancelled before its runner knows whose it is has its state told when it is watched."""
    monkeypatch.setattr(flow_run_watch, "POLL_SECONDS", 3600.0)
    watched: list[UUID] = []
    told: Queue[tuple[UUID, FlowRunState | None]] = Queue()
    watch = FlowRunWatch(
        lambda: PrefectApi(api.connection),
        watched=lambda: tuple(watched),
        tell=lambda flow_run_id, state: told.put((flow_run_id, state)),
        in_progress=tuple,
        tell_progress=lambda flow_run_id, progress: None,
        on_change=lambda: None,
        every_state=False,
    )
    watch.start()
    try:
        flow_run_id = make_run(api, tags=["pygeoapi"], state_type="RUNNING")
        while True:  # the watch may not listen yet
            api.set_flow_run_state(flow_run_id, state_type="CANCELLING", force=True)
            with suppress(Empty):
                assert told.get(timeout=1)[0] == flow_run_id
                break
        while not told.empty():
            told.get()
        watched.append(flow_run_id)
        again, state = told.get(timeout=SOON)
        assert (again, state and state.type) == (flow_run_id, "CANCELLING")
    finally:
        watch.stop(SOON)


def test_nothing_is_replayed(api: PrefectApi) -> None:
    """What happened before the subscription is not told."""
    make_run(api, tags=["pygeoapi"])
    with FlowRunEvents(api.connection) as events:
        assert events.receive(NOT_AT_ALL) is None


def test_long_messages_arrive(api: PrefectApi, events: FlowRunEvents) -> None:
    """The longest message that Prefect passes on, in the widest characters, does not break the connection."""
    flow_run_id = make_run(api, tags=["pygeoapi"], state_message="🛰" * 100_000)
    api.set_flow_run_state(flow_run_id, state_type="FAILED", message="🛰" * 100_000)
    assert [kind for kind, message in states(events, 2) if len(message) == 100_000] == ["RUNNING", "FAILED"]


def test_receive_heeds_its_time(events: FlowRunEvents) -> None:
    """Nothing comes: None, soon after the time that was given, or at once for 0."""
    began = time.monotonic()
    assert events.receive(0.2) is None
    assert 0.2 <= time.monotonic() - began < 2
    assert events.receive(0) is None


# Ends


def test_iterating_ends_with_close(api: PrefectApi) -> None:
    """Who iterates gets the events and, when another thread closes the subscription, an end without an error."""
    events = FlowRunEvents(api.connection)
    told: list[FlowRunEvent] = []
    reader = threading.Thread(target=lambda: told.extend(events))
    reader.start()
    flow_run_id = make_run(api, tags=["pygeoapi"])
    api.set_flow_run_state(flow_run_id, state_type="COMPLETED")
    _until(lambda: len(told) == 2)
    events.close()
    events.close()
    reader.join(SOON)
    assert not reader.is_alive()
    assert [event.state.type for event in told] == ["RUNNING", "COMPLETED"]
    with pytest.raises(PrefectUnavailableError, match="closed"):
        events.receive(0)


def test_end_of_the_server_is_told(prefect_server: LocalPrefectServer) -> None:
    """When the server stops, who waits is told; to subscribe raises until it is back."""
    events = FlowRunEvents(prefect_server.connection)
    threading.Timer(0.2, prefect_server.stop).start()
    with pytest.raises(PrefectUnavailableError, match="cannot be received"):
        events.receive(SOON)
    events.close()
    _until(lambda: not prefect_server.is_alive())
    with pytest.raises(PrefectUnavailableError, match="cannot be received"):
        FlowRunEvents(prefect_server.connection)
    prefect_server.start()
    prefect_server.wait_until_healthy(PREFECT_START_SECONDS)
    with FlowRunEvents(prefect_server.connection) as again, PrefectApi(prefect_server.connection) as api:
        make_run(api, tags=["pygeoapi"])
        # the server may have had an older event still to tell
        _until(lambda: ("RUNNING", "") in states(again, 1))


# How it lets us in


class Heard:
    """What a subscriber said to a server of ours."""

    path = ""
    headers: dict[str, str]
    messages: list[dict[str, Any]]


@contextmanager
def _listening(tls: ssl.SSLContext | None = None, events: tuple[Any, ...] = ()) -> Iterator[tuple[str, Heard]]:
    """A server that lets everybody in, sends these messages and keeps what it heard; and its API's address."""
    heard = Heard()
    heard.messages = []

    def answer(connection: ServerConnection) -> None:
        assert connection.request is not None
        heard.path, heard.headers = connection.request.path, dict(connection.request.headers.raw_items())
        heard.messages.append(json.loads(connection.recv()))
        connection.send('{"type": "auth_success"}')
        heard.messages.append(json.loads(connection.recv()))
        for event in events:
            connection.send(event)
        connection.recv()  # until it ends

    subprotocols: Any = [SUBPROTOCOL]
    with serve(answer, "127.0.0.1", 0, ssl=tls, subprotocols=subprotocols) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.socket.getsockname()[1]}/api/workspaces/w", heard
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that no authority has signed, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


def test_tls(certificate: Path) -> None:
    """An https API has a wss socket; its certificate is checked against the configured file, or not where so set."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    with _listening(tls) as (url, heard):
        connection = PrefectConnection(url, timeout_seconds=SOON)
        with FlowRunEvents(replace(connection, ca_file=str(certificate))):
            pass
        assert heard.path == "/api/workspaces/w/events/out"
        with FlowRunEvents(replace(connection, verify=False)):
            pass
        with pytest.raises(PrefectUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            FlowRunEvents(connection)


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        ({"authorization": "Bearer pnu_key"}, "pnu_key"),
        ({"authorization": "Basic " + base64.b64encode("admin:pä:ss".encode()).decode()}, "admin:pä:ss"),
        ({}, None),
    ],
)
def test_what_is_said_first(authorization: dict[str, str], token: str | None) -> None:
    """The key or the auth string is the token of the first message; headers of one's own go with the handshake."""
    own = {"x-tenant": "a", "host": "elsewhere", "sec-websocket-protocol": "other"}
    with _listening() as (url, heard), FlowRunEvents(PrefectConnection(url, headers=authorization | own)):
        _until(lambda: len(heard.messages) == 2)
    said = {name.lower(): value for name, value in heard.headers.items()}
    assert heard.messages[0] == {"type": "auth", "token": token}
    assert (said["x-tenant"], said["sec-websocket-protocol"]) == ("a", "prefect")
    assert said["host"] != "elsewhere"
    asked = heard.messages[1]
    assert (asked["type"], asked["backfill"]) == ("filter", False)
    assert asked["filter"]["related"] == [{"id": ["prefect.tag.pygeoapi"], "role": ["tag"]}]


@pytest.mark.parametrize(("status", "remedy"), [(401, "PREFECT_API_AUTH_STRING"), (404, "proxies")])
def test_refused_handshake(status: int, remedy: str) -> None:
    """What stands before the server may refuse us, or the socket altogether: the text says which."""

    def refuse(connection: ServerConnection, _: Any) -> Any:
        return connection.respond(HTTPStatus(status), "no")

    with serve(lambda _: None, "127.0.0.1", 0, process_request=refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        connection = PrefectConnection(f"http://127.0.0.1:{server.socket.getsockname()[1]}/api")
        with pytest.raises(PrefectUnavailableError, match=remedy):
            FlowRunEvents(connection)
        server.shutdown()
        thread.join()


def test_messages_that_are_no_states_are_passed_over() -> None:
    """Heartbeats and messages of a later Prefect do no harm; what is no JSON is a broken connection."""
    run = {"prefect.resource.id": f"prefect.flow-run.{uuid4()}"}
    related = [{"prefect.resource.id": "prefect.tag.pygeoapi", "prefect.resource.role": "tag"}]
    heartbeat = {"type": "event", "event": {"event": "prefect.flow-run.heartbeat", "resource": run, "related": related}}
    told = (json.dumps(heartbeat), '{"type": "news"}', "[]", "<html>")
    with (
        _listening(events=told) as (url, _),
        FlowRunEvents(PrefectConnection(url)) as events,
        pytest.raises(PrefectUnavailableError, match="JSONDecodeError"),
    ):
        events.receive(SOON)


def test_huge_message_is_a_broken_connection() -> None:
    """A server cannot fill our memory with one message."""
    with (
        _listening(events=("x" * (MAX_MESSAGE_BYTES + 1),)) as (url, _),
        FlowRunEvents(PrefectConnection(url)) as events,
        pytest.raises(PrefectUnavailableError),
    ):
        events.receive(SOON)


def _until(condition: Any) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
