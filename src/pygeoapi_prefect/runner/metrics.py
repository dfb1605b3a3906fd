"""
The runner's metrics, for Prometheus. Imports ``prometheus_client``: only where metrics are configured.

Labels come from closed sets: the processes of the configuration, the standard's statuses, and the names that handlers
may use. What counts since the runner's start comes from its own events; what holds for all runners is read from the job
store at each scrape.
"""

import logging
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from pygeoapi_prefect.exceptions import JobStoreUnavailableError
from pygeoapi_prefect.jobs import Outcome, StoreLoad
from pygeoapi_prefect.runner.held_jobs import HeldJob
from pygeoapi_prefect.runner.observer import JobObserver, RunnerUse
from pygeoapi_prefect.schemas import JobStatus
from pygeoapi_prefect.settings import MetricsSettings

LOGGER = logging.getLogger(__name__)

PREFIX = "pygeoapi"
OTHER_PROCESSES = "other"
"""Label of jobs whose process this runner does not know: they belong to another configuration."""

STORE_SECONDS = 2.0
"""How long a scrape waits for the job store; Prometheus itself waits 10 s by default."""

MAX_HANDLER_METRICS = 100
"""Names of metrics of handlers, over all processes; further ones are passed over."""

STOP_SECONDS = 5.0
"""The longest that a runner waits at its end."""

RETRY_SECONDS = 10.0
"""Between two attempts to listen."""

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600, 10800, 36000, 86400)
_UNFIT = re.compile("[^a-zA-Z0-9_]")


