"""What a project responds while its database cannot be reached at the start, before the project itself can run."""

import json
from collections.abc import Container
from http.server import BaseHTTPRequestHandler
from typing import Any

from . import conf, problems

DETAIL = "The database cannot be reached. The service starts as soon as it can."


def probes(live: Container[str]) -> type[BaseHTTPRequestHandler]:
    """Return a handler that responds with 200 at the paths of `live`, and with 503 elsewhere."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def respond(self) -> None:
            self.close_connection = True
            path = self.path.partition("?")[0]
            if path in live:
                self.send(
                    200, "application/json", json.dumps({"status": "ok", "service": conf.options().service}).encode()
                )
                return
            document = problems.members(path, 503, DETAIL, code="database_unavailable")
            self.send(503, problems.MEDIA_TYPE, problems.encode(document))

        def send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            if status == 503:
                self.send_header("Retry-After", "1")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = respond  # noqa: N815  # http.server's

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401  # http.server's
            """Nothing: probes would fill the log."""

    return Handler
