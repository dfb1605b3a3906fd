"""Laws of spans: one trace from the request to the task, and nothing where nobody asks for it."""

import json
import uuid

import pytest

from factories import accepted, claim_all
from metrics_seen import scraped
from otlp_receiver import OtlpReceiver
from prefect_worker import PrefectWorker
from pygeoapi_prefect.jobs import JobSecrets
from pygeoapi_prefect.process.handed_over import HandedOver, read_order
from pygeoapi_prefect.telemetry.tracing import is_configured, request_span
from serving import Server, free_port, running

POOL = "traced"
WORKER_SECONDS = 90
"""For a Prefect worker to take a run, on a busy machine."""


def new_parent() -> tuple[str, str]:
    """A client's ``traceparent``, and its trace id."""
    trace_id = uuid.uuid4().hex
    return f"00-{trace_id}-00f067aa0ba902b7-01", trace_id


class TestWithoutExporter:
    @pytest.mark.parametrize(
        ("header", "kept"),
        [
            (None, False),
            ("", False),
            (f"00-{'a' * 32}-{'b' * 16}-01", True),
            (f"00-{'0' * 32}-{'b' * 16}-01", False),
            (f"00-{'a' * 32}-{'0' * 16}-01", False),
            (f"00-{'A' * 32}-{'b' * 16}-01", False),
            (f"ff-{'a' * 32}-{'b' * 16}-01", False),
            (f"00-{'a' * 32}-{'b' * 16}-01\r\nX: y", False),
            ("x" * 100_000, False),
        ],
    )
    def test_the_clients_own_is_passed_on(self, header, kept):
        """Where it is well formed: the places where jobs run may have an exporter though the web process has none."""
        with request_span("p", header) as trace_parent:
            assert trace_parent == (header if kept else None)

    @pytest.mark.parametrize(
        ("environment", "configured"),
        [
            ({}, False),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
            ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ],
    )
    def test_the_standards_variables_switch_it(self, environment, configured):
        """An endpoint switches spans on; the standard's ways to switch them off hold."""
        assert is_configured(environment) is configured

    def test_it_is_kept_with_the_job(self, job_store):
        """From the request to whoever claims the job, and with the order of a deployment."""
        parent, _ = new_parent()
        job = accepted(job_store, trace_parent=parent)
        assert [details.trace_parent for details in claim_all(job_store)] == [parent]
        created = job.created.isoformat()
        handed_over = HandedOver("j", "p", {}, {"inputs": {}}, "/", trace_parent=parent, created=created)
        assert read_order(handed_over.order_json(), "j", JobSecrets()).traced == ("j", "p", parent, job.created)


@pytest.fixture(scope="module")
def collector():
    with OtlpReceiver() as collector:
        yield collector


