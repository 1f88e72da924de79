"""The access log's lines, as the DRF door's logging writes them, at a tenth of its cost."""

import asyncio
import logging
import os
import sys
import time
from contextlib import suppress
from json.encoder import encode_basestring_ascii as quoted
from typing import Final

from gateway.metrics import METHODS

# Ends of lines.
MAX_CACHED: Final = 16_384


class AccessLog:
    """Writes a line for each request to standard error: those of one turn of the event loop in one system call."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.on = logging.getLogger("access").isEnabledFor(logging.INFO)
        self.descriptor = sys.__stderr__.fileno() if sys.__stderr__ else 2
        self.second = 0
        # The beginning of each line of this second.
        self.start = ""
        # The ends of lines, by what they say: clients repeat them.
        self.ends: dict[tuple[str | None, str, str | None, str | None, str | None], str] = {}
        self.waiting: list[str] = []

    def write(  # noqa: PLR0917  # a line's parts, on every request's way
        self,
        request_id: str,
        trace_id: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        user_id: str | None,
        client: str,
        service: str | None,
        address: str | None,
        code: str | None = None,
    ) -> None:
        """Write the line before anything else happens on the loop that could wait.

        `service` and `address` are where the request was sent, `None` where it went nowhere. `code` is that of the
        gateway's problem, if it rejected the request.
        """
        if not self.on:
            return
        now = int(time.time())
        if now != self.second:
            self.second = now
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(now))
            self.start = f'{{"time": "{stamp}", "level": "INFO", "logger": "access", "request_id": "'
        key = user_id, client, service, address, code
        end = self.ends.get(key) or self.end(key)
        path = quoted(path)[1:-1]
        if method not in METHODS:
            method = quoted(method)[1:-1]
        if not self.waiting:
            self.loop.call_soon(self.flush)
        self.waiting.append(
            f'{self.start}{request_id}", "trace_id": "{trace_id}", "message": "{method} {path} {status}", '
            f'"method": "{method}", "path": "{path}", "status": {status}, "duration_ms": {seconds * 1000:.2f}{end}'
        )

    def end(self, key: tuple[str | None, str, str | None, str | None, str | None]) -> str:
        user, client, service, address, code = ["null" if each is None else quoted(each) for each in key]
        more = "" if key[-1] is None else f', "code": {code}'
        if len(self.ends) >= MAX_CACHED:
            self.ends.clear()
        self.ends[key] = end = (
            f', "user_id": {user}, "client": {client}, "service": {service}, "address": {address}{more}}}\n'
        )
        return end

    def flush(self) -> None:
        """Write what waits; a log that cannot be written delays no response."""
        lines, self.waiting = "".join(self.waiting).encode(), []
        with suppress(OSError):
            os.write(self.descriptor, lines)
