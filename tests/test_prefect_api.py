"""The door to Prefect and the local server, both on the real thing: one server of ours for the whole session."""

import base64
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import psutil
import pytest

from factories import PREFECT_START_SECONDS, make_run
from pygeoapi_prefect.exceptions import ConfigurationError, PrefectUnavailableError
from pygeoapi_prefect.jobs import LogLine
from pygeoapi_prefect.prefect_api import (
    FlowRunEvents,
    FlowRunNotFoundError,
    PrefectApi,
    PrefectConnection,
    PrefectRefusedError,
    configured_connection,
    deployments,
    flow_runs,
)
from pygeoapi_prefect.runner.prefect_server import LOG_LIMIT_BYTES, LocalPrefectServer


def state_types(api: PrefectApi, flow_run_ids: Iterable[UUID]) -> dict[UUID, str | None]:
    return {run: state and state.type for run, state in api.flow_run_states(flow_run_ids).items()}


def line(message: str, level: int = 20) -> LogLine:
    return LogLine(datetime.now(UTC), level, "test", message)


# The calls


def test_is_healthy(api: PrefectApi) -> None:
    """A server that answers is healthy."""
    assert api.is_healthy() is True


def test_version(api: PrefectApi) -> None:
    """The version is that of the installed Prefect, which the local server runs."""
    from importlib.metadata import version

    assert api.version() == version("prefect")


def test_flow_id_is_one_per_name(api: PrefectApi, prefect_server: LocalPrefectServer) -> None:
    """A name has one id, for other clients too; another name has another."""
    with PrefectApi(prefect_server.connection) as other:
        assert api.flow_id("buffer") == api.flow_id("buffer") == other.flow_id("buffer")
    assert api.flow_id("buffer") != api.flow_id("ndvi")


def test_create_flow_run(api: PrefectApi, raw: httpx.Client) -> None:
    """A run is created with everything that was said about it."""
    flow_run_id = make_run(
        api, name="job-1", parameters={"n": 3}, tags=["b", "a"], state_name="Accepted", state_message="In the queue"
    )
    run = raw.get(f"/flow_runs/{flow_run_id}").json()
    assert (run["name"], run["parameters"], sorted(run["tags"])) == ("job-1", {"n": 3}, ["a", "b"])
    assert run["flow_id"] == str(api.flow_id("squared"))
    assert (run["state"]["type"], run["state"]["name"], run["state"]["message"]) == (
        "RUNNING",
        "Accepted",
        "In the queue",
    )


def test_create_flow_run_twice_makes_one(api: PrefectApi) -> None:
    """The same idempotency key finds the same run, whatever state it has reached."""
    key = str(uuid4())
    flow_run_id = make_run(api, idempotency_key=key, state_type="PENDING")
    api.set_flow_run_state(flow_run_id, state_type="COMPLETED")
    assert make_run(api, idempotency_key=key) == flow_run_id
    assert state_types(api, [flow_run_id]) == {flow_run_id: "COMPLETED"}


def test_create_flow_run_of_a_deleted_flow(api: PrefectApi, raw: httpx.Client) -> None:
    """When somebody deletes the flow, the next run brings it back."""
    flow_id = api.flow_id("short-lived")
    assert raw.delete(f"/flows/{flow_id}").status_code == 204
    make_run(api, flow_name="short-lived")
    assert api.flow_id("short-lived") != flow_id


def test_set_flow_run_state(api: PrefectApi, raw: httpx.Client) -> None:
    """A state arrives with its name and message; the type's own name is the default."""
    flow_run_id = make_run(api)
    assert api.set_flow_run_state(flow_run_id, state_type="CANCELLED", state_name="Dismissed", message="By the client")
    state = raw.get(f"/flow_runs/{flow_run_id}").json()["state"]
    assert (state["type"], state["name"], state["message"]) == ("CANCELLED", "Dismissed", "By the client")
    api.set_flow_run_state(flow_run_id, state_type="FAILED")
    assert raw.get(f"/flow_runs/{flow_run_id}").json()["state"]["name"] == "Failed"


def test_set_flow_run_state_without_force(api: PrefectApi) -> None:
    """Asked politely, Prefect cancels a running run and refuses one that has ended."""
    running, ended = make_run(api), make_run(api)
    api.set_flow_run_state(ended, state_type="COMPLETED")
    assert api.set_flow_run_state(running, state_type="CANCELLING", force=False) is True
    assert api.set_flow_run_state(ended, state_type="CANCELLING", force=False) is False
    assert state_types(api, [running, ended]) == {running: "CANCELLING", ended: "COMPLETED"}


