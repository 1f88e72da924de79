"""One connection to a service: deadlines, flow control, and when it may be used again."""

import asyncio
import socket
import time
from typing import Any

import pytest
from tests.gateway.upstreams.origin import (
    LATER,
    OpenPools,
    Origin,
    Wire,
    begin,
    body_of,
    on_a_loop,
    only,
    ready,
    responding,
    silent,
    until,
)

from gateway.policy.rejections import UpstreamDisconnected, UpstreamTimeout
from gateway.upstreams import Body, service
from gateway.upstreams.responses import HIGH_WATER, WHOLE
from gateway.upstreams.service import ClosedBeforeResponse

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LARGE = WHOLE + 1


@on_a_loop
async def test_a_response_that_does_not_begin_is_late() -> None:
    async with Origin(silent) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        response = begin(connection, first_byte=0.05, within=5)
        with pytest.raises(UpstreamTimeout):
            await ready(response)
        assert 0.04 <= loop.time() - began < LATER
        await until(lambda: connection.closed)


@on_a_loop
async def test_a_response_that_has_begun_must_end_before_the_deadline() -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.6)
        await wire.send(b"2\r\nok\r\n")
        await wire.ended()

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        response = begin(connection, first_byte=0.5, within=1.5)
        await ready(response)
        assert await response.piece() == b"ok"
        with pytest.raises(UpstreamTimeout):
            await response.piece()
        assert 1.49 <= loop.time() - began < 1.5 + LATER


@on_a_loop
async def test_a_small_response_that_is_not_whole_in_time_is_a_timeout() -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK[:-1])
        await wire.ended()

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection, within=0.05)
        with pytest.raises(UpstreamTimeout):
            await ready(response)


@pytest.mark.parametrize(
    ("first_byte", "whole", "late_after"), [(None, 0.15, 0.15), (0.05, 5.0, 0.05), (5.0, 0.15, 0.15)]
)
@on_a_loop
async def test_a_deadline_is_moved_on(first_byte: float | None, whole: float, late_after: float) -> None:
    async with Origin(silent) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        response = begin(connection, within=0.03)
        connection.extend(response, whole, first_byte)
        with pytest.raises(UpstreamTimeout):
            await ready(response)
        assert late_after - 0.01 <= loop.time() - began < LATER


@on_a_loop
async def test_a_deadline_is_moved_back() -> None:
    async with Origin(silent) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        response = begin(connection, within=5)
        connection.extend(response, 0.05)
        with pytest.raises(UpstreamTimeout):
            await ready(response)
        assert loop.time() - began < LATER


@pytest.mark.parametrize("within", [-1.0, 0.0, 0.0004, 0.001])
@on_a_loop
async def test_a_deadline_that_is_nearly_now_can_be_moved_like_any_other(within: float) -> None:
    async with Origin(silent) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection, within=within)
        moved_to = pools.loop.time() + 0.05
        connection.extend(response, 0.05)
        with pytest.raises(UpstreamTimeout):
            await ready(response)
        assert pools.loop.time() >= moved_to


@on_a_loop
async def test_an_idle_connection_closes_when_it_has_been_idle_for_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "IDLE", 1.0)
    async with Origin(responding(OK)) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        loop = asyncio.get_running_loop()
        for _ in range(3):
            # Each use before the timeout restarts the timeout.
            response = begin(connection)
            await ready(response)
            assert await response.piece() == b"ok"
            assert response.release()
            idle = loop.time()
            await asyncio.sleep(0.4)
            assert connection.is_usable(repeatable=False)
        await until(lambda: connection.closed)
        assert 0.99 <= loop.time() - idle < LATER
        assert not connection.is_usable(repeatable=True)


@on_a_loop
async def test_an_idle_connection_past_its_time_is_not_used_even_before_it_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "IDLE", 0.01)
    async with Origin(responding(OK)) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection)
        await ready(response)
        assert response.release()
        deadline = time.monotonic() + 0.02
        while time.monotonic() < deadline:
            """The loop is busy, and no timer rings."""
        assert not connection.is_usable(repeatable=True)


# A connection that the service closes.


@pytest.mark.parametrize(
    ("exchanges", "response_bytes", "failure"),
    [
        (0, b"", UpstreamDisconnected),
        (0, b"H", UpstreamDisconnected),
        (1, b"", ClosedBeforeResponse),
        (1, b"H", UpstreamDisconnected),
        (1, OK[:-1], UpstreamDisconnected),
        (2, b"", ClosedBeforeResponse),
    ],
)
@on_a_loop
async def test_only_a_reused_connection_without_a_response_byte_had_been_closed_before(
    exchanges: int, response_bytes: bytes, failure: type[Exception]
) -> None:
    async def behave(wire: Wire) -> None:
        for _ in range(exchanges):
            await wire.request()
            await wire.send(OK)
        await wire.request()
        await wire.send(response_bytes)

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        for _ in range(exchanges):
            response = begin(connection)
            await ready(response)
            assert response.release()
        response = begin(connection)
        with pytest.raises(failure):
            await ready(response)


