"""An OpenTelemetry collector: OTLP over HTTP, decoded with OpenTelemetry's own messages."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.server import eventually


class Received(NamedTuple):
    """One span with what it came under."""

    span: Span
    resource: dict[str, Any]
    scope: str
    schema_url: str

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def attributes(self) -> dict[str, Any]:
        return _values(self.span.attributes)


class Collector:
    """Keeps what it was sent. `status` is what it answers; without `answering` it says nothing."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.status = 200
        self.answering = threading.Event()
        self.answering.set()
        self.address = ""

    def named(self, name: str) -> list[Received]:
        """Spans of this name."""
        return [received for received in self.received if received.span.name == name]

    def wait_for(self, name: str, count: int = 1) -> list[Received]:
        """Spans of this name, once so many have come."""
        eventually(lambda: len(self.named(name)) >= count, f"{count} spans {name!r}")
        return self.named(name)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """One request."""
        self.answering.wait(30)
        self.paths.append(path)
        self.headers.append(headers)
        if self.status == 200:
            self.received.extend(_spans(ExportTraceServiceRequest.FromString(body)))
        return self.status


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a port of its own."""
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = kept.take(self.path, headers, body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    kept.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield kept
    finally:
        kept.answering.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Received]:
    for resource in request.resource_spans:
        told = _values(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Received(span, told, scope.scope.name, scope.schema_url)


def _values(attributes: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(inner) for inner in value.array_value.values]
    return getattr(value, kind) if kind else None
