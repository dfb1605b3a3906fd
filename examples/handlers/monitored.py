"""
Metrics and traces: a hillshade of real terrain, seen by Prometheus, StatsD and OpenTelemetry.

``python examples/handlers/monitored.py`` starts a StatsD server and an OpenTelemetry collector on 127.0.0.1, serves
``monitored.yml``, executes jobs, and shows what each of the three was told. It needs the extras ``examples`` and
``otel``.
"""

import gzip
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click
import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from serving_example import execute, free_port, served, show

HILLSHADE = {"inputs": {"product": "hillshade", "azimuth": 315, "altitude": 45}, "outputs": {"raster": {}}}
MISTAKEN = {"inputs": {"product": "hillshade", "bbox": [0, 0, 1, 1]}, "outputs": {"raster": {}}}  # nothing is there
PARTS = 4  # spans of a job in the pool: the request, waiting, the run, storing the outputs
ARRIVAL_SECONDS = 30
SHOWN = ("pygeoapi_jobs_ended_total", "pygeoapi_job_duration_seconds_sum", "pygeoapi_queue_length", "pygeoapi_handler")


def main() -> None:
    """Execute one job that succeeds and one that fails."""
    metrics_port = free_port()
    with statsd() as (address, lines), collector() as (endpoint, spans):
        environment = {
            "METRICS_PORT": str(metrics_port),
            "STATSD_ADDRESS": address,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",  # milliseconds; the default of 5 seconds is for many spans
        }
        with served("monitored.yml", environment) as client:
            for request in (HILLSHADE, MISTAKEN):
                job = execute(client, "terrain", request)
                click.echo(f"job {job['jobID']} is {job['status']}: {job['message']}")
            scrape = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics", trust_env=False).raise_for_status().text
            shown = [line for line in scrape.splitlines() if line.startswith(SHOWN) and not line.endswith(" 0.0")]
            show("Prometheus scrapes:", "\n".join(shown))
            wait_for(lambda: any("failed" in line for line in lines))
            show("StatsD is told:", "\n".join(lines))
            wait_for(lambda: len(spans) >= 2 * PARTS - 1)
            show("OpenTelemetry shows where the time went:", "\n".join(tree(spans)))


def wait_for(condition: Callable[[], bool]) -> None:
    """Until what was sent has arrived."""
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def tree(spans: list[Span]) -> list[str]:
    """Each trace as lines, the parts of a span below it."""
    known = {span.span_id for span in spans}

    def below(parent: bytes, depth: int) -> Iterator[str]:
        for span in sorted(spans, key=lambda span: span.start_time_unix_nano):
            if (span.parent_span_id if span.parent_span_id in known else b"") == parent:
                milliseconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
                failed = " (failed)" if span.status.code == span.status.STATUS_CODE_ERROR else ""
                yield f"{'  ' * depth}{span.name}: {milliseconds:.1f} ms{failed}"
                yield from below(span.span_id, depth + 1)

    return list(below(b"", 0))


@contextmanager
def statsd() -> Iterator[tuple[str, list[str]]]:
    """A StatsD server: its address, and the lines that have arrived."""
    lines: list[str] = []
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def receive() -> None:
            while line := server.recv(4096).decode():
                lines.append(line)

        thread = threading.Thread(target=receive)
        thread.start()
        host, port = server.getsockname()
        try:
            yield f"{host}:{port}", lines
        finally:
            server.sendto(b"", (host, port))
            thread.join()


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    """A collector of spans by OTLP over HTTP: its URL, and the spans that have arrived."""
    spans: list[Span] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for of_scope in of_resource.scope_spans:
                    spans.extend(of_scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", spans
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    # a local Prefect server would be of no use here: what runs is a plain processor
    os.environ.setdefault("PREFECT_API_URL", "http://127.0.0.1:9/api")
    main()
