"""Django's WSGI application behind the ASGI server, in threads of its own.

Its views wait for the services and the database, and a thread that is kept from request to request keeps its database
connection too; Django's own ASGI handler would start both anew for each request.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader, RawIOBase
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from gateway.policy.paths import origin_form
from gateway.policy.refusals import BodyLate
from gateway.upstreams import Receive

# How many requests Django answers at once, of pages that wait for a service and of all else; more wait.
PAGE_THREADS: Final = 24
THREADS: Final = 16

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class ClientLeft(Exception):  # noqa: N818  # not an error of ours
    """Nobody is left to be answered."""


class ThreadedWSGI:
    """An ASGI application that runs a WSGI one in threads."""

    def __init__(self, application: WSGIApplication, threads: int) -> None:
        self.application = application
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="django")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        loop = asyncio.get_running_loop()
        exchange = Exchange(self.application, loop, scope, receive, send)
        try:
            await loop.run_in_executor(self.threads, exchange.run)
        except asyncio.CancelledError:
            exchange.client_left = True
            raise

    def close(self) -> None:
        """Let the threads end once they have nothing to do."""
        self.threads.shutdown(wait=False)


class Exchange:
    """One request, from its thread's side."""

    def __init__(  # ASGI's three, and what runs them
        self,
        application: WSGIApplication,
        loop: asyncio.AbstractEventLoop,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        self.application = application
        self.loop = loop
        self.scope = scope
        self.receive = receive
        self.send = send
        self.client_left = False
        self.start: Message = {}
        self.left: int | None = None

    def run(self) -> None:
        """Run the application and pass on what it answers."""
        answer = self.application(
            environ(self.scope, BufferedReader(Input(self.loop, self.receive))), self.start_response
        )
        try:
            ended = False
            for piece in answer:
                if piece:
                    # Where the length is known, so is which piece is the last.
                    self.left = None if self.left is None else self.left - len(piece)
                    ended = self.left is not None and self.left <= 0
                    self.push(piece, more=not ended)
            if not ended:
                self.push(b"", more=False)
        except ClientLeft:
            pass
        finally:
            if close := getattr(answer, "close", None):
                close()

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        """Keep the head for the first piece."""
        pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self.left = next((int(value) for name, value in pairs if name == b"content-length"), None)
        self.start = {"type": "http.response.start", "status": int(status[:3]), "headers": pairs}

    def push(self, piece: bytes, *, more: bool) -> None:
        """Send a piece, and the head before the first; return once the client has taken enough of it."""
        if self.client_left:
            raise ClientLeft
        body: Message = {"type": "http.response.body", "body": piece, "more_body": more}
        messages, self.start = ([self.start, body] if self.start else [body]), {}
        asyncio.run_coroutine_threadsafe(self.send_all(messages), self.loop).result()

    async def send_all(self, messages: list[Message]) -> None:
        """Send the messages."""
        for message in messages:
            await self.send(message)


class Input(RawIOBase):
    """A request's body, read from the thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Receive) -> None:
        self.loop = loop
        self.receive = receive
        self.left = b""
        self.ended = False

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  # anything that is a buffer
        """Read what has come; raise `BodyLate` where the rest does not come."""
        while not self.left and not self.ended:
            message = asyncio.run_coroutine_threadsafe(anext_message(self.receive), self.loop).result()
            if message["type"] == "http.disconnect":
                raise BodyLate
            self.left = message.get("body", b"")
            self.ended = not message.get("more_body", False)
        size = min(len(buffer), len(self.left))
        buffer[:size], self.left = self.left[:size], self.left[size:]
        return size


async def anext_message(receive: Receive) -> Message:
    """Return the next message, whatever awaitable `receive` returns."""
    return await receive()


def environ(scope: Message, body: Any) -> dict[str, Any]:  # noqa: ANN401  # a file
    """Return the WSGI environment of the request (PEP 3333), with the target as it was sent in `RAW_URI`."""
    query = scope["query_string"].decode("latin-1")
    target = scope["raw_path"].decode("latin-1")
    path, authority = origin_form(target)
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
    if authority is not None:
        made["HTTP_HOST"] = authority
    return made
