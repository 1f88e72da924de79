"""A request's way to a service: which address, which connection, how the body is framed, and when to try again."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, NamedTuple

from gateway.config import Timeouts
from gateway.memory import Holding, Memory
from gateway.policy.headers import Headers
from gateway.policy.rejections import (
    ContentTooLarge,
    MemoryFull,
    RequestRejected,
    RequestTimeout,
    UpstreamConnectError,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamTimeout,
)

from .connections import WHOLE, ClosedBeforeResponse, Connection
from .pools import ConnectFailed, Pool, Pools

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# RFC 9110, section 9.2.2.
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
# Their requests say a length even where it is 0 (RFC 9110, section 8.6).
WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
LAST_CHUNK: Final = b"0\r\n\r\n"
# Seconds: more than the server waits for a piece of a client's body, so that it is the client who is found late.
PATIENCE: Final = 300.0
# Bytes of a body that are here before a service or a thread hears of the request.
HELD: Final = 1024 * 1024


class Body:
    """A request's body: its beginning is held, and of a small one all; the rest comes when it is asked for.

    `length` is what the client said, `None` where the body is chunked; `most` bytes is all that the route takes.
    What is held of one that is not small counts in `memory`; `give_way` ends its request where there is no room.
    """

    def __init__(
        self,
        receive: Receive,
        length: int | None,
        most: int,
        memory: Memory | None = None,
        give_way: Callable[[], None] | None = None,
    ) -> None:
        self.receive = receive
        self.length = length
        self.most = most
        self.memory = memory
        self.give_way = give_way
        self.holding: Holding | None = None
        self.beginning: bytes | bytearray = b""
        self.is_replayed = False
        self.size = 0
        self.is_whole = length == 0

    @classmethod
    def of(cls, content: bytes) -> "Body":
        """Return a body that is here already."""
        body = cls(nothing_more, len(content), len(content))
        body.beginning = content
        body.is_whole = True
        return body

    async def begin(self) -> None:
        """Wait for all of it, or of a larger one for the first `HELD` bytes, before the service hears of the request.

        Raises `ContentTooLarge`, `RequestTimeout` or `MemoryFull`.
        """
        if self.length is not None and self.length > self.most:
            raise ContentTooLarge(self.most)
        if self.length == 0:
            return
        self.beginning = piece = await self.piece()
        if self.is_whole and len(piece) <= WHOLE:
            return
        if self.memory:
            self.holding = Holding(self.memory, self.give_way)
            self.holding.add(len(piece))
        while not self.is_whole and self.size <= HELD:
            self.hold(await self.piece())
        if self.holding:
            self.holding.settle()

    def hold(self, piece: bytes) -> None:
        """Keep a piece; many small ones are joined, as each costs more than it holds."""
        if self.holding:
            self.holding.add(len(piece))
        if isinstance(self.beginning, bytes):
            self.beginning = bytearray(self.beginning)
        self.beginning += piece

    def release(self) -> None:
        """Forget what is held: the service has it, or the request has ended."""
        self.beginning = b""
        if self.holding:
            self.holding.release()
            self.holding = None

    async def replay(self) -> MutableMapping[str, Any]:
        """Return what is held, and then the rest as it comes, as ASGI's `receive` does; raise as `piece` does."""
        if self.is_replayed:
            return {"type": "http.request", "body": await self.piece(), "more_body": not self.is_whole}
        self.is_replayed = True
        return {"type": "http.request", "body": self.beginning, "more_body": not self.is_whole}

    async def piece(self) -> bytes:
        """Return more of it; raise `ContentTooLarge`, `RequestTimeout` or `MemoryFull`."""
        if self.size > self.most:
            raise ContentTooLarge(self.most)
        message = await self.receive()
        if message["type"] == "http.disconnect":
            # The server has waited for long enough. Had the client left, this task would be cancelled.
            raise MemoryFull if self.holding and self.holding.gave_way else RequestTimeout
        piece: bytes = message.get("body", b"")
        self.size += len(piece)
        if self.size > self.most:
            raise ContentTooLarge(self.most)
        self.is_whole = not message.get("more_body", False)
        return piece


async def nothing_more() -> MutableMapping[str, Any]:
    """Return that the client has left: nobody asks for more of a body that is whole."""
    return {"type": "http.disconnect"}


