"""A request as WSGI has it (PEP 3333): the environment, and the body that a thread reads."""

import asyncio
import sys
from collections.abc import MutableMapping
from io import RawIOBase
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from gateway.policy.paths import parse_target
from gateway.policy.rejections import RequestTimeout
from gateway.upstreams import Receive

Message = MutableMapping[str, Any]


class Input(RawIOBase):
    """A request's body, read from the thread: what has come is here, the rest of a large one is waited for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Receive, first: Message) -> None:
        self.loop = loop
        self.receive = receive
        self.left: bytes | memoryview = b""
        self.ended = self.late = False
        self.take(first)

    def take(self, message: Message) -> None:
        self.late = message["type"] == "http.disconnect"
        self.left = memoryview(message.get("body", b""))
        self.ended = not message.get("more_body", False)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  # anything that is a buffer
        """Read what has come; raise `RequestTimeout` where the rest does not come."""
        while not self.left and not self.ended:
            self.take(asyncio.run_coroutine_threadsafe(cast("Any", self.receive()), self.loop).result())
        if self.late:
            raise RequestTimeout
        size = min(len(buffer), len(self.left))
        buffer[:size], self.left = self.left[:size], self.left[size:]
        return size


def environ(scope: Message, body: Any) -> dict[str, Any]:  # noqa: ANN401  # a file
    """Return the WSGI environment of the request (PEP 3333), with the unchanged target in `RAW_URI`."""
    query = scope["query_string"].decode("latin-1")
    target = scope["raw_path"].decode("latin-1")
    path, _, authority = parse_target(target)
    host, port = scope["server"] or ("localhost", 0)
    made: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": f"{target}?{query}" if query else target,
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0] if scope["client"] else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        if b"_" in name:
            # In WSGI it would be the same as the name with a hyphen.
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        # RFC 9110, section 5.3; cookies are joined otherwise (RFC 6265, section 5.4).
        made[key] = f"{made[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}" if key in made else text
    # A request of HTTP/1.1 without `Host` stays one: it is rejected (RFC 9112, section 3.2).
    if authority is not None and ("HTTP_HOST" in made or scope["http_version"] == "1.0"):
        made["HTTP_HOST"] = authority
    return made