def test_deleted_flow_run(api: PrefectApi, raw: httpx.Client) -> None:
    """A deleted run is told from an outage, when written and when read."""
    flow_run_id = make_run(api)
    assert raw.delete(f"/flow_runs/{flow_run_id}").status_code == 204
    with pytest.raises(FlowRunNotFoundError):
        api.set_flow_run_state(flow_run_id, state_type="COMPLETED")
    assert state_types(api, [flow_run_id]) == {flow_run_id: None}


def test_flow_run_states_of_many(api: PrefectApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every id gets an answer, also when they need several requests; none needs no request."""
    monkeypatch.setattr(flow_runs, "IDS_PER_REQUEST", 2)
    runs = [make_run(api, state_type="PENDING") for _ in range(5)]
    unknown = uuid4()
    assert state_types(api, [*runs, unknown]) == dict.fromkeys(runs, "PENDING") | {unknown: None}
    assert state_types(api, []) == {}


def test_flow_run_states_takes_full_requests(api: PrefectApi) -> None:
    """The server takes as many ids at once as we send at most."""
    ids = [uuid4() for _ in range(flow_runs.IDS_PER_REQUEST)]
    assert set(state_types(api, ids).values()) == {None}


def test_write_logs(api: PrefectApi, raw: httpx.Client) -> None:
    """Lines arrive with level, time and text, broken characters and all."""
    flow_run_id = make_run(api)
    when = datetime(2024, 5, 1, 12, 30, 15, 250000, tzinfo=UTC)
    api.write_logs(flow_run_id, [LogLine(when, 30, "process.ndvi", "Größe \udce4 \0∞")])
    [log] = raw.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [str(flow_run_id)]}}}).json()
    assert (log["level"], log["name"]) == (30, "process.ndvi")
    assert log["message"] == "Größe ? ∞"
    assert datetime.fromisoformat(log["timestamp"]) == when


def test_write_logs_in_bounded_requests(api: PrefectApi, raw: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many and long lines all arrive, in order and cut at the limit; none makes no request."""
    monkeypatch.setattr(flow_runs, "LOGS_PER_REQUEST", 3)
    flow_run_id = make_run(api)
    api.write_logs(flow_run_id, [])
    api.write_logs(flow_run_id, [line(str(n)) for n in range(7)] + [line("x" * 30_000)])
    logs = raw.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [str(flow_run_id)]}}}).json()
    assert [log["message"] for log in logs[:7]] == [str(n) for n in range(7)]
    assert len(logs[7]["message"]) == flow_runs.LOG_MESSAGE_CHARACTERS
    assert logs[7]["message"].endswith(flow_runs.CUT_MARK)


def test_batches_keep_their_bounds() -> None:
    """No request holds more lines or bytes than allowed, save one line that is larger by itself."""
    huge, small = b"x" * (flow_runs.LOG_BYTES_PER_REQUEST + 1), b"x" * 1000
    lines = [small] * 1100 + [huge] + [b"x" * 2_000_000] * 2
    batches = list(flow_runs._batches(lines))
    assert [len(batch) for batch in batches] == [500, 500, 100, 1, 1, 1]


def test_log_lines_need_aware_times() -> None:
    """A time without a zone is refused before it is sent."""
    with pytest.raises(ValueError, match="aware"):
        LogLine(datetime(2024, 1, 1), 20, "test", "x")


def test_progress_artifact(api: PrefectApi, raw: httpx.Client) -> None:
    """The bar belongs to its run, moves, and stays between 0 and 100 percent."""
    flow_run_id = make_run(api)
    artifact_id = api.create_progress_artifact(flow_run_id, key="progress", progress=0, description="Tiles")
    api.update_progress_artifact(artifact_id, progress=42.5)
    artifact = raw.get(f"/artifacts/{artifact_id}").json()
    assert (artifact["type"], artifact["data"], artifact["description"]) == ("progress", 42.5, "Tiles")
    assert (artifact["key"], artifact["flow_run_id"]) == ("progress", str(flow_run_id))
    api.update_progress_artifact(artifact_id, progress=101)
    assert raw.get(f"/artifacts/{artifact_id}").json()["data"] == 100
    raw.delete(f"/artifacts/{artifact_id}")
    with pytest.raises(FlowRunNotFoundError):
        api.update_progress_artifact(artifact_id, progress=50)


