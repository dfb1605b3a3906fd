"""An OpenTelemetry collector: takes spans by OTLP over HTTP."""

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from serving import eventually


@dataclass(frozen=True)
class ReceivedSpan:
    """
    A span as it arrived.

    Attributes:
        start: Seconds since the epoch.
        end: Likewise.
        text: All of it, as text.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start: float
    end: float
    is_error: bool
    service: str
    attributes: dict[str, str]
    text: str


class OtlpReceiver:
    """
    Listens on a free port of 127.0.0.1.

    Attributes:
        spans: What arrived, in order.
    """

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver._take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def _take(self, body: bytes) -> None:
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {one.key: one.value.string_value for one in of_resource.resource.attributes}
            spans = [
                ReceivedSpan(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    start=span.start_time_unix_nano / 1e9,
                    end=span.end_time_unix_nano / 1e9,
                    is_error=span.status.code == 2,
                    service=resource["service.name"],
                    attributes={one.key: one.value.string_value for one in span.attributes},
                    text=str(span),
                )
                for of_scope in of_resource.scope_spans
                for span in of_scope.spans
            ]
            with self._lock:
                self.spans += spans

    def trace(self, trace_id: str, *names: str, within: float = 60) -> dict[str, ReceivedSpan]:
        """The spans of a trace by name, when those that are named have arrived."""

        def arrived() -> dict[str, ReceivedSpan] | None:
            found = {span.name: span for span in list(self.spans) if span.trace_id == trace_id}
            return found if set(names) <= found.keys() else None

        return dict(eventually(arrived, within=within, what=f"spans {names} of {trace_id}"))

    def __enter__(self) -> "OtlpReceiver":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
