"""Records spans by OpenTelemetry's library, and sends them to a collector by HTTP and protobuf.

The library reads its own settings (OTEL_…), makes batches, and sends them from a thread. It drops
what waits too long for a collector that does not answer.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.config import ConfigError
from service.model.operations.process_log import say
from service.model.operations.traces import Attributes, Span

_LAST = 2.0  # seconds for which the end of a process waits for spans that are under way
_ASKING = 2.0  # seconds that the doctor gives a collector
_BAD_VALUE = "a setting of OpenTelemetry (OTEL_…) has a value that its library cannot use"

_propagator = TraceContextTextMapPropagator()


class Sender:
    """Records the spans of this process, and sends them."""

    def __init__(self, process: str, address: str) -> None:
        """Begin; `ConfigError` if a setting of the library cannot be used."""
        try:
            exporter = _Exporter(process, OTLPSpanExporter(endpoint=address))
            # At the end of Python it would wait half a minute for a collector that does not answer.
            self._provider = TracerProvider(resource=_resource(process), shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        except ValueError:
            raise ConfigError(_BAD_VALUE) from None
        _silence()
        self._tracer = self._provider.get_tracer("stoppress")
        self._ends, self._has_sent = threading.Event(), threading.Event()
        # Waits from the beginning, because no thread can be started while Python ends.
        threading.Thread(target=self._wait_for_end, name="last spans", daemon=True).start()

    def begin(self, name: str, parent: str, answers: bool) -> Span:
        """Begin a span; see `service/model/operations/traces.py`."""
        kind = trace.SpanKind.SERVER if answers else trace.SpanKind.INTERNAL
        # Without a parent it begins a trace; the library's own idea of the current span is not
        # asked, because a worker has many at once.
        within = _propagator.extract({"traceparent": parent}, context=Context())
        return _Recorded(self._tracer.start_span(name, context=within, kind=kind))

    def send_rest(self) -> None:
        """Send what is left, or give up after two seconds."""
        self._ends.set()
        self._has_sent.wait(_LAST)

    def _wait_for_end(self) -> None:
        self._ends.wait()
        self._provider.force_flush()
        self._has_sent.set()


class _Recorded(Span):
    """A span of the library."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        place = span.get_span_context()
        flags = int(place.trace_flags)
        self.parent = f"00-{place.trace_id:032x}-{place.span_id:016x}-{flags:02x}"

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def fail(self, why: str) -> None:
        self._span.set_status(trace.Status(trace.StatusCode.ERROR, why))

    def end(self) -> None:
        self._span.end()


class _Exporter(SpanExporter):
    """Sends batches; says once in the log that a collector takes none, and once that it does."""

    def __init__(self, process: str, exporter: SpanExporter) -> None:
        self._process, self._exporter = process, exporter
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception:  # its message may have the address
            result = SpanExportResult.FAILURE
        if self._fails != (fails := result is not SpanExportResult.SUCCESS):
            self._fails = fails
            says = "takes no spans, which are dropped: stoppress doctor says why"
            say(self._process, f"the collector {says if fails else 'takes spans again'}")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _Asking(requests.Session):
    """Notes what came of a request, which the library only logs."""

    said = ""

    def send(self, request: Any, **options: Any) -> requests.Response:
        self.said = "it cannot be connected to, or does not answer"
        response = super().send(request, **options)
        self.said = f"it answers with status {response.status_code}"
        return response


def why_not_taken(address: str) -> str:
    """Ask a collector to take no spans at all; return why it does not; empty: it does."""
    _silence()
    asking = _Asking()
    try:
        exporter = OTLPSpanExporter(endpoint=address, session=asking, timeout=_ASKING)
    except ValueError:
        raise ConfigError(_BAD_VALUE) from None
    took = exporter.export(()) is SpanExportResult.SUCCESS
    return "" if took else asking.said or "it is no address that can be asked"


def _silence() -> None:
    """Keep the library from logging each attempt, with the collector's address."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)


def _resource(process: str) -> Resource:
    """Return what all spans of this process have; what the operator set comes last."""
    host = socket.gethostname()
    ours = {
        "service.name": "stop-press",
        "service.version": version("stop-press"),
        "service.instance.id": f"{host}:{os.getpid()}",
        "host.name": host,
        "stoppress.process": process,
    }
    return Resource.create().merge(Resource(ours)).merge(OTELResourceDetector().detect())
