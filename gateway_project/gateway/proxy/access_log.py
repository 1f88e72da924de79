"""The access log's lines, as the DRF door's logging writes them, at a tenth of its cost."""

import asyncio
import logging
import os
import sys
import time
from contextlib import suppress
from json.encoder import encode_basestring_ascii as quoted


class AccessLog:
    """Writes a line for each request to standard error: those of one turn of the event loop in one system call."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.on = logging.getLogger("access").isEnabledFor(logging.INFO)
        self.descriptor = sys.__stderr__.fileno() if sys.__stderr__ else 2
        self.second = 0
        self.stamp = ""
        self.waiting: list[str] = []

    def write(  # noqa: PLR0917  # a line's parts, on every request's way
        self,
        request_id: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        user_id: str | None,
        client: str,
        service: str | None,
        address: str | None,
    ) -> None:
        """Write the line before anything else happens on the loop that could wait.

        `service` and `address` are where the request was sent, `None` where it went nowhere.
        """
        if not self.on:
            return
        now = int(time.time())
        if now != self.second:
            self.second = now
            self.stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(now))
        user = "null" if user_id is None else quoted(user_id)
        to = "null" if service is None else quoted(service)
        at = "null" if address is None else quoted(address)
        if not self.waiting:
            self.loop.call_soon(self.flush)
        self.waiting.append(
            f'{{"time": "{self.stamp}", "level": "INFO", "logger": "access", "request_id": "{request_id}", '
            f'"message": {quoted(f"{method} {path} {status}")}, "method": {quoted(method)}, "path": {quoted(path)}, '
            f'"status": {status}, "duration_ms": {seconds * 1000:.2f}, "user_id": {user}, '
            f'"client": {quoted(client)}, "service": {to}, "address": {at}}}\n'
        )

    def flush(self) -> None:
        """Write what waits; a log that cannot be written keeps no request from its answer."""
        lines, self.waiting = "".join(self.waiting).encode(), []
        with suppress(OSError):
            os.write(self.descriptor, lines)