@on_a_loop
async def test_a_truncated_response_is_forwarded_as_far_as_it_came() -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection)
        await until(lambda: connection.closed)
        await ready(response)
        assert await response.piece() == b"ok"
        with pytest.raises(UpstreamDisconnected):
            await response.piece()


@on_a_loop
async def test_the_socket_is_asked_whether_the_service_has_closed_before_a_request_that_may_not_be_repeated() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with OpenPools((f"http://127.0.0.1:{listener.getsockname()[1]}",)) as pools:
            connection = await only(pools).connect(1)
            with listener.accept()[0] as peer:
                peer.setblocking(False)
                response = begin(connection)
                await loop.sock_recv(peer, 1000)
                await loop.sock_sendall(peer, OK)
                await ready(response)
                assert response.release()
                assert connection.is_usable(repeatable=False)
                peer.shutdown(socket.SHUT_RDWR)
                # The loop has not looked since, and does not know.
                assert connection.is_usable(repeatable=True)
                assert not connection.is_usable(repeatable=False)


# No faster than the other side takes it.


@pytest.mark.parametrize("chunked", [False, True])
@on_a_loop
async def test_the_service_is_read_from_no_faster_than_the_client_takes_it(chunked: bool) -> None:
    size = 8 * HIGH_WATER
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size

    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
        await wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size) if chunked else b"x" * size)
        await wire.ended()

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection)
        await ready(response)
        got = 0
        while got < size:
            if size - got > 4 * HIGH_WATER:
                await until(lambda: not connection.transport.is_reading())
            piece = await response.piece()
            # One more read of the loop may be under way when reading is paused.
            assert len(piece) <= 2 * HIGH_WATER
            assert connection.transport.is_reading()
            got += len(piece)
        assert await body_of(response) == b""
        assert response.release()


@on_a_loop
async def test_a_body_is_sent_no_faster_than_the_service_takes_it() -> None:
    reads = asyncio.Event()

    async def behave(wire: Wire) -> None:
        await reads.wait()
        await wire.request()
        await wire.send(OK)
        await wire.ended()

    piece, count, sent = b"x" * 2**20, 16, 0

    async def receive() -> dict[str, Any]:
        nonlocal sent
        sent += 1
        return {"type": "http.request", "body": piece, "more_body": sent < count}

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        body = Body(receive, len(piece) * count, len(piece) * count)
        response = begin(connection, "POST", body=body)
        await until(lambda: connection.writable)
        held = sent
        await asyncio.sleep(0.02)
        # Buffers of the system's have room for some of it.
        assert sent == held < count
        assert connection.transport.get_write_buffer_size() <= 2 * len(piece)
        reads.set()
        await ready(response)
        assert (response.status, sent) == (200, count)


@on_a_loop
async def test_a_body_under_way_ends_with_the_connection() -> None:
    go = asyncio.Event()

    async def behave(wire: Wire) -> None:
        await go.wait()
        wire.writer.transport.abort()

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection)

        async def send() -> None:
            while True:
                await connection.send(response, b"x" * 2**20)

        sending = asyncio.create_task(send())
        await until(lambda: connection.transport.get_write_buffer_size() > 0)
        go.set()
        with pytest.raises(UpstreamDisconnected):
            await sending
        with pytest.raises(UpstreamDisconnected):
            await connection.send(response, b"x")
        with pytest.raises(UpstreamDisconnected):
            await ready(response)


@on_a_loop
async def test_sending_ends_when_the_service_has_responded() -> None:
    answers = asyncio.Event()

    async def behave(wire: Wire) -> None:
        await wire.reader.read(1)
        await answers.wait()
        await wire.send(OK)
        await asyncio.Event().wait()

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection)
        sending = asyncio.create_task(connection.send(response, b"x" * 2**25))
        await until(lambda: connection.transport.get_write_buffer_size() > 0)
        assert not sending.done()
        answers.set()
        await sending
        await ready(response)
        assert await response.piece() == b"ok"
        assert connection.transport.get_write_buffer_size() > 0


# Who waits.


@on_a_loop
async def test_a_waiter_may_stop_and_wait_again() -> None:
    async with Origin(silent) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ready(response)
        await origin.wires[0].send(OK)
        await ready(response)
        assert await body_of(response) == b"ok"


@on_a_loop
async def test_an_exchange_that_is_ended_early_ends_its_connection() -> None:
    async with Origin(silent) as origin, OpenPools((origin.url,)) as pools:
        pool = only(pools)
        connection = await pool.connect(1)
        response = begin(connection)
        assert not response.release()
        await until(lambda: connection.closed)
        assert pool.acquire_idle(repeatable=True) is None


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: %d" % LARGE])
@on_a_loop
async def test_an_unfinished_response_ends_its_connection(framing: bytes) -> None:
    async with (
        Origin(responding(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)) as origin,
        OpenPools((origin.url,)) as pools,
    ):
        connection = await only(pools).connect(1)
        response = begin(connection)
        await ready(response)
        assert response.status == 200
        assert not response.release()
        await until(lambda: connection.closed)
