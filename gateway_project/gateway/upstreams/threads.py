"""A thread's side of an exchange that takes place on the event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, MutableMapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from gateway.config import Policies
from gateway.policy.headers import Headers
from gateway.policy.rejections import RequestRejected

from .requests import Body
from .responses import ServiceResponse

if TYPE_CHECKING:
    from .forwarding import Forwarding

# Bytes of a request's body that are read at once.
PIECE: Final = 64 * 1024
T = TypeVar("T")
Message = MutableMapping[str, Any]


class Upload(NamedTuple):
    """The body of a client's request, which the request's thread reads as the service takes it.

    `read` returns at most so many bytes, and none at the end. `length` is that of the client's headers, `None`
    where the body is chunked; `most` bytes is all that the route takes. With `to_its_end` it is read to its end before
    the response is returned, even if the service has responded early: most WSGI servers close the connection otherwise.
    """

    read: Callable[[int], bytes]
    length: int | None
    most: int
    to_its_end: bool = False


class ClientLeft(RequestRejected):
    """The client closed its connection before the response; the status is nginx's, for the log."""

    status = 499

    def __init__(self) -> None:
        super().__init__("The client left.")


class Bridge:
    """A thread's side of an exchange that takes place on the loop.

    While the thread waits for the loop, it reads the request's body, whenever more of it is asked for. `cancel`, which
    any thread may call, ends the exchange: the thread gets `ClientLeft`.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, content: bytes | Upload, policies: Policies | None = None
    ) -> None:
        self.loop = loop
        self.content = content
        self.policies = policies
        self.unread = content.length if isinstance(content, Upload) else None
        self.events: SimpleQueue[asyncio.Future[Message] | Future[Any]] = SimpleQueue()
        self.running: Future[Any] | None = None
        self.cancelled = False

    def body(self) -> Body:
        content = self.content
        return Body(self.receive, content.length, content.most) if isinstance(content, Upload) else Body.of(content)

    async def receive(self) -> Message:
        """Return more of the body, as ASGI has it, once the thread has read it."""
        asked: asyncio.Future[Message] = self.loop.create_future()
        self.events.put(asked)
        return await asked

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns on the loop; raise what it raises, or `ClientLeft`."""
        running: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        self.running = running
        running.add_done_callback(self.events.put)
        if self.cancelled:
            running.cancel()
        while (event := self.events.get()) is not running:
            if isinstance(event, asyncio.Future):
                self.read_for(event)
        try:
            return running.result()
        except CancelledError as exc:
            raise ClientLeft from exc

    def read_for(self, asked: "asyncio.Future[Message]") -> None:
        """Read a piece of the body, and pass it to the exchange."""
        upload = cast("Upload", self.content)
        try:
            piece = upload.read(PIECE)
        except Exception as exc:  # noqa: BLE001  # whatever it is, the exchange ends with it
            self.loop.call_soon_threadsafe(fail, asked, exc)
            return
        if self.unread is not None:
            self.unread -= len(piece)
        elif not piece:
            self.unread = 0
        is_more = self.unread != 0
        self.loop.call_soon_threadsafe(settle, asked, {"type": "http.request", "body": piece, "more_body": is_more})

    def drain(self) -> None:
        """Read what is left of the body, if the server wants that and its length is known."""
        with suppress(RequestRejected):
            while self.unread and isinstance(self.content, Upload) and self.content.to_its_end:
                self.unread -= len(self.content.read(PIECE))

    def cancel(self) -> None:
        """End the exchange: the client has left."""
        self.cancelled = True
        if running := self.running:
            running.cancel()


def settle(asked: "asyncio.Future[Message]", message: Message) -> None:
    if not asked.done():
        asked.set_result(message)


def fail(asked: "asyncio.Future[Message]", exc: Exception) -> None:
    if not asked.done():
        asked.set_exception(exc)


class BlockingResponse:
    """A service's response as a thread reads it: status and headers are complete, the body may still be on its way."""

    def __init__(self, bridge: Bridge, forwarding: "Forwarding", response: ServiceResponse, first: bytes) -> None:
        self.status = response.status
        self.address = forwarding.address
        self.forwarding = forwarding
        self.headers: Headers = response.headers
        self.held = [first] if first else []
        self.bridge = bridge
        # Until the body's end is here.
        self.response: ServiceResponse | None = response

    @property
    def has_content(self) -> bool:
        return bool(self.held) or self.response is not None

    @property
    def needs_thread(self) -> bool:
        """Whether the request's thread still has to read some of the request's body."""
        return isinstance(self.bridge.content, Upload) and self.bridge.unread != 0

    def piece(self) -> bytes:
        """Return the next bytes, empty at the end; raise `UpstreamDisconnected`, `UpstreamTimeout` or `ClientLeft`."""
        piece = self.bridge.run(self.response.piece()) if self.response is not None else b""
        if not piece:
            self.release()
        return piece

    def hold(self, most: int) -> bool:
        """Read up to about so many bytes of the body; return whether that is all of it."""
        size = sum(map(len, self.held))
        try:
            while size <= most and (piece := self.piece()):
                self.held.append(piece)
                size += len(piece)
        except BaseException:
            self.close()
            raise
        return size <= most

    def body(self) -> Iterator[bytes]:
        try:
            while self.held:
                yield self.held.pop(0)
            while piece := self.piece():
                yield piece
        finally:
            self.close()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes, on the loop of its connection; raise as `piece` does."""
        while self.held:
            yield self.held.pop(0)
        while self.response is not None and (piece := await self.response.piece()):
            yield piece

    def read(self) -> bytes:
        return b"".join(self.body())

    def close(self) -> None:
        """End the exchange, however much of the body has been read."""
        self.held.clear()
        self.release()

    def release(self) -> None:
        """Give the connection back; it is of no more use where the body has not been read to its end."""
        response, self.response = self.response, None
        if response is not None:
            self.bridge.loop.call_soon_threadsafe(self.forwarding.end)