def test_find_deployments(api: PrefectApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name and all tags, whatever the flow, the one saved last first, in as many requests as it takes."""
    monkeypatch.setattr(deployments, "DEPLOYMENTS_PER_REQUEST", 2)
    tag = f"process:{uuid4().hex}"
    for flow in ("buffer", "ndvi", "slope"):
        api.save_deployment(f"{flow}/pygeoapi", entrypoint="module.flow", tags=["pygeoapi", tag])
    api.save_deployment("slope/other", entrypoint="module.flow", tags=["pygeoapi", tag])
    api.save_deployment("mean/pygeoapi", entrypoint="module.flow", tags=["pygeoapi"])
    api.save_deployment("buffer/pygeoapi", entrypoint="module.flow", tags=["pygeoapi", tag], version="2")
    found = api.find_deployments(name="pygeoapi", tags=["pygeoapi", tag])
    assert [deployment.name for deployment in found] == ["buffer/pygeoapi", "slope/pygeoapi", "ndvi/pygeoapi"]
    assert found[0] == api.deployment("buffer/pygeoapi")
    assert len(api.find_deployments(tags=[tag])) == 4
    assert api.find_deployments(name="pygeoapi", tags=[f"process:{uuid4().hex}"]) == []


# What goes wrong


def test_refused_connection(api: PrefectApi) -> None:
    """Where nobody listens, Prefect is unavailable, and is_healthy says so without raising."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    with PrefectApi(PrefectConnection(url)) as nobody:
        assert nobody.is_healthy() is False
        with pytest.raises(PrefectUnavailableError, match="PREFECT_API_URL") as caught:
            nobody.flow_id("x")
    assert isinstance(caught.value.__cause__, httpx.ConnectError)


def test_silent_server() -> None:
    """A server that accepts and never answers is unavailable after the connection's time-out."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        with PrefectApi(PrefectConnection(url, timeout_seconds=0.2)) as api, pytest.raises(PrefectUnavailableError):
            api.version()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, '{"exception_message": "Internal Server Error"}', PrefectUnavailableError),
        (503, "", PrefectUnavailableError),
        (429, "", PrefectUnavailableError),
        (401, '{"exception_message": "Unauthorized"}', PrefectUnavailableError),
        (403, "", PrefectUnavailableError),
        (404, '{"detail": "Not Found"}', PrefectRefusedError),
        (404, "<html>no such page</html>", PrefectRefusedError),
        (404, '{"exception_message": "Flow run with id x not found"}', FlowRunNotFoundError),
        (422, '{"exception_detail": [{"loc": ["body", "x"], "msg": "bad", "input": "secret"}]}', PrefectRefusedError),
        (200, "<html>the UI</html>", PrefectRefusedError),
    ],
)
def test_every_answer_has_its_error(status: int, body: str, expected: type[Exception]) -> None:
    """Each kind of answer becomes one error of ours, and none repeats inputs."""
    with (
        _answering(status, body) as url,
        PrefectApi(PrefectConnection(url)) as api,
        pytest.raises(expected) as caught,
    ):
        api.set_flow_run_state(uuid4(), state_type="COMPLETED")
    assert type(caught.value) is expected
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("call", ["deployment", "block_document", "work_pool"])
def test_strange_answer_is_not_missing(call: str) -> None:
    """Where a proxy answers 404, nothing is taken for deleted."""
    with (
        _answering(404, "<html>no such page</html>") as url,
        PrefectApi(PrefectConnection(url)) as api,
        pytest.raises(PrefectRefusedError) as caught,
    ):
        getattr(api, call)("a/b")
    assert type(caught.value) is PrefectRefusedError


def test_server_refusal_keeps_the_detail(api: PrefectApi) -> None:
    """What the server says about a wrong request is in the error, for the log."""
    with pytest.raises(PrefectRefusedError, match=r"422.*state.type") as caught:
        make_run(api, state_type="NONSENSE")
    assert caught.value.status_code == 422


def test_parameters_must_be_json(api: PrefectApi) -> None:
    """NaN and objects are refused here; Prefect would answer 500 or store something else."""
    with pytest.raises(PrefectRefusedError, match="JSON"):
        make_run(api, parameters={"n": float("nan")})


@pytest.mark.soak
def test_auth_string_and_csrf(tmp_path: Path) -> None:
    """A server with basic authentication and CSRF protection lets in whoever has its auth string, and says the remedy
    to everybody else."""

    class Guarded(LocalPrefectServer):
        def _environment(self) -> dict[str, str]:
            return super()._environment() | {
                "PREFECT_SERVER_API_AUTH_STRING": "admin:right",
                "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
            }

    def with_password(password: str) -> PrefectConnection:
        token = base64.b64encode(f"admin:{password}".encode()).decode()
        return replace(server.connection, headers={"authorization": f"Basic {token}"})

    with Guarded(tmp_path) as server:
        server.wait_until_healthy(PREFECT_START_SECONDS)
        with PrefectApi(with_password("right")) as api, FlowRunEvents(with_password("right")) as events:
            make_run(api)
            tagged = make_run(api, tags=["pygeoapi"])
            event = events.receive(10)
            assert event is not None
            assert event.flow_run_id == tagged
        with PrefectApi(with_password("wrong")) as api:
            assert api.is_healthy() is True
            with pytest.raises(PrefectUnavailableError, match="PREFECT_API_AUTH_STRING") as caught:
                make_run(api)
        with pytest.raises(PrefectUnavailableError, match="PREFECT_API_AUTH_STRING") as caught_too:
            FlowRunEvents(with_password("wrong"))
    assert "wrong" not in str(caught.value) + str(caught_too.value)


def test_secrets_are_not_in_the_repr() -> None:
    """A connection can be logged."""
    assert "hunter2" not in repr(PrefectConnection("http://x/api", headers={"authorization": "Bearer hunter2"}))


# Prefect's own settings


@pytest.fixture
def prefect_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any Prefect settings, in an empty directory."""
    for name in [name for name in os.environ if name.startswith("PREFECT")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("PREFECT_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return home


def test_nothing_configured(prefect_home: Path) -> None:
    """Without an API in the settings there is no connection."""
    assert configured_connection() is None


def test_environment(prefect_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment names the API, the key, headers of one's own and TLS; `prefect` is not imported for it."""
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example.org/api/")
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_key")
    monkeypatch.setenv("PREFECT_CLIENT_CUSTOM_HEADERS", '{"X-Tenant": "a", "User-Agent": "x"}')
    monkeypatch.setenv("PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "true")
    monkeypatch.setenv("PREFECT_API_SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert configured_connection() == PrefectConnection(
        api_url="https://prefect.example.org/api",
        headers={"authorization": "Bearer pnu_key", "x-tenant": "a"},
        ui_url="https://prefect.example.org",
        verify=False,
        ca_file=str(tmp_path / "ca.pem"),
        timeout_seconds=60.0,
    )


def test_profile(prefect_home: Path) -> None:
    """The active profile names the API; its auth string goes before its key."""
    (prefect_home / "profiles.toml").write_text(
        textwrap.dedent("""
            active = "mine"
            [profiles.mine]
            PREFECT_API_URL = "http://prefect.example.org:4200/api"
            PREFECT_API_AUTH_STRING = "admin:pass"
            PREFECT_API_KEY = "pnu_key"
        """)
    )
    connection = configured_connection()
    assert connection is not None
    assert connection.api_url == "http://prefect.example.org:4200/api"
    assert connection.headers == {"authorization": "Basic " + base64.b64encode(b"admin:pass").decode()}


def test_broken_settings(prefect_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that Prefect refuses are named with the remedy and without their values."""
    monkeypatch.setenv("PREFECT_API_REQUEST_TIMEOUT", "s3cret")
    with pytest.raises(ConfigurationError, match="prefect config view") as caught:
        configured_connection()
    assert "request_timeout" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["prefect.example.org/api", "https:///api", "https://admin:hunter2@prefect.example.org/api"]
)
def test_url_must_be_plain_http(prefect_home: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """An address that no HTTP client understands, or that must not be logged, is refused at start."""
    monkeypatch.setenv("PREFECT_API_URL", url)
    with pytest.raises(ConfigurationError, match="PREFECT_API_URL") as caught:
        configured_connection()
    assert "hunter2" not in str(caught.value)


def test_modules_of_the_working_directory_are_not_run(prefect_home: Path, tmp_path: Path) -> None:
    """A file called prefect.py where pygeoapi runs does no harm."""
    (tmp_path / "prefect.py").write_text("raise RuntimeError")
    assert configured_connection() is None


def test_prefect_is_not_imported() -> None:
    """Neither module brings `prefect` into the process, which would cost it 65 MiB."""
    code = (
        "import sys, pygeoapi_prefect.runner.prefect_server\n"
        "assert not [m for m in sys.modules if m.partition('.')[0] == 'prefect']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The local server


def test_plain_install_answers_its_own_client(raw: httpx.Client) -> None:
    """The installed fastapi fits the installed Prefect: newer ones do not start, or refuse `limit: null`."""
    answer = raw.post("/flow_runs/filter", json={"limit": None})
    assert answer.status_code == 200, answer.text


def test_listens_on_loopback_only(prefect_server: LocalPrefectServer) -> None:
    """Nobody outside this machine reaches the server, which is one process."""
    assert prefect_server.pid is not None
    assert not psutil.Process(prefect_server.pid).children()
    listening = [c for c in psutil.Process(prefect_server.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}


def test_serves_the_ui(prefect_server: LocalPrefectServer) -> None:
    """The UI is there, and looks for the API where the page came from."""
    ui_url = prefect_server.connection.ui_url
    browser = {"accept": "text/html"}
    page = httpx.get(f"{ui_url}/dashboard", headers=browser, follow_redirects=True, trust_env=False)
    assert "<html" in page.text.lower()
    assert httpx.get(f"{ui_url}/ui-settings", trust_env=False).json()["api_url"] == "/api"


def test_restart_keeps_data_and_port(prefect_server: LocalPrefectServer) -> None:
    """What was recorded is there after a restart, at the same address, also when the server was killed."""
    before = prefect_server.connection
    with PrefectApi(before) as api:
        flow_run_id = make_run(api)
        assert prefect_server.pid is not None
        os.kill(prefect_server.pid, signal.SIGKILL)
        _until(lambda: not prefect_server.is_alive())
        assert prefect_server.poll() == -signal.SIGKILL
        prefect_server.start()
        prefect_server.wait_until_healthy(PREFECT_START_SECONDS)
        assert prefect_server.connection == before
        assert state_types(api, [flow_run_id]) == {flow_run_id: "RUNNING"}
    assert (prefect_server.folder / "prefect.db").stat().st_size > 0


def test_taken_port_is_left_alone(tmp_path: Path) -> None:
    """When somebody else listens on the kept port, the server takes another and keeps that."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        (tmp_path / "port").write_text(str(taken))
        server = LocalPrefectServer(tmp_path)
        assert server._choose_port() != taken
    assert int((tmp_path / "port").read_text()) == LocalPrefectServer(tmp_path)._choose_port()


def test_user_settings_do_not_reach_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's Prefect settings, made for clients, are not the server's."""
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example.org/api")
    monkeypatch.setenv("PREFECT_PROFILE", "nonsense")
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql+asyncpg://nobody")
    environment = LocalPrefectServer(tmp_path)._environment()
    assert "PREFECT_API_URL" not in environment
    assert "PREFECT_PROFILE" not in environment
    assert environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"].startswith("sqlite+aiosqlite:///")


def test_writers_do_not_stall(prefect_server: LocalPrefectServer) -> None:
    """Four writers at once wait less than two seconds, not SQLite's five to thirty."""
    slowest: list[float] = []

    def write(api: PrefectApi) -> None:
        for _ in range(15):
            began = time.perf_counter()
            api.set_flow_run_state(make_run(api), state_type="COMPLETED")
            slowest.append(time.perf_counter() - began)

    with PrefectApi(prefect_server.connection) as api:
        threads = [threading.Thread(target=write, args=(api,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(slowest) == 60
    assert max(slowest) < 2


def test_large_log_is_emptied(tmp_path: Path) -> None:
    """The log does not grow for ever: a large one is emptied at the next start, a small one goes on."""
    server = LocalPrefectServer(tmp_path)
    log = tmp_path / "server.log"
    log.write_bytes(b"x" * (LOG_LIMIT_BYTES + 1))
    server._open_log().close()
    assert log.stat().st_size == 0
    log.write_bytes(b"kept")
    server._open_log().close()
    assert log.read_bytes() == b"kept"


def test_server_that_ends_at_once_is_told(tmp_path: Path) -> None:
    """A server that cannot start is an outage that names the log."""

    class Broken(LocalPrefectServer):
        def _environment(self) -> dict[str, str]:
            return super()._environment() | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "nonsense"}

    with Broken(tmp_path) as server, pytest.raises(PrefectUnavailableError, match=r"server\.log"):
        server.wait_until_healthy(PREFECT_START_SECONDS)
    assert server.pid is None


@pytest.mark.soak
def test_server_dies_with_its_parent(tmp_path: Path) -> None:
    """Two seconds after the parent was killed no server is left; the end of the thread that started it is no end."""
    code = textwrap.dedent("""
        import sys, threading, time
        from pathlib import Path
        from pygeoapi_prefect.runner.prefect_server import LocalPrefectServer
        server = LocalPrefectServer(Path(sys.argv[1]))
        starter = threading.Thread(target=server.start)
        starter.start()
        starter.join()
        server.wait_until_healthy(90)
        print('pid', server.pid, flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(next(line for line in parent.stdout if line.startswith("pid ")).split()[1]))
        assert server.nice() == 10
        parent.kill()
        _until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, seconds=2.0)


# Helpers of this module


def _until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


@contextmanager
def _answering(status: int, body: str) -> Iterator[str]:
    """A server that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api"
        finally:
            server.shutdown()
