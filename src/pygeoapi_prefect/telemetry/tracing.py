"""
Spans from the request to the stored outputs, for OpenTelemetry.

They are made where the standard's environment variables name an exporter (``OTEL_EXPORTER_OTLP_ENDPOINT`` or
``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``) and the extra ``otel`` is installed. Elsewhere nothing is imported. No span
of ours holds the message of an error, which may hold what a client sent.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Tracer

LOGGER = logging.getLogger(__name__)

EXPORT_SECONDS = 2.0
"""How long one export may take, repetitions included, and how long the end of a process waits for the last one."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_TRACE_PARENT = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_HEADER = "traceparent"

_flushing: threading.Thread | None = None


@contextmanager
def request_span(process_id: str, trace_parent: str | None) -> Iterator[str | None]:
    """
    Around the answer to an execute request.

    Args:
        process_id: Of the process, which exists.
        trace_parent: The request's header ``traceparent``; one that is malformed is passed over.

    Yields:
        What its job shall have as trace parent. Without an exporter that is the request's own.
    """
    parent = trace_parent if trace_parent and _TRACE_PARENT.fullmatch(trace_parent) else None
    tracer = _tracer()
    if tracer is None:
        yield parent
        return
    from opentelemetry.trace import SpanKind, get_current_span

    # whoever traces the web server itself has made a span of the request
    context = None if get_current_span().get_span_context().is_valid else _context(parent)
    attributes = {"http.request.method": "POST", "http.route": "/processes/{processID}/execution"}
    with _started(tracer, "execute", process_id, SpanKind.SERVER, context, attributes):
        yield current_trace_parent()


@contextmanager
def job_span(job_id: str, process_id: str, trace_parent: str | None, created: datetime | None) -> Iterator[None]:
    """Around a job that runs in the calling process; with a span for the time that it has waited since *created*."""
    tracer = _tracer()
    if tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind

    waited_span(job_id, process_id, trace_parent, created)
    context = _context(trace_parent)
    with _started(tracer, "run", process_id, SpanKind.CONSUMER, context, {"ogc.job_id": job_id}):
        yield


def waited_span(job_id: str, process_id: str, trace_parent: str | None, created: datetime | None) -> None:
    """A span from *created* to now, for a job that begins."""
    tracer = _tracer()
    if tracer is None or created is None:
        return
    span = tracer.start_span(
        f"wait {process_id}",
        context=_context(trace_parent),
        attributes={"ogc.process_id": process_id, "ogc.job_id": job_id},
        start_time=int(created.timestamp() * 1e9),
    )
    span.end(time.time_ns())


@contextmanager
def part_span(name: str) -> Iterator[None]:
    """Around a part of a job, where the job is traced."""
    tracer = _tracer()
    if tracer is None:
        yield
        return
    from opentelemetry.trace import get_current_span

    is_traced = get_current_span().get_span_context().is_valid
    with tracer.start_as_current_span(name) if is_traced else nullcontext():
        yield


def current_trace_parent() -> str | None:
    """Of the span that the caller stands in; None where there is none."""
    if _tracer() is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(_HEADER)


def set_up() -> None:
    """Be ready to make spans, before others that trace in this process look for a provider."""
    _tracer()


def flush() -> None:
    """Have what has ended sent, beside what the process does next."""
    global _flushing  # noqa: PLW0603 one at a time in a process
    if _tracer() is None or (_flushing is not None and _flushing.is_alive()):
        return
    from opentelemetry import trace

    provider: Any = trace.get_tracer_provider()
    _flushing = threading.Thread(target=provider.force_flush, name="send-spans", daemon=True)
    _flushing.start()


def close() -> None:
    """Before a process ends: have what is left sent, within :data:`EXPORT_SECONDS`."""
    if _tracer() is None:
        return
    if _flushing is not None:
        _flushing.join(EXPORT_SECONDS)
    flush()
    assert _flushing is not None
    _flushing.join(EXPORT_SECONDS)


def is_configured(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment names an exporter."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return environment.get("OTEL_TRACES_EXPORTER") != "none" and any(environment.get(name) for name in _ENDPOINTS)


@cache
def _tracer() -> "Tracer | None":
    """Made at the first use: the threads of an exporter do not survive the forks before it."""
    if not is_configured():
        return None
    protocol = next((value for name in _PROTOCOLS if (value := os.environ.get(name))), "http/protobuf")
    if protocol != "http/protobuf":
        LOGGER.warning("jobs are not traced: the protocol must be http/protobuf", extra={"protocol": protocol})
        return None
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        LOGGER.warning("jobs are not traced: install pygeoapi-prefect[otel]", extra={"reason": str(error)})
        return None
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        is_named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        )
        provider = TracerProvider(resource=Resource.create({} if is_named else {"service.name": "pygeoapi"}))
        timeout = None if any(os.environ.get(name) for name in _TIMEOUTS) else EXPORT_SECONDS
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=timeout)))
        trace.set_tracer_provider(provider)
    return trace.get_tracer("pygeoapi_prefect")


def _context(trace_parent: str | None) -> "Context":
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {} if trace_parent is None else {_HEADER: trace_parent}
    return TraceContextTextMapPropagator().extract(carrier, Context())


@contextmanager
def _started(
    tracer: "Tracer",
    does: str,
    process_id: str,
    kind: "SpanKind",
    context: "Context | None",
    attributes: Mapping[str, str],
) -> "Iterator[Span]":
    from opentelemetry.trace import SpanKind, Status, StatusCode

    with tracer.start_as_current_span(
        f"{does} {process_id}",
        context=context,
        kind=kind,
        attributes={"ogc.process_id": process_id, **attributes},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            status = int(getattr(error, "http_status_code", HTTPStatus.INTERNAL_SERVER_ERROR))
            # what a client did wrong is no error of the server
            if kind is not SpanKind.SERVER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                span.set_status(Status(StatusCode.ERROR))
            raise