class RunnerMetrics(JobObserver):
    """
    Counts what happens to the jobs of one runner.

    Args:
        registry: Where the metrics are found.
        processes: Ids of the configured processes.
    """

    def __init__(self, registry: CollectorRegistry, processes: Collection[str]) -> None:
        self._processes = frozenset(processes)
        self._ended = Counter(
            f"{PREFIX}_jobs_ended", "Jobs that ended at this runner.", ["process", "status"], registry=registry
        )
        self._duration = Histogram(
            f"{PREFIX}_job_duration_seconds",
            "From the begin of jobs to their end.",
            ["process"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._wait = Histogram(
            f"{PREFIX}_job_wait_seconds",
            "From the acceptance of jobs to their begin.",
            ["process"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._cpu = Counter(
            f"{PREFIX}_job_cpu_seconds", "Processor time of ended jobs.", ["process"], registry=registry
        )
        self._of_handlers = HandlerMetrics()
        registry.register(self._of_handlers)
        for process_id in self._processes:
            # a series that appears with its first event hides that event from rate()
            for status in JobStatus:
                if status.is_terminal:
                    self._ended.labels(process_id, status.value)
            for metric in (self._duration, self._wait, self._cpu):
                metric.labels(process_id)

    def begun(self, job: HeldJob) -> None:
        began = job.began or datetime.now(UTC)
        waited = (began - job.details.job.created).total_seconds()
        self._wait.labels(self._label(job.process_id)).observe(max(0.0, waited))

    def ended(self, job: HeldJob, status: JobStatus, outcome: Outcome | None = None) -> None:
        process = self._label(job.process_id)
        self._ended.labels(process, status.value).inc()
        if job.began is not None:
            self._duration.labels(process).observe(max(0.0, (datetime.now(UTC) - job.began).total_seconds()))
        if outcome is not None:
            self._cpu.labels(process).inc(max(0.0, (outcome.usage or {}).get("cpu_seconds", 0.0)))
            self._of_handlers.add(process, outcome.metrics)

    def lost(self, process_id: str) -> None:
        self._ended.labels(self._label(process_id), JobStatus.FAILED.value).inc()

    def _label(self, process_id: str) -> str:
        return process_id if process_id in self._processes else OTHER_PROCESSES


class HandlerMetrics(Collector):
    """What the handlers of jobs have measured: of each name and process the sum and the number of values."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[str, tuple[int, float]]] = {}

    def add(self, process: str, metrics: Iterable[tuple[str, float]]) -> None:
        """Take over names and values."""
        with self._lock:
            for name, value in metrics:
                fit = _UNFIT.sub("_", name)
                if fit not in self._values and len(self._values) >= MAX_HANDLER_METRICS:
                    continue
                of_processes = self._values.setdefault(fit, {})
                count, total = of_processes.get(process, (0, 0.0))
                of_processes[process] = count + 1, total + value

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            values = {name: dict(of_processes) for name, of_processes in self._values.items()}
        for name, of_processes in values.items():
            family = SummaryMetricFamily(
                f"{PREFIX}_handler_{name}", "As handlers of jobs have measured it.", labels=["process"]
            )
            for process, (count, total) in of_processes.items():
                family.add_metric([process], count_value=count, sum_value=total)
            yield family


class RunnerCollector(Collector):
    """
    What the runner is and how busy it is, at the time of the scrape.

    Args:
        runner_id: As in the job store.
        use: Of the runner.
        prefect_is_reachable: Whether Prefect answered lately.
    """

    def __init__(self, runner_id: str, use: Callable[[], RunnerUse], prefect_is_reachable: Callable[[], bool]) -> None:
        self._runner_id = runner_id
        self._use = use
        self._prefect_is_reachable = prefect_is_reachable

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(f"{PREFIX}_runner_info", "This runner.", labels=["runner_id", "version"])
        info.add_metric([self._runner_id, version("pygeoapi-prefect")], 1)
        yield info
        use = self._use()
        workers = GaugeMetricFamily(f"{PREFIX}_pool_workers", "Processes of this runner's pool.", labels=["state"])
        workers.add_metric(["busy"], use.busy)
        workers.add_metric(["idle"], use.idle)
        yield workers
        yield GaugeMetricFamily(f"{PREFIX}_pool_limit", "Jobs that may run in the pool at once.", use.limit)
        yield GaugeMetricFamily(f"{PREFIX}_jobs_handed_over", "Jobs of this runner in deployments.", use.handed_over)
        reachable = int(self._prefect_is_reachable())
        yield GaugeMetricFamily(f"{PREFIX}_prefect_up", "Whether this runner can reach Prefect.", reachable)


class JobStoreCollector(Collector):
    """
    What all runners together have to do, read at the time of the scrape.

    A job store that does not answer within :data:`STORE_SECONDS` is told as down, and its metrics are left out. There
    is one question at a time: scrapes do not pile up behind a database that hangs.

    Args:
        load: Asks the job store; raises JobStoreUnavailableError.
        processes: Ids of the configured processes.
        seconds: How long to wait.
    """

    def __init__(
        self, load: Callable[[], StoreLoad], processes: Collection[str], *, seconds: float = STORE_SECONDS
    ) -> None:
        self._load = load
        self._processes = tuple(processes)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self._answer: StoreLoad | None = None
        self._is_asking = False

    def collect(self) -> Iterator[Metric]:
        found = self._found()
        yield GaugeMetricFamily(f"{PREFIX}_job_store_up", "Whether the job store answers.", int(found is not None))
        if found is not None:
            yield self._jobs(found.jobs)
            yield GaugeMetricFamily(f"{PREFIX}_queue_length", "Jobs that wait for a runner.", found.queue_length)
            yield GaugeMetricFamily(
                f"{PREFIX}_queue_oldest_seconds", "How long the oldest of them has waited.", found.oldest_waits
            )
            yield GaugeMetricFamily(
                f"{PREFIX}_recordings_waiting", "Jobs that Prefect does not show completely yet.", found.recordings
            )
            yield GaugeMetricFamily(f"{PREFIX}_callbacks_waiting", "Calls of clients to be made.", found.callbacks)
            yield GaugeMetricFamily(f"{PREFIX}_runners", "Runners that live.", found.runners)

    def describe(self) -> Iterator[Metric]:
        """Nothing: to register a collector must not ask the job store."""
        return iter(())

    def _jobs(self, jobs: Mapping[tuple[str, JobStatus], int]) -> Metric:
        statuses = [status for status in JobStatus if not status.is_terminal]
        counts = {(process_id, status): 0 for process_id in self._processes for status in statuses}
        for (process_id, status), count in jobs.items():
            label = process_id if process_id in self._processes else OTHER_PROCESSES
            counts[label, status] = counts.get((label, status), 0) + count
        family = GaugeMetricFamily(
            f"{PREFIX}_jobs", "Jobs of all runners that have not ended.", labels=["process", "status"]
        )
        for (label, status), count in counts.items():
            family.add_metric([label, status.value], count)
        return family

    def _found(self) -> StoreLoad | None:
        with self._lock:
            if not self._is_asking:
                self._is_asking = True
                self._answered.clear()
                # a thread that nobody waits for at the end of the process
                threading.Thread(target=self._ask, name="metrics-job-store", daemon=True).start()
        return self._answer if self._answered.wait(self._seconds) else None

    def _ask(self) -> None:
        answer = None
        try:
            answer = self._load()
        except JobStoreUnavailableError:
            LOGGER.warning("job store cannot be reached for metrics", extra={"action": "scrape"})
        except Exception:
            LOGGER.exception("job store cannot be read for metrics", extra={"action": "scrape"})
        with self._lock:
            self._answer = answer
            self._is_asking = False
            self._answered.set()


class MetricsServer:
    """
    Answers scrapes, in threads of its own.

    An address that cannot be had, because another runner of the host has it, is told once and tried again: a
    runner works without being scraped.

    Args:
        settings: Where to listen.
        registry: What to answer.
        retry_seconds: Between two attempts.
    """

    def __init__(
        self, settings: MetricsSettings, registry: CollectorRegistry, *, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._retry_seconds = retry_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Listen, or go on trying to."""
        self._thread.start()

    def stop(self) -> None:
        """Let go of the address: another runner may take it then."""
        self._stopping.set()
        # a look-up of the host's name knows no time limit
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        is_told = False
        while not self._stopping.is_set():
            facts = {"action": "serve_metrics", "host": self._settings.host, "port": self._settings.port}
            try:
                server, thread = start_http_server(self._settings.port, self._settings.host, self._registry)
            except OSError as error:
                if not is_told:
                    LOGGER.warning("metrics cannot be served yet", extra={**facts, "reason": str(error)})
                is_told = True
                self._stopping.wait(self._retry_seconds)
                continue
            LOGGER.info("metrics are served", extra={**facts, "port": server.server_port})
            self._stopping.wait()
            server.shutdown()
            server.server_close()
            thread.join()


def serve_metrics(
    settings: MetricsSettings,
    processes: Collection[str],
    *,
    runner_id: str,
    use: Callable[[], RunnerUse],
    prefect_is_reachable: Callable[[], bool],
    load: Callable[[], StoreLoad],
) -> tuple[RunnerMetrics, MetricsServer]:
    """
    Begin to serve the metrics of a runner.

    Args:
        settings: Where to listen.
        processes: Ids of the configured processes.
        runner_id: As in the job store.
        use: How busy the runner is.
        prefect_is_reachable: Whether Prefect answered lately.
        load: Asks the job store what there is to do.

    Returns:
        Who is to be told of jobs, and what is to be stopped at the end.
    """
    # else each counter and histogram has one series more, for the time of its first value
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    metrics = RunnerMetrics(registry, processes)
    registry.register(RunnerCollector(runner_id, use, prefect_is_reachable))
    registry.register(JobStoreCollector(load, processes))
    ProcessCollector(registry=registry)
    server = MetricsServer(settings, registry)
    server.start()
    return metrics, server
