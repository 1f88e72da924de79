"""Django's WSGI application behind the ASGI server, in threads of its own.

Its views wait for the services and the database. A thread that is kept from request to request keeps its database
connection too; Django's own ASGI handler would start both again for each request.

A thread works for a request and never waits for a client: what the view returns leaves the thread whole, as a file, or
as a stream of a service's, and the event loop sends it as the client takes it.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from typing import Any, Final, NamedTuple, Protocol, cast

from gateway.memory import Holding, Memory
from gateway.policy.rejections import UpstreamError
from gateway.upstreams import Receive

from .environ import Input, Message, environ

log = logging.getLogger(__name__)

# How many requests Django handles at once, of pages that wait for a service and of all else; more wait.
PAGE_THREADS: Final = 24
THREADS: Final = 16
# Bytes of a response that are handed to the server at once.
PIECE: Final = 64 * 1024

Send = Callable[[Message], Awaitable[None]]
WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class ClientDisconnected(Exception):  # noqa: N818  # not an error of ours
    """The client has left."""


class WSGIClient:
    """What a view can learn of its client's connection, in `environ["gatehouse.client"]`.

    Only the gateway's own server sets it; under another WSGI server the key is missing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_disconnected = False
        self._loop = loop
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []

    def on_disconnect(self, callback: Callable[[], object]) -> None:
        """Call it on the event loop once the client has left before its response was whole; soon, if it has left."""
        with self._lock:
            if not self.is_disconnected:
                self._callbacks.append(callback)
                return
        self._loop.call_soon_threadsafe(callback)

    def disconnect(self) -> None:
        with self._lock:
            self.is_disconnected = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class FileWrapper:
    """A file as a response (PEP 3333, `wsgi.file_wrapper`): the event loop reads it as the client takes it."""

    def __init__(self, file: Any, block_size: int = PIECE) -> None:  # noqa: ANN401  # file-like
        self.file = file

    def close(self) -> None:
        if close := getattr(self.file, "close", None):
            close()


class LoopStream(Protocol):
    """A response that is sent on the event loop: `pieces_on_loop` replaces the iteration in the thread.

    For a stream that comes over the gateway's own connections. At its end `close` is called, on the loop.
    """

    def pieces_on_loop(self) -> AsyncIterator[bytes]:
        """Yield the content as it comes."""


class Response(NamedTuple):
    """What has left the thread: content that is whole, a file, or a stream; nothing where the thread has sent it."""

    start: Message
    content: bytes | FileWrapper | LoopStream | None

    async def send(self, send: Send, holding: Holding) -> None:
        """Send it, no faster than the client takes it. What is whole counts in `holding` until it is taken."""
        if self.content is None:
            return
        await send(self.start)
        if isinstance(self.content, bytes):
            size = len(self.content)
            # Views, so that no piece is a copy.
            view = memoryview(self.content)
            for at in range(0, size or 1, PIECE):
                end = at + PIECE
                if size > PIECE:
                    holding.replace(size - at)
                await send({"type": "http.response.body", "body": view[at:end], "more_body": end < size})
            return
        if isinstance(self.content, FileWrapper):
            while piece := self.content.file.read(PIECE):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        else:
            try:
                async for piece in self.content.pieces_on_loop():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except UpstreamError as exc:
                # The head is out. Without its end the client can tell, as the server closes the connection.
                log.warning("A response was cut off: %s", exc.detail)
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def close(self) -> None:
        if not isinstance(self.content, bytes) and (close := getattr(self.content, "close", None)):
            close()


class ThreadedWSGI:
    """An ASGI application that runs a WSGI one in threads."""

    def __init__(self, application: WSGIApplication, threads: int, memory: Memory | None = None) -> None:
        self.application = application
        self.memory = memory or Memory()
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="django")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one HTTP request. A thread gets it once the first message of `receive` is here."""
        loop = asyncio.get_running_loop()
        client = WSGIClient(loop)
        exchange = ThreadedRequest(self.application, scope, Input(loop, receive, await receive()), send, client)
        running = loop.run_in_executor(self.threads, exchange.run)
        try:
            # Shielded: a response whose client has left has to be closed.
            response = await asyncio.shield(running)
        except asyncio.CancelledError:
            client.disconnect()
            running.add_done_callback(close_response)
            raise
        connection = scope.get("gatehouse.client")
        holding = Holding(self.memory, connection.abort if connection else None)
        try:
            await response.send(send, holding)
        except asyncio.CancelledError:
            client.disconnect()
            raise
        finally:
            holding.release()
            response.close()

    def close(self) -> None:
        self.threads.shutdown(wait=False)


def close_response(running: "asyncio.Future[Response]") -> None:
    """Close the response of a client that has left."""
    if not running.cancelled() and running.exception() is None:
        running.result().close()


class ThreadedRequest:
    """One request, from its thread's side."""

    def __init__(
        self, application: WSGIApplication, scope: Message, body: "Input", send: Send, client: WSGIClient
    ) -> None:
        self.application = application
        self.scope = scope
        self.body = body
        self.send = send
        self.client = client
        self.start: Message = {}

    def run(self) -> Response:
        if self.client.is_disconnected:
            # It left while the request waited for a thread.
            return Response({}, None)
        made = environ(self.scope, BufferedReader(self.body)) | {
            "gatehouse.client": self.client,
            "wsgi.file_wrapper": FileWrapper,
        }
        response: Any = self.application(made, self.start_response)
        if isinstance(response, FileWrapper) or hasattr(response, "pieces_on_loop"):
            return Response(self.start, response)
        try:
            if getattr(response, "streaming", False):
                self.push_all(response)
                return Response(self.start, None)
            return Response(self.start, b"".join(response))
        except ClientDisconnected:
            return Response(self.start, None)
        finally:
            if close := getattr(response, "close", None):
                close()

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self.start = {"type": "http.response.start", "status": int(status[:3]), "headers": pairs}

    def push_all(self, pieces: Iterable[bytes]) -> None:
        """Send what the view makes piece by piece, at the client's pace and within its clock. No view here does."""
        self.push(self.start)
        for piece in pieces:
            if piece:
                self.push({"type": "http.response.body", "body": piece, "more_body": True})
        self.push({"type": "http.response.body", "body": b"", "more_body": False})

    def push(self, message: Message) -> None:
        if self.client.is_disconnected:
            raise ClientDisconnected
        asyncio.run_coroutine_threadsafe(cast("Any", self.send(message)), self.body.loop).result()
