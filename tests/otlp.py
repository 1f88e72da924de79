"""A receiver of spans: OTLP/HTTP with protobuf, as an OpenTelemetry Collector has it."""

import gzip
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from tests.waiting import wait_until


@dataclass(frozen=True)
class Span:
    """A received span; ids in hexadecimal digits."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    nanoseconds: int
    is_error: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


SERVER, CLIENT = 2, 3


class Receiver:
    """Keeps what is exported to `url`. Use it as a context manager; with `status` it rejects all."""

    def __init__(self, port: int = 0, status: int = 200) -> None:
        self.status = status
        self.spans: list[Span] = []
        self.requests = 0
        # Of the last request.
        self.headers: Mapping[str, str] = {}
        self.open = threading.Event()
        self.open.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.receive(self)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Respond to requests only after the block."""
        self.open.clear()
        yield
        self.open.set()

    def receive(self, handler: BaseHTTPRequestHandler) -> None:
        content = handler.rfile.read(int(handler.headers["Content-Length"]))
        if handler.headers.get("Content-Encoding") == "gzip":
            content = gzip.decompress(content)
        assert (handler.path, handler.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
        status, self.headers = self.status, dict(handler.headers)
        self.requests += 1
        self.open.wait()
        if status == 200:
            self.take(content)
        body = ExportTraceServiceResponse().SerializeToString()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/x-protobuf")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def take(self, content: bytes) -> None:
        self.spans.extend(parse(content))

    def wait_for(self, count: int, select: Callable[[Span], bool] = lambda span: True) -> list[Span]:
        """Return the selected spans once there are so many."""
        wait_until(lambda: sum(map(select, [*self.spans])) >= count, f"{count} spans")
        return [span for span in self.spans if select(span)]


def parse(content: bytes) -> list[Span]:
    exported = ExportTraceServiceRequest.FromString(content)
    return [
        Span(
            service=str(values(resource.resource.attributes)["service.name"]),
            name=span.name,
            kind=span.kind,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            nanoseconds=span.end_time_unix_nano - span.start_time_unix_nano,
            is_error=span.status.code == 2,
            attributes=values(span.attributes),
            resource=values(resource.resource.attributes),
        )
        for resource in exported.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}