class Outgoing(NamedTuple):
    """A request as it goes out, but for `Host` and the framing, which are this module's to say."""

    service: str
    method: str
    target: str
    headers: Headers
    body: Body
    timeouts: Timeouts
    # Whether it is a WebSocket's handshake that the service may take up.
    is_handshake: bool = False
    # What `Host` says, where that is not the service's own address.
    host: str | None = None

    def message(self, pool: Pool) -> bytes:
        """Return the head, and what there is of the body unless that is `apart`."""
        body = self.body
        host = self.host or pool.address.authority
        lines = [f"{self.method} {pool.address.base}{self.target} HTTP/1.1\r\nhost: {host}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in self.headers]
        if self.is_handshake:
            lines.append("upgrade: websocket\r\nconnection: Upgrade\r\n")
        length = len(body.beginning) if body.is_whole else body.length
        if length is None:
            lines.append("transfer-encoding: chunked\r\n\r\n")
            return "".join(lines).encode("latin-1") + chunk(body.beginning)
        if length or self.method in WITH_BODY:
            lines.append(f"content-length: {length}\r\n")
        lines.append("\r\n")
        head = "".join(lines).encode("latin-1")
        return head + body.beginning if len(body.beginning) <= WHOLE else head

    @property
    def apart(self) -> bytes | bytearray:
        """What there is of the body where it is too large to be copied to stand behind the head, else nothing."""
        body = self.body
        return body.beginning if len(body.beginning) > WHOLE and (body.is_whole or body.length is not None) else b""

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent once more, and all of it is still here."""
        return self.method in IDEMPOTENT and self.body.is_whole


def chunk(piece: bytes | bytearray) -> bytes:
    """Return the piece as a chunk (RFC 9112, section 7.1); nothing for nothing, which would be the last one."""
    return b"%x\r\n%b\r\n" % (len(piece), bytes(piece)) if piece else b""


async def forward(pools: Pools, outgoing: Outgoing) -> tuple[Pool, Connection]:
    """Send the request to one of its service's addresses, or to the next where that cannot be connected to.

    Returns the connection that the answer's head has come on, to be given back to its pool. Raises `RequestRejected`.
    """
    candidates = pools.of(outgoing.service)
    deadline = pools.loop.time() + outgoing.timeouts.total
    for pool in candidates:
        try:
            return pool, await answered(pool, outgoing, deadline)
        except ConnectFailed as exc:
            failed(pools, pool, exc.refused, exc.more)
            if pool is candidates[-1]:
                raise exc.refused from exc
        except UpstreamError as exc:
            failed(pools, pool, exc)
            raise
    raise UpstreamConnectError(outgoing.service)  # it has no address


def failed(pools: Pools, pool: Pool, failure: UpstreamError, more: str = "") -> None:
    """Note in the log, and on the failure, at which address the service failed."""
    failure.address = pool.address.authority
    pools.failures.note(pool.service, failure.address, failure.reason, more)


async def answered(pool: Pool, outgoing: Outgoing, deadline: float) -> Connection:
    """Return a connection of the pool with the answer's head.

    A kept connection that the service had closed meanwhile is no failure of the service's: what may be repeated is
    sent once more, on a fresh one.
    """
    # Decided before anything is sent: a body that came piece by piece is whole in the end, and gone.
    repeatable = outgoing.is_repeatable
    connection = pool.kept(repeatable=repeatable)
    if connection is not None:
        try:
            return await exchanged(pool, connection, outgoing, deadline)
        except ClosedBeforeResponse as exc:
            if not repeatable:
                raise UpstreamDisconnected(outgoing.service) from exc
    left = deadline - pool.loop.time()
    if left <= 0:
        raise UpstreamTimeout(outgoing.service)
    connection = await pool.fresh(min(outgoing.timeouts.connect, left))
    return await exchanged(pool, connection, outgoing, deadline)


async def exchanged(pool: Pool, connection: Connection, outgoing: Outgoing, deadline: float) -> Connection:
    """Send the request on the connection and return it with the answer's head."""
    first_byte = outgoing.timeouts.first_byte
    head_by = deadline if first_byte is None else min(pool.loop.time() + first_byte, deadline)
    connection.begin(
        outgoing.method,
        outgoing.message(pool),
        outgoing.apart if outgoing.body.beginning else b"",
        head_by=head_by,
        whole_by=deadline,
        may_upgrade=outgoing.is_handshake,
    )
    try:
        if not outgoing.body.is_whole:
            connection.body_sent = False
            connection.sending = asyncio.create_task(send_rest(connection, outgoing))
        await connection.head()
    except BaseException:
        pool.release(connection)
        raise
    return connection


async def send_rest(connection: Connection, outgoing: Outgoing) -> None:
    """Send the rest of the body as it comes. The time that the service has for its answer begins at the body's end."""
    loop = connection.loop
    body, timeouts = outgoing.body, outgoing.timeouts
    try:
        while not body.is_whole:
            if connection.is_whole:
                # Answered already; nobody reads the rest.
                return
            connection.extend(loop.time() + PATIENCE)
            piece = await body.piece()
            connection.extend(loop.time() + timeouts.total)
            await connection.send(chunk(piece) if body.length is None else piece)
            body.release()
        if body.length is None:
            await connection.send(LAST_CHUNK)
    except (RequestRejected, ClosedBeforeResponse) as exc:
        connection.fail(exc)
        return
    connection.body_sent = True
    connection.extend(loop.time() + timeouts.total, first_byte=timeouts.first_byte)
