"""Laws of MonitoredHandler: what it sends and where, and that a monitoring system never harms a job."""

import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prometheus_client.parser import text_string_to_metric_families

import handlers_of_the_document as document
from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.handlers import CommonExecutionHandler, MonitoredHandler
from pygeoapi_prefect.handlers.chain import HandlerChain
from pygeoapi_prefect.handlers.loading import load_handlers
from pygeoapi_prefect.settings import HandlerSettings
from pygeoapi_prefect.telemetry.measured import MAX_VALUES, forget_measured, measure, measured
from serving import free_port

USAGE = {"wall_seconds": 2.5, "cpu_seconds": 2, "peak_memory_mib": 120, "read_bytes": 10, "written_bytes": 20}


@pytest.fixture(autouse=True)
def no_values():
    forget_measured()
    yield
    forget_measured()


def made(kind=MonitoredHandler, **options):
    handler = kind({"lenv": {"process_id": "slope-map", "job_id": "j"}, "additional_parameters": {}})
    handler.options = options
    return handler


def succeed(handler) -> None:
    chain = HandlerChain([handler])
    chain.pre()
    chain.post("", {}, USAGE, [])


def fail(handler) -> None:
    chain = HandlerChain([handler])
    chain.pre()
    chain.on_failure(RuntimeError("no"))


class TestValues:
    def test_a_success(self):
        """Started and completed once, the duration, and each kind of usage, in the document's names."""
        handler = made()
        succeed(handler)
        values = dict(measured())
        assert [name for name, _ in measured()] == [
            *["workflow.started", "workflow.duration", "workflow.completed"],
            *(f"resource.{key}" for key in USAGE),
        ]
        assert {key: values[f"resource.{key}"] for key in USAGE} == USAGE
        assert handler.metrics == {"status": "completed", "duration": values["workflow.duration"]}

    def test_a_failure(self):
        """Failed in place of completed; the duration counts as well."""
        handler = made()
        fail(handler)
        assert [name for name, _ in measured()] == ["workflow.started", "workflow.duration", "workflow.failed"]
        assert handler.metrics["status"] == "failed"

    def test_a_failure_before_the_start(self):
        """Where an outer handler refuses the job, this one has measured no duration."""
        handler = made()
        HandlerChain([handler]).on_failure(RuntimeError("no"))
        assert [name for name, _ in measured()] == ["workflow.failed"]

    def test_the_documents_class(self):
        """It sends by its own ``send_metric``, as its authors wrote it."""
        sent = []

        class Mine(MonitoredHandler, document.MonitoredHandler):
            def send_metric(self, name, value):
                sent.append(name)

        succeed(made(Mine))
        assert {"workflow.started", "workflow.duration", "workflow.completed", "resource.cpu_seconds"} <= set(sent)
        assert measured() == []

    def test_names_are_a_closed_set(self, caplog):
        """What neither the class nor the configuration declares is logged and passed over."""

        class Mine(MonitoredHandler):
            metric_names = MonitoredHandler.metric_names | {"of.class"}

        handler = made(Mine, metrics=["of.options"])
        for name in ("of.class", "of.options", "of.nobody"):
            handler.send_metric(name, 1)
        assert [name for name, _ in measured()] == ["of.class", "of.options"]
        (record,) = caplog.records
        assert record.message.startswith("metric 'of.nobody' not sent")

    def test_values_are_bounded(self):
        """A job that measures for ever fills no memory."""
        for _ in range(MAX_VALUES + 1):
            measure("a", 1)
        assert len(measured()) == MAX_VALUES

    @pytest.mark.parametrize("options", [{"statsd": "nowhere"}, {"pushgateway_url": "ftp://x"}, {"statsD": "a:1"}])
    def test_wrong_options(self, options):
        """They make the process unavailable, before any job."""
        settings = HandlerSettings(name="pygeoapi_prefect.handlers.MonitoredHandler", options=options)
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            load_handlers("p", [settings])

    def test_a_class_that_shares_its_options(self):
        """A subclass takes the options of its other parents beside these."""

        class Mine(MonitoredHandler, CommonExecutionHandler):
            pass

        Mine.check_options({"pod_env_vars": {"A": "1"}, "metrics": ["pixels"]}, "key")


@pytest.fixture
def statsd():
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        yield server


class TestStatsd:
    def test_lines(self, statsd):
        """One datagram for each value: events are counters, the duration milliseconds, the rest gauges."""
        succeed(made(statsd=f"127.0.0.1:{statsd.getsockname()[1]}"))
        lines = [statsd.recv(4096).decode() for _ in range(3 + len(USAGE))]
        prefix = "pygeoapi.slope_map"
        assert lines[0] == f"{prefix}.workflow.started:1|c"
        assert lines[1].startswith(f"{prefix}.workflow.duration:")
        assert lines[1].endswith("|ms")
        assert f"{prefix}.resource.wall_seconds:2.5|g" in lines


class Pushgateway:
    """What is pushed, as Prometheus's own gateway would take it."""

    def __init__(self, status: int = 200) -> None:
        self.pushes: list[tuple[str, str, dict[str, float]]] = []
        self.let_go = threading.Event()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                families = text_string_to_metric_families(text)
                values = {sample.name: sample.value for family in families for sample in family.samples}
                gateway.pushes.append((self.command, self.path, values))
                if status == 0:
                    gateway.let_go.wait(30)
                self.send_response(status or 200)
                self.end_headers()

            def log_message(self, *_) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class TestPushgateway:
    def test_one_push_for_the_begin_and_one_for_the_end(self):
        """In a group for the process; a push replaces the values of its names alone."""
        with Pushgateway() as gateway:
            succeed(made(pushgateway_url=gateway.url, metrics=["pixels"]))
        (begin, end) = gateway.pushes
        assert begin == (*begin[:2], {"pygeoapi_handler_workflow_started": 1})
        assert begin[:2] == ("POST", "/metrics/job/pygeoapi/process/slope-map")
        assert end[2]["pygeoapi_handler_resource_peak_memory_mib"] == 120
        assert end[2]["pygeoapi_handler_workflow_completed"] == 1

    @pytest.mark.parametrize("status", [500, 0])
    def test_one_that_is_broken_or_hangs(self, status, caplog, monkeypatch):
        """The job goes on, the log says so, and the end of the job does not wait for it again."""
        monkeypatch.setattr("pygeoapi_prefect.handlers.monitored.SEND_SECONDS", 0.2)
        with Pushgateway(status) as gateway:
            succeed(made(pushgateway_url=gateway.url))
            assert len(gateway.pushes) == 1
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.message.startswith("metrics not sent to pushgateway: ")

    def test_the_others_get_theirs(self, statsd):
        """One system that is away does not keep the values from another, nor from the runner."""
        port = statsd.getsockname()[1]
        fail(made(pushgateway_url=f"http://127.0.0.1:{free_port()}", statsd=f"127.0.0.1:{port}"))
        assert statsd.recv(4096) == b"pygeoapi.slope_map.workflow.started:1|c"
        assert len(measured()) == 3
