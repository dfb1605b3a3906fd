"""Laws of the runner's metrics: what is counted, and that nothing else suffers by it."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from factories import accepted, claim_all, ended, runner_record, running
from metrics_seen import Scrape, scraped
from pygeoapi_prefect.exceptions import ConfigurationError, JobStoreUnavailableError
from pygeoapi_prefect.jobs import JobStore, Outcome, StoreLoad
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.runner.held_jobs import HeldJob
from pygeoapi_prefect.runner.metrics import MAX_HANDLER_METRICS, JobStoreCollector, MetricsServer, RunnerMetrics
from pygeoapi_prefect.runner.os_processes import is_alive
from pygeoapi_prefect.schemas import JobStatus
from pygeoapi_prefect.settings import MetricsSettings
from serving import Server, eventually, free_port
from serving import running as serving

LOAD = StoreLoad({("ndvi", JobStatus.ACCEPTED): 2}, 2, 4.0, 5, 6, 1)


def shown(registry: CollectorRegistry) -> Scrape:
    return Scrape(generate_latest(registry).decode())


def collected(load, **arguments) -> Scrape:
    registry = CollectorRegistry()
    registry.register(JobStoreCollector(load, ["ndvi"], **arguments))
    return shown(registry)


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return RunnerMetrics(registry, ["ndvi", "idle"])


def held(job_store, process_id="ndvi", **changes) -> HeldJob:
    claim = running(job_store, process_id=process_id, **changes)
    return HeldJob(job_store.details(claim.job_id))


class TestJobStore:
    def test_what_there_is_to_do(self, job_store):
        """Jobs that have not ended by process and status, the queue and its oldest, recordings, callbacks, runners."""
        job_store.register_runner(runner_record(), lease=60)
        running(job_store, "runs", record=True)
        ended(job_store, process_id="other", record=False)
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        accepted(job_store, "old", created=long_ago)
        subscriber = {"successUri": "https://example.org/done"}
        accepted(job_store, "new", request={"inputs": {}, "subscriber": subscriber})
        (details,) = job_store.claim_to_hand_over("r", limit=1, process_limits={}, processes=["ndvi"], record=False)
        load = job_store.load()
        assert details.job.job_id == "old"
        assert load.jobs == {("ndvi", JobStatus.RUNNING): 1, ("ndvi", JobStatus.ACCEPTED): 2}
        assert (load.queue_length, load.recordings, load.callbacks, load.runners) == (1, 1, 0, 1)
        job_store.give_back(details.job.claim, "waits")
        assert job_store.load().oldest_waits == pytest.approx(3600, abs=60)
        claim_all(job_store)
        assert (job_store.load().callbacks, job_store.load().oldest_waits) == (0, 0)

    def test_every_series_is_there_from_the_first_scrape(self):
        """A process of which no job waits or runs has 0, and processes of another configuration count together."""
        of_others = {("gone", JobStatus.RUNNING): 1, ("lost", JobStatus.RUNNING): 1}
        seen = collected(lambda: StoreLoad(of_others, 0, 0, 0, 0, 1))
        assert seen.value("jobs", process="ndvi", status="accepted") == 0
        assert seen.value("jobs", process="other", status="running") == 2
        assert seen.labels("jobs", "process") == {"ndvi", "other"}

    def test_a_store_that_is_away(self):
        """It is told as down, and what is not known is left out."""

        def away():
            raise JobStoreUnavailableError("down")

        seen = collected(away)
        assert (seen.value("job_store_up"), seen.value("queue_length")) == (0, None)

    def test_a_store_that_hangs(self):
        """A scrape ends without it, the next one asks no second time, and afterwards all is told again."""
        let_go, asked = threading.Event(), []

        def hang():
            asked.append(1)
            assert let_go.wait(30)
            return LOAD

        registry = CollectorRegistry()
        registry.register(JobStoreCollector(hang, ["ndvi"], seconds=0.05))
        assert [shown(registry).value("job_store_up") for _ in range(3)] == [0, 0, 0]
        assert len(asked) == 1
        let_go.set()
        eventually(lambda: shown(registry).value("job_store_up") == 1, within=30)
        assert shown(registry).value("queue_length") == 2

    def test_a_database_that_stops(self, postgresql, postgresql_url):
        """A scrape tells it, and tells all again as soon as the database is back."""
        store = JobStore(Database(postgresql_url, timeout=0))
        registry = CollectorRegistry()
        registry.register(JobStoreCollector(store.load, ["ndvi"], seconds=30))
        try:
            accepted(store)
            assert shown(registry).value("queue_length") == 1
            postgresql.stop()
            assert (shown(registry).value("job_store_up"), shown(registry).value("queue_length")) == (0, None)
            postgresql.start()
            eventually(lambda: shown(registry).value("queue_length") == 1, within=30)
        finally:
            store.database.dispose()

    def test_to_register_asks_nothing(self):
        """A runner starts while its job store is away."""
        asked = []
        CollectorRegistry().register(JobStoreCollector(lambda: asked.append(1), ["ndvi"]))
        assert asked == []


class TestJobs:
    def test_before_any_job(self, registry, metrics):
        """Each process has each terminal status with 0: the first failure is a rise."""
        assert metrics is not None
        seen = shown(registry)
        assert [seen.value("jobs_ended_total", process="idle", status=one) for one in ("failed", "dismissed")] == [0, 0]
        assert seen.value("job_duration_seconds_count", process="idle") == 0

    def test_a_job_from_begin_to_end(self, registry, metrics, job_store):
        """It counts once in each: by its status, how long it waited, how long it ran, and what it used."""
        job = held(job_store, created=datetime.now(UTC) - timedelta(seconds=20))
        metrics.begun(job)
        outcome = Outcome(JobStatus.SUCCESSFUL, "done", usage={"cpu_seconds": 1.5}, metrics=[("workflow.started", 1)])
        metrics.ended(job, outcome.status, outcome)
        seen = shown(registry)
        assert seen.value("jobs_ended_total", process="ndvi", status="successful") == 1
        assert seen.value("job_wait_seconds_bucket", process="ndvi", le="10.0") == 0
        assert seen.value("job_wait_seconds_bucket", process="ndvi", le="300.0") == 1
        assert seen.value("job_duration_seconds_count", process="ndvi") == 1
        assert seen.value("job_cpu_seconds_total", process="ndvi") == 1.5
        assert seen.value("handler_workflow_started_sum", process="ndvi") == 1

    def test_labels_come_from_closed_sets(self, registry, metrics, job_store):
        """A process that is not configured adds no label of its own, whatever it is called."""
        for name in ("gone", "another"):
            job = held(job_store, name)
            metrics.begun(job)
            metrics.ended(job, JobStatus.DISMISSED)
            metrics.lost(name)
        seen = shown(registry)
        assert seen.labels("jobs_ended", "process") == {"ndvi", "idle", "other"}
        assert seen.value("jobs_ended_total", process="other", status="failed") == 2

    def test_names_of_handlers_are_bounded(self, registry, metrics, job_store):
        """A handler that makes up names fills no memory; names that look the same in Prometheus are the same."""
        job = held(job_store)
        values = [("a.b", 1.0), ("a_b", 2.0), *((f"name{n}", 1.0) for n in range(2 * MAX_HANDLER_METRICS))]
        metrics.ended(job, JobStatus.SUCCESSFUL, Outcome(JobStatus.SUCCESSFUL, "done", metrics=values))
        seen = shown(registry)
        assert [seen.value(f"handler_a_b_{part}", process="ndvi") for part in ("count", "sum")] == [2, 3]
        assert sum(name.startswith("pygeoapi_handler_") for name in seen.families) == MAX_HANDLER_METRICS


class TestOutcome:
    def test_usage_and_metrics_travel(self):
        """With the outcome, from wherever the job runs."""
        metrics = [("workflow.started", 1.0)]
        outcome = Outcome(JobStatus.SUCCESSFUL, "done", usage={"wall_seconds": 2.0}, metrics=metrics)
        told = Outcome.from_json({**outcome.to_json(), "metrics": [["workflow.started", 1]]})
        assert (told.usage, told.metrics) == (outcome.usage, outcome.metrics)

    def test_what_is_malformed_is_passed_over(self):
        """Outcomes come from where jobs run, and the runner lives on."""
        values = Outcome.failed("no").to_json()
        wrong = {"usage": {"cpu_seconds": "x", "a": 1}, "metrics": [1, ["a"], ["b", "c"], ["d", 2]]}
        told = Outcome.from_json({**values, **wrong})
        assert (told.usage, told.metrics) == ({"a": 1}, [("d", 2.0)])
        assert Outcome.from_json({**values, "usage": 7, "metrics": {"a": 1}}).metrics == []

    def test_an_older_outcome(self):
        """One that a flow run left before an upgrade has neither."""
        values = Outcome.failed("no").to_json()
        told = Outcome.from_json({key: value for key, value in values.items() if key not in ("usage", "metrics")})
        assert (told.usage, told.metrics) == (None, [])

    def test_usage_is_kept_with_the_job(self, job_store):
        """As the outcome has it; a job without has none."""
        claim = running(job_store, "measured")
        job_store.finish(claim, Outcome(JobStatus.SUCCESSFUL, "done", usage={"peak_memory_mib": 12.5}))
        assert job_store.details("measured").usage == {"peak_memory_mib": 12.5}
        assert job_store.details(ended(job_store).job_id).usage is None


class TestAddress:
    def test_an_address_in_use(self, caplog):
        """It is told once; the server answers when the address is free."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            server = MetricsServer(MetricsSettings(port=port), CollectorRegistry(), retry_seconds=0.02)
            server.start()
            eventually(lambda: "metrics cannot be served yet" in caplog.text, within=30)
        eventually(lambda: _answers(port), within=30)
        assert caplog.text.count("metrics cannot be served yet") == 1
        server.stop()
        assert not _answers(port)

    def test_any_free_port(self, caplog):
        """Port 0 is one that nobody has; the log names it."""
        caplog.set_level(logging.INFO)
        server = MetricsServer(MetricsSettings(port=0), CollectorRegistry())
        server.start()
        (told,) = eventually(lambda: [one for one in caplog.records if one.msg == "metrics are served"], within=30)
        assert _answers(told.port)
        server.stop()

    @pytest.mark.parametrize(
        "keys", [{}, {"port": -1}, {"port": 70000}, {"port": 1, "adress": "x"}, {"port": 1, "host": ""}]
    )
    def test_wrong_settings(self, keys, make_settings):
        """They are refused with the key's name."""
        with pytest.raises(ConfigurationError, match=r"server\.manager\.metrics\."):
            make_settings(metrics=keys)

    def test_imports(self):
        """A runner without metrics, a pool worker and a web process load no library for them, nor for spans."""
        script = (
            "import sys, pygeoapi_prefect.runner.__main__, pygeoapi_prefect.manager\n"
            "from pygeoapi_prefect.telemetry import tracing\n"
            "with tracing.request_span('p', None), tracing.job_span('j', 'p', None, None), tracing.part_span('x'):\n"
            "    tracing.flush()\n"
            "tracing.close()\n"
            "print([name for name in sys.modules if name.startswith(('prometheus', 'opentelemetry', 'google'))])"
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL")}
        command = [sys.executable, "-c", script]
        run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        assert run.stdout.strip() == "[]"


def _answers(port: int) -> bool:
    try:
        scraped(port)
    except httpx.TransportError:
        return False
    return True


MONITORED = {"name": "pygeoapi_prefect.handlers.MonitoredHandler", "options": {"metrics": ["pixels"]}}


@pytest.fixture(scope="module")
def port():
    return free_port()


@pytest.fixture(scope="module")
def served(tmp_path_factory, port):
    processors = {
        "hello": {"name": "HelloWorld"},
        "fail": {"name": "processors.Fail"},
        "sleep": {"name": "processors.Sleep"},
        "monitored": {"name": "processors.Fail", "prefect": {"handlers": [MONITORED]}},
        "monitored-hello": {"name": "HelloWorld", "prefect": {"handlers": [MONITORED]}},
    }
    server = Server(
        tmp_path_factory.mktemp("metrics"), manager={"metrics": {"port": port}, "max_running": 2}, processors=processors
    )
    with serving(server) as served:
        yield served


class TestServed:
    def test_every_metric_is_documented(self, served, port):
        """The table of the how-to page has those of a scrape, each with its labels, and no others."""
        page = (Path(__file__).parents[1] / "docs" / "how-to" / "monitor.md").read_text()
        table = re.findall(r"^\| `(pygeoapi_\w+)` \|(.*?)\| (?:all|runner) \|", page, re.M)
        documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in table}
        served.runner()
        eventually(lambda: _runner_at(port), within=30)
        shown: dict[str, set[str]] = {}
        for family in scraped(port).families.values():
            if family.name.startswith("pygeoapi_") and not family.name.startswith("pygeoapi_handler_"):
                name = f"{family.name}_total" if family.type == "counter" else family.name
                labels = {label for sample in family.samples for label in sample.labels}
                shown[name] = labels - {"le"}
        assert shown == documented

    def test_jobs(self, served, port):
        """What jobs did is in the next scrape."""
        served.wait_for(served.submit("hello", {"name": "Ada"}), "successful")
        served.wait_for(served.submit("fail"), "failed")
        job_id = served.submit("sleep")
        served.wait_for(job_id, "running")
        running = scraped(port)
        assert running.value("jobs", process="sleep", status="running") == 1
        assert (running.value("pool_workers", state="busy"), running.value("pool_limit")) == (1, 2)
        assert (running.value("job_store_up"), running.value("prefect_up"), running.value("runners")) == (1, 0, 1)
        served.client.delete(f"/jobs/{job_id}")
        seen = eventually(lambda: _with_dismissed(port), within=30)
        assert seen.value("jobs_ended_total", process="hello", status="successful") == 1
        assert seen.value("jobs_ended_total", process="fail", status="failed") == 1
        assert seen.value("job_duration_seconds_count", process="sleep") == 1
        assert seen.value("job_wait_seconds_count", process="hello") == 1
        assert seen.labels("runner_info", "runner_id") == {served.runner().runner_id}
        assert seen.families["process_resident_memory_bytes"].samples[0].value > 0

    def test_handlers(self, served, port):
        """What a MonitoredHandler sends is there by process: events, the duration, and what the job used."""
        served.wait_for(served.submit("monitored-hello", {"name": "Ada"}), "successful")
        served.wait_for(served.submit("monitored"), "failed")
        seen = eventually(lambda: _with_failed(port), within=30)
        processes = ("monitored", "monitored-hello")
        counts = {
            name: [seen.value(f"handler_workflow_{name}_sum", process=one) for one in processes]
            for name in ("started", "completed", "failed")
        }
        assert counts == {"started": [1, 1], "completed": [None, 1], "failed": [1, None]}
        assert seen.value("handler_resource_peak_memory_mib_sum", process="monitored-hello") > 1
        assert seen.value("handler_workflow_duration_count", process="monitored") == 1

    def test_usage_of_every_job(self, served):
        """Pool jobs are measured without handlers too; operators see it, and the status of the job has none of it."""
        job_id = served.submit("hello", {"name": "Ada"})
        job = served.wait_for(job_id, "successful")
        shown = served.cli("plugins", "prefect", "jobs", "show", job_id).stdout
        usage = json.loads(shown)["usage"]
        assert set(usage) == {"wall_seconds", "cpu_seconds", "peak_memory_mib", "read_bytes", "written_bytes"}
        assert "usage" not in job

    def test_the_next_runner_has_the_address(self, served, port):
        """A runner that drains lets go of it, while its last job goes on."""
        job_id = served.submit("sleep", {"seconds": 60})
        served.wait_for(job_id, "running")
        first = served.runner()
        os.kill(first.pid, signal.SIGTERM)
        eventually(lambda: _runner_at(port) not in (None, first.runner_id), within=30, what="the next runner")
        assert is_alive(first.pid, first.pid_started)
        served.client.delete(f"/jobs/{job_id}")


def _runner_at(port: int) -> str | None:
    try:
        return next(iter(scraped(port).labels("runner_info", "runner_id")))
    except httpx.TransportError:
        return None


def _with_dismissed(port: int) -> Scrape | None:
    seen = scraped(port)
    return seen if seen.value("jobs_ended_total", process="sleep", status="dismissed") else None


def _with_failed(port: int) -> Scrape | None:
    seen = scraped(port)
    return seen if seen.value("handler_workflow_failed_sum", process="monitored") else None