@pytest.fixture(scope="module")
def environment(collector, prefect_server):
    """Of the server and of Prefect's worker."""
    return {
        "PREFECT_API_URL": prefect_server.connection.api_url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


@pytest.fixture(scope="module")
def port():
    return free_port()


@pytest.fixture(scope="module")
def served(environment, port, tmp_path_factory):
    processors = {
        "hello": {"name": "HelloWorld"},
        "fail": {"name": "processors.Fail"},
        "sleep": {"name": "processors.Sleep"},
        "double": {"name": "pygeoapi_prefect.FlowProcessor", "prefect": {"flow": "traced_flows:traced"}},
        "deployed": {
            "name": "pygeoapi_prefect.FlowProcessor",
            "prefect": {
                "flow": "traced_flows:traced",
                "deployment": {"work_pool": POOL},
                "handlers": ["pygeoapi_prefect.handlers.MonitoredHandler"],
            },
        },
    }
    folder = tmp_path_factory.mktemp("traced")
    server = Server(folder, processors=processors, manager={"metrics": {"port": port}}, environment=environment)
    with running(server) as served:
        yield served


def submitted(served, process_id, inputs, **headers) -> str:
    response = served.client.post(
        f"/processes/{process_id}/execution", json={"inputs": inputs}, headers={"Prefer": "respond-async", **headers}
    )
    assert response.status_code == 201, response.text
    return str(response.json()["jobID"])


class TestServed:
    def test_a_plain_processor(self, served, collector):
        """Client, request, waiting, run and storing are one trace; the job's spans stand below the request's."""
        parent, trace_id = new_parent()
        job_id = submitted(served, "hello", {"name": "Ada"}, traceparent=parent)
        served.wait_for(job_id, "successful")
        spans = collector.trace(trace_id, "execute hello", "wait hello", "run hello", "store outputs")
        request, ran, waited, stored = (
            spans[name] for name in ("execute hello", "run hello", "wait hello", "store outputs")
        )
        assert request.parent_id == parent.split("-")[2]
        assert {waited.parent_id, ran.parent_id} == {request.span_id}
        assert stored.parent_id == ran.span_id
        assert waited.end <= ran.end
        assert (ran.attributes["ogc.process_id"], ran.attributes["ogc.job_id"]) == ("hello", job_id)
        assert {span.service for span in spans.values()} == {"pygeoapi"}

    def test_a_failure(self, served, collector):
        """The span of the run is one of an error, and says its type alone."""
        parent, trace_id = new_parent()
        served.wait_for(submitted(served, "fail", {}, traceparent=parent), "failed")
        spans = collector.trace(trace_id, "execute fail", "run fail")
        assert (spans["run fail"].is_error, spans["run fail"].attributes["error.type"]) == (True, "RuntimeError")
        assert not spans["execute fail"].is_error
        assert "disk of node 7" not in spans["run fail"].text

    def test_a_refusal(self, served, collector):
        """What a client did wrong is no error of the server."""
        parent, trace_id = new_parent()
        response = served.client.post(
            "/processes/hello/execution", json={"inputs": {"unknown": 1}}, headers={"traceparent": parent}
        )
        assert response.status_code == 400
        span = collector.trace(trace_id, "execute hello")["execute hello"]
        assert (span.is_error, span.attributes["error.type"]) == (False, "InvalidInputsError")

    def test_a_dismissed_job(self, served, collector):
        """The span of its run ends as it is stopped."""
        parent, trace_id = new_parent()
        job_id = submitted(served, "sleep", {}, traceparent=parent)
        served.wait_for(job_id, "running")
        served.client.delete(f"/jobs/{job_id}")
        assert collector.trace(trace_id, "run sleep")["run sleep"].is_error

    def test_a_flow(self, served, collector):
        """Prefect's spans of flow run and task stand below the run of the job."""
        parent, trace_id = new_parent()
        job_id = submitted(served, "double", {"number": 4}, traceparent=parent)
        served.wait_for(job_id, "successful", within=90)
        spans = collector.trace(trace_id, "execute double", "run double", f"double {job_id}", "store outputs")
        (task,) = [span for name, span in spans.items() if name.startswith("double-")]
        assert spans[f"double {job_id}"].parent_id == spans["run double"].span_id
        assert task.parent_id == spans[f"double {job_id}"].span_id
        assert spans["store outputs"].parent_id == spans[f"double {job_id}"].span_id

    @pytest.mark.soak
    def test_a_deployment(self, served, collector, environment, port, tmp_path):
        """The trace goes on where the deployment runs, and usage and metrics come back with the outcome."""
        deployed = served.cli("plugins", "prefect", "deploy", "deployed", check=False)
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        worker = PrefectWorker(environment["PREFECT_API_URL"], POOL, tmp_path / "worker", environment).start()
        try:
            parent, trace_id = new_parent()
            job_id = submitted(served, "deployed", {"number": 4}, traceparent=parent)
            served.wait_for(job_id, "successful", within=WORKER_SECONDS)
            flow_run = f"deployed {job_id}"
            spans = collector.trace(trace_id, "execute deployed", "wait deployed", flow_run, "store outputs")
        finally:
            worker.stop()
        request = spans["execute deployed"].span_id
        assert [spans[name].parent_id for name in ("wait deployed", flow_run)] == [request, request]
        assert spans["store outputs"].parent_id == spans[flow_run].span_id
        usage = json.loads(served.cli("plugins", "prefect", "jobs", "show", job_id).stdout)["usage"]
        assert usage["cpu_seconds"] > 0
        seen = scraped(port)
        assert seen.value("handler_workflow_completed_sum", process="deployed") == 1
        assert seen.value("job_cpu_seconds_total", process="deployed") == pytest.approx(usage["cpu_seconds"])
        assert seen.value("job_wait_seconds_count", process="deployed") == 1
