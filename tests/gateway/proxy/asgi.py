"""An ASGI server's part, by hand: scopes, a body in pieces, and a record of what is sent."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

Message = dict[str, Any]
DISCONNECT: Message = {"type": "http.disconnect"}


def scope_of(
    method: str, target: str, headers: Iterable[tuple[str, str]] = (), *, host: str = "testserver", **more: Any
) -> Message:
    """Return the scope of a request as the server makes it."""
    path, _, query = target.partition("?")
    named = [("host", host)] if host else []
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in [*named, *headers]],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8001),
    } | more


class Server:
    """What a request is asked of, and what it is answered with. `then` follows the body's pieces."""

    def __init__(self, *pieces: bytes, then: Message | None = None) -> None:
        self.pieces = list(pieces) or [b""]
        self.then = then
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        """Return the next piece; after the last one nothing comes, as the client is there and silent."""
        if self.pieces:
            piece = self.pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self.pieces) or self.then is not None}
        if self.then is None:
            await asyncio.Event().wait()
        assert self.then is not None
        return self.then

    async def send(self, message: Message) -> None:
        """Note the message."""
        self.sent.append(message)

    @property
    def status(self) -> int:
        """The response's status."""
        assert self.sent[0]["type"] == "http.response.start"
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        """The response's headers, of which none may come twice here."""
        pairs = [(name.decode().lower(), value.decode("latin-1")) for name, value in self.sent[0]["headers"]]
        assert len(dict(pairs)) == len(pairs), pairs
        return dict(pairs)

    @property
    def body(self) -> bytes:
        """The response's body, as far as it has come."""
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def is_whole(self) -> bool:
        """Whether the response has its end, and nothing after it."""
        ends = [not message.get("more_body", False) for message in self.sent[1:]]
        return ends.count(True) == 1 and ends[-1]

    def json(self) -> Any:
        """Return the body, parsed; it has to be whole."""
        assert self.is_whole
        return json.loads(self.body)


async def ask(
    application: Callable[..., Awaitable[None]],
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]] = (),
    *pieces: bytes,
    then: Message | None = None,
    **more: Any,
) -> Server:
    """Return how the application answers the request."""
    server = Server(*pieces, then=then)
    await application(scope_of(method, target, headers, **more), server.receive, server.send)
    return server
