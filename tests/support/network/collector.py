"""An OpenTelemetry collector that keeps the spans it is sent."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Seen(NamedTuple):
    """A span as it was sent."""

    name: str
    process: str
    trace: str
    id: str
    parent: str  # empty: it begins its trace
    attributes: dict[str, str | int]
    error: str  # the status message of one that failed
    seconds: float


class Collector:
    """A server that takes traces by OTLP over HTTP; `answers` holds its answers back."""

    def __init__(self, status: int = 200) -> None:
        self.received: list[bytes] = []
        self.asked = threading.Semaphore(0)  # released by each call
        self.answers = threading.Event()
        self.answers.set()
        collector = self

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.asked.release()
                collector.answers.wait(120)
                if self.path == "/v1/traces" and status == 200:
                    collector.received.append(body)
                self.send_response(status if self.path == "/v1/traces" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *given: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def text(self) -> str:
        """All that came, in which a test looks for what must not be there."""
        return b"\n".join(self.received).decode("latin-1")

    def spans(self) -> list[Seen]:
        found = []
        for body in list(self.received):
            for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = {a.key: a.value.string_value for a in of_process.resource.attributes}
                for of_scope in of_process.scope_spans:
                    found += [_seen(one, resource["stoppress.process"]) for one in of_scope.spans]
        return found

    def named(self, name: str) -> list[Seen]:
        return [one for one in self.spans() if one.name == name]

    def close(self) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()


def _seen(span: object, process: str) -> Seen:
    attributes = {
        one.key: one.value.int_value if one.value.HasField("int_value") else one.value.string_value
        for one in span.attributes
    }
    return Seen(
        span.name,
        process,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        attributes,
        span.status.message,
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )
