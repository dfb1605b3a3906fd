"""Jobs that tell a monitoring system how they go."""

import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from pydantic import Field

from pygeoapi_prefect.handlers.common import CommonExecutionHandler
from pygeoapi_prefect.handlers.options import HandlerOptions
from pygeoapi_prefect.telemetry.measured import measure

LOGGER = logging.getLogger(__name__)

SEND_SECONDS = 2.0
"""The longest that a job waits for one monitoring system; after that it goes on without."""

STARTED, COMPLETED, FAILED, DURATION = "workflow.started", "workflow.completed", "workflow.failed", "workflow.duration"
_EVENTS = frozenset({STARTED, COMPLETED, FAILED})
_USAGE = ("wall_seconds", "cpu_seconds", "peak_memory_mib", "read_bytes", "written_bytes")
_UNFIT = re.compile("[^a-zA-Z0-9_]")

Metrics = Sequence[tuple[str, float]]
"""Names and values, in the order in which they were measured."""


class MonitoredOptions(HandlerOptions):
    """
    The options of :class:`MonitoredHandler`.

    Attributes:
        metrics: Names of further metrics that :meth:`MonitoredHandler.send_metric` takes.
        pushgateway_url: Of a Prometheus Pushgateway.
        statsd: ``host:port`` of a StatsD server, by UDP.
    """

    metrics: tuple[str, ...] = ()
    pushgateway_url: str | None = Field(default=None, pattern=r"^https?://")
    statsd: str | None = Field(default=None, pattern=r"^[^:\s]+:\d+$")


class MonitoredHandler(CommonExecutionHandler):
    """
    Sends when the job started, completed or failed, how long it took and what it used.

    The values go to the runner, which serves them with its own metrics, and to the systems that the options of
    :class:`MonitoredOptions` name. One that is away is logged; it neither fails a job nor holds it up for more than
    :data:`SEND_SECONDS`.

    Attributes:
        metric_names: The names that :meth:`send_metric` takes. Subclasses may have more.
        metrics: ``status`` (``started``, ``completed`` or ``failed``) and, at the end, ``duration`` in seconds.
        start_time: Seconds since the epoch; None before :meth:`pre_execution_hook`.
    """

    own_options = MonitoredOptions
    metric_names: ClassVar[frozenset[str]] = _EVENTS | {DURATION} | {f"resource.{key}" for key in _USAGE}

    def __init__(self, conf: dict[str, Any], outputs: dict[str, Any] | None = None) -> None:
        super().__init__(conf, outputs)
        self.metrics: dict[str, Any] = {}
        self.start_time: float | None = None
        self._unsent: list[tuple[str, float]] = []
        self._lost: set[str] = set()

    def pre_execution_hook(self) -> None:
        self.start_time = time.time()
        self.metrics["status"] = "started"
        self.send_metric(STARTED, 1)
        self._send()
        super().pre_execution_hook()

    def post_execution_hook(
        self,
        log: str,
        output: Mapping[str, Any],
        usage_report: Mapping[str, float],
        tool_logs: list[dict[str, str]],
    ) -> None:
        super().post_execution_hook(log, output, usage_report, tool_logs)
        self._send_duration()
        self.metrics["status"] = "completed"
        self.send_metric(COMPLETED, 1)
        if usage_report:
            self.send_usage_metrics(usage_report)

    def handle_outputs(
        self,
        log: str,
        output: Mapping[str, Any],
        usage_report: Mapping[str, float],
        tool_logs: list[dict[str, str]],
    ) -> None:
        super().handle_outputs(log, output, usage_report, tool_logs)
        self._send()

    def on_failure(self, error: Exception) -> None:
        super().on_failure(error)
        self._send_duration()
        self.metrics["status"] = "failed"
        self.send_metric(FAILED, 1)
        self._send()

    def send_metric(self, name: str, value: float) -> None:
        """
        Take a value for the monitoring systems; they get it at the end of the hook or of the job.

        Args:
            name: One of :attr:`metric_names`, or of the option ``metrics``; another one is logged and passed over, for
                names make series, and monitoring systems keep those.
            value: In the unit that the name tells.
        """
        if name not in self.metric_names and name not in self._monitoring.metrics:
            LOGGER.warning("metric %r not sent: declare it in metric_names, or in the option 'metrics'", name)
            return
        measure(name, float(value))
        self._unsent.append((name, float(value)))

    def send_usage_metrics(self, usage_report: Mapping[str, float]) -> None:
        """Send what the job has used, as ``resource.<key>``."""
        for key, value in usage_report.items():
            self.send_metric(f"resource.{key}", value)

    @property
    def _monitoring(self) -> MonitoredOptions:
        return MonitoredOptions.of(self.options)

    def _send_duration(self) -> None:
        if self.start_time is not None and "duration" not in self.metrics:
            self.metrics["duration"] = time.time() - self.start_time
            self.send_metric(DURATION, self.metrics["duration"])

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        process_id = str(self.conf["lenv"].get("process_id", ""))
        for name, send in _systems(self._monitoring).items():
            # the second hook of a job does not wait for what was away at the first
            if unsent and name not in self._lost and not _within_seconds(name, partial(send, process_id, unsent)):
                self._lost.add(name)


def _systems(options: MonitoredOptions) -> dict[str, Callable[[str, Metrics], None]]:
    systems: dict[str, Callable[[str, Metrics], None]] = {}
    if options.pushgateway_url is not None:
        systems["pushgateway"] = partial(_push, options.pushgateway_url)
    if options.statsd is not None:
        systems["statsd"] = partial(_send_to_statsd, options.statsd)
    return systems


def _within_seconds(name: str, send: Callable[[], None]) -> bool:
    """Whether *send* did it in time. In a thread: the look-up of a name knows no time limit."""
    failures: list[str] = []

    def run() -> None:
        try:
            send()
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=run, name=f"send-to-{name}", daemon=True)
    thread.start()
    thread.join(SEND_SECONDS)
    if thread.is_alive():
        failures.append(f"no answer within {SEND_SECONDS:g} s")
    if failures:
        # in the text: the log of a job has no facts beside it
        LOGGER.warning("metrics not sent to %s: %s", name, failures[0])
    return not failures


def _push(url: str, process_id: str, metrics: Metrics) -> None:
    """The last value of each metric, in a group for the process."""
    from prometheus_client import CollectorRegistry, Gauge, pushadd_to_gateway

    registry = CollectorRegistry()
    for name, value in dict(metrics).items():
        Gauge(f"pygeoapi_handler_{_UNFIT.sub('_', name)}", name, registry=registry).set(value)
    pushadd_to_gateway(
        url, job="pygeoapi", registry=registry, grouping_key={"process": process_id}, timeout=SEND_SECONDS
    )


def _send_to_statsd(address: str, process_id: str, metrics: Metrics) -> None:
    """Source: https://github.com/statsd/statsd/blob/master/docs/metric_types.md."""
    host, _, port = address.rpartition(":")
    family, kind, protocol, _, place = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as connection:
        for name, value in metrics:
            kind_of_value = "ms" if name == DURATION else "c" if name in _EVENTS else "g"
            shown = value * 1000 if name == DURATION else value
            line = f"pygeoapi.{_UNFIT.sub('_', process_id)}.{name}:{shown:.15g}|{kind_of_value}"
            connection.sendto(line.encode(), place)
