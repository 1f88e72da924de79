"""One connection: what is an answer, what ends it, and when it may be used again."""

import asyncio
import socket
import time
from typing import Any

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.gateway.upstreams.origin import (
    LATER,
    Origin,
    Ours,
    Wire,
    answering,
    begin,
    body_of,
    on_a_loop,
    only,
    pools_at,
    ready,
    silent,
    until,
)

from gateway.policy.rejections import UpstreamDisconnected, UpstreamError, UpstreamProtocolError, UpstreamTimeout
from gateway.upstreams import Body, HeaderBlock, ServiceResponse, service
from gateway.upstreams.heads import ResponseHead
from gateway.upstreams.responses import HIGH_WATER, WHOLE
from gateway.upstreams.service import ClosedBeforeResponse, ServiceConnection

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LARGE = WHOLE + 1

# Method, what the service says, whether it closes then; status, body, and whether the connection is kept.
ANSWERS: dict[str, tuple[str, bytes, bool, int, bytes, bool]] = {
    "a length": ("GET", OK, False, 200, b"ok", True),
    "no bytes": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False, 200, b"", True),
    "chunks": (
        "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1;x=y\r\n!\r\n0\r\n\r\n",
        False, 200, b"ok!", True,
    ),
    "chunks and a trailer": (
        "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n",
        False, 200, b"ok", True,
    ),
    "until it closes": ("GET", b"HTTP/1.1 200 OK\r\n\r\nok", True, 200, b"ok", False),
    "no content": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", False, 204, b"", True),
    "not modified": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", False, 304, b"", True),
    "HEAD": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", False, 200, b"", True),
    "HEAD and a large length": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", False, 200, b"", True),
    "HEAD and chunks": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", False, 200, b"", True),
    "interim answers": (
        "GET", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK,
        False, 200, b"ok", True,
    ),
    "HTTP/1.0": ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False, 200, b"ok", False),
    "HTTP/1.0 that stays": (
        "GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", False, 200, b"ok", True,
    ),
    "a close": (
        "GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", True, 200, b"ok", False,
    ),
    "a large body": (
        "GET", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE + b"x" * LARGE, False, 200, b"x" * LARGE, True,
    ),
    "something after the answer": ("GET", OK + b"X", False, 200, b"ok", False),
    "another answer after it": ("GET", OK + OK, False, 200, b"ok", False),
    "a body after the answer to HEAD": ("HEAD", OK, False, 200, b"", False),
    "a body after no content": ("GET", b"HTTP/1.1 204 No Content\r\n\r\nok", False, 204, b"", False),
}  # fmt: skip


@pytest.mark.parametrize(("method", "says", "closes", "status", "body", "kept"), ANSWERS.values(), ids=ANSWERS)
@on_a_loop
async def test_an_answer_ends_where_its_framing_says(
    method: str, says: bytes, closes: bool, status: int, body: bytes, kept: bool
) -> None:
    async def behave(wire: Wire) -> None:
        assert (await wire.request()).method == method
        await wire.say(says)
        if not closes:
            await wire.ended()

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection, method)
        await ready(response)
        assert (response.status, await body_of(response)) == (status, body)
        assert "transfer-encoding" not in {name.lower() for name, _ in response.headers}
        assert "x-late" not in {name.lower() for name, _ in response.headers}
        assert "link" not in {name.lower() for name, _ in response.headers}
        assert response.release() is kept


async def answer_of(response: ServiceResponse) -> bytes:
    """Return the response's body: what is wrong with a chunk is known after the head."""
    await ready(response)
    return await body_of(response)


MALFORMED = {
    "nothing like HTTP": b"hello\r\n\r\n",
    "an older version": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a newer version": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a status below 100": b"HTTP/1.1 099 What\r\nContent-Length: 2\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "a length that is not a number": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is not a number": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a switch without a request for it": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    "a WebSocket without a request for it": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    ),
    "a name with a space": b"HTTP/1.1 200 OK\r\nA b: 1\r\nContent-Length: 2\r\n\r\nok",
    "a control character": b"HTTP/1.1 200 OK\r\nA: \x01\r\nContent-Length: 2\r\n\r\nok",
    "a folded line": b"HTTP/1.1 200 OK\r\nA: 1\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "very many headers": b"HTTP/1.1 200 OK\r\n" + b"A: 1\r\n" * 257 + b"Content-Length: 2\r\n\r\nok",
    "a very large header": b"HTTP/1.1 200 OK\r\nA: " + b"x" * WHOLE + b"\r\nContent-Length: 2\r\n\r\nok",
    "a head without an end": b"HTTP/1.1 200 OK\r\nA: " + b"x" * (WHOLE + 100),
}


@pytest.mark.parametrize("says", MALFORMED.values(), ids=MALFORMED)
@on_a_loop
async def test_a_malformed_answer_is_none_and_ends_the_connection(says: bytes) -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.say(says)
        await wire.ended()

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection)
        with pytest.raises(UpstreamProtocolError):
            await answer_of(response)
        assert not response.release()
        await until(lambda: connection.closed)


@on_a_loop
async def test_what_nobody_asked_for_closes_an_idle_connection() -> None:
    async with Origin(answering(OK)) as origin, Ours((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection)
        await ready(response)
        assert response.release()
        await origin.wires[0].say(OK)
        await until(lambda: connection.closed)
        assert not connection.is_usable(repeatable=True)


@on_a_loop
async def test_an_answer_before_the_request_is_not_taken_for_its_own() -> None:
    async def behave(wire: Wire) -> None:
        await wire.say(OK)
        await wire.ended()

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        await until(lambda: connection.closed)


# However it is cut.

texts = st.binary(max_size=40)
whole = st.one_of(
    st.sampled_from([case[1] for case in ANSWERS.values() if len(case[1]) < 1000]),
    st.sampled_from([case for case in MALFORMED.values() if len(case) < 1000]),
    texts.map(lambda body: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-A: b\r\n\r\n%b" % (len(body), body)),
    st.lists(texts.filter(len), max_size=4).map(
        lambda pieces: (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            + b"0\r\n\r\n"
        )
    ),
)


@st.composite
def damaged(draw: Any) -> bytes:
    """An answer with a byte changed, added or missing, or cut short."""
    said = draw(whole)
    at = draw(st.integers(0, len(said) - 1))
    kind = draw(st.sampled_from(["as it is", "as it is", "change", "add", "drop", "cut"]))
    byte = draw(st.sampled_from([b"\r", b"\n", b"\0", b":", b" ", b"0", b"x", b"\xff"]))
    if kind == "change":
        return said[:at] + byte + said[at + 1 :]
    if kind == "add":
        return said[:at] + byte + said[at:]
    if kind == "drop":
        return said[:at] + said[at + 1 :]
    return said[:at] if kind == "cut" else said


def outcome(method: str, pieces: list[bytes]) -> Any:
    """Return what a connection makes of an answer that comes in these pieces and then ends."""

    async def feed() -> Any:
        loop = asyncio.get_running_loop()
        pool = only(pools_at(("http://things",)))
        near, far = socket.socketpair()
        with far:
            transport, connection = await loop.create_connection(lambda: ServiceConnection(pool), sock=near)
            response = begin(connection, method)
            for piece in pieces:
                # A closed transport has nothing more to say.
                if not transport.is_closing():
                    connection.data_received(piece)
            if not transport.is_closing():
                connection.eof_received()
                transport.close()
            await until(lambda: connection.closed)
            try:
                await ready(response)
                body = b""
                while piece := await response.piece():
                    body += piece
            except UpstreamError as failed:
                return type(failed), response.release()
            return response.status, response.headers, body, response.release()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(feed())


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["GET", "HEAD"]), damaged(), st.data())
def test_an_answer_is_the_same_however_it_is_cut(method: str, said: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(said) - 1)), max_size=6)))
    pieces = [said[start:end] for start, end in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    assert outcome(method, pieces) == outcome(method, [said])


@pytest.mark.parametrize("name", [name for name, case in ANSWERS.items() if len(case[1]) < 1000])
def test_an_answer_is_the_same_byte_by_byte(name: str) -> None:
    method, said, *_ = ANSWERS[name]
    assert outcome(method, [bytes([byte]) for byte in said]) == outcome(method, [said])


# Deadlines.


@on_a_loop
async def test_an_answer_that_does_not_begin_is_late() -> None:
    async with Origin(silent) as origin, Ours((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        response = begin(connection, first_byte=0.05, within=5)
        with pytest.raises(UpstreamTimeout):
            await ready(response)
        assert 0.04 <= loop.time() - began < LATER
        await until(lambda: connection.closed)


@on_a_loop
async def test_an_answer_that_has_begun_has_until_its_end_and_no_longer() -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.6)
        await wire.say(b"2\r\nok\r\n")
        await wire.ended()

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
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
async def test_a_small_answer_that_is_not_whole_in_time_is_none() -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.say(OK[:-1])
        await wire.ended()

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection, within=0.05)
        with pytest.raises(UpstreamTimeout):
            await ready(response)


@pytest.mark.parametrize(
    ("first_byte", "whole", "late_after"), [(None, 0.15, 0.15), (0.05, 5.0, 0.05), (5.0, 0.15, 0.15)]
)
@on_a_loop
async def test_a_deadline_is_moved_on(first_byte: float | None, whole: float, late_after: float) -> None:
    async with Origin(silent) as origin, Ours((origin.url,)) as pools:
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
    async with Origin(silent) as origin, Ours((origin.url,)) as pools:
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
    async with Origin(silent) as origin, Ours((origin.url,)) as pools:
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
    async with Origin(answering(OK)) as origin, Ours((origin.url,)) as pools:
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
    async with Origin(answering(OK)) as origin, Ours((origin.url,)) as pools:
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
    ("exchanges", "says", "failure"),
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
async def test_only_a_used_connection_with_no_byte_of_an_answer_had_been_closed_before(
    exchanges: int, says: bytes, failure: type[Exception]
) -> None:
    async def behave(wire: Wire) -> None:
        for _ in range(exchanges):
            await wire.request()
            await wire.say(OK)
        await wire.request()
        await wire.say(says)

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        for _ in range(exchanges):
            response = begin(connection)
            await ready(response)
            assert response.release()
        response = begin(connection)
        with pytest.raises(failure):
            await ready(response)


@on_a_loop
async def test_an_answer_that_is_broken_off_is_passed_on_as_far_as_it_came() -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
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
        async with Ours((f"http://127.0.0.1:{listener.getsockname()[1]}",)) as pools:
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
        await wire.say(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
        await wire.say(b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size) if chunked else b"x" * size)
        await wire.ended()

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
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
        await wire.say(OK)
        await wire.ended()

    piece, count, sent = b"x" * 2**20, 16, 0

    async def receive() -> dict[str, Any]:
        nonlocal sent
        sent += 1
        return {"type": "http.request", "body": piece, "more_body": sent < count}

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
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

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
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
async def test_nobody_waits_any_longer_to_send_to_a_service_that_has_answered() -> None:
    answers = asyncio.Event()

    async def behave(wire: Wire) -> None:
        await wire.reader.read(1)
        await answers.wait()
        await wire.say(OK)
        await asyncio.Event().wait()

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
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
async def test_whoever_waits_may_stop_and_wait_again() -> None:
    async with Origin(silent) as origin, Ours((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ready(response)
        await origin.wires[0].say(OK)
        await ready(response)
        assert await body_of(response) == b"ok"


@on_a_loop
async def test_an_exchange_that_is_ended_early_ends_its_connection() -> None:
    async with Origin(silent) as origin, Ours((origin.url,)) as pools:
        pool = only(pools)
        connection = await pool.connect(1)
        response = begin(connection)
        assert not response.release()
        await until(lambda: connection.closed)
        assert pool.acquire_idle(repeatable=True) is None


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: %d" % LARGE])
@on_a_loop
async def test_an_answer_whose_end_has_not_come_ends_its_connection(framing: bytes) -> None:
    async with Origin(answering(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)) as origin, Ours((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection)
        await ready(response)
        assert response.status == 200
        assert not response.release()
        await until(lambda: connection.closed)


@on_a_loop
async def test_the_same_head_again_is_the_same_answer_again_and_another_is_another() -> None:
    def said(fields: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\n%b\r\n\r\nok" % fields

    answers = [
        said(b"Content-Length: 2\r\nX-A: 1"),
        said(b"Content-Length: 2\r\nX-A: 1"),
        said(b"Content-Length: 2\r\nX-A: 2"),
        b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX-A: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\nX-A: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 2\r\n\r\n",
        said(b"Content-Length: 2\r\nX-A: 2"),
        said(b"X-A: 2"),
    ]
    got = []

    async def behave(wire: Wire) -> None:
        for answer in answers:
            await wire.request()
            await wire.say(answer)

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        for number, method in enumerate(["GET", "GET", "GET", "GET", "GET", "HEAD", "GET", "GET"], 1):
            response = begin(connection, method)
            await ready(response)
            got.append((response.status, dict(response.headers)["X-A"], await body_of(response)))
            assert response.release() is (number < len(answers))
    assert got == [
        (200, "1", b"ok"),
        (200, "1", b"ok"),
        (200, "2", b"ok"),
        (201, "2", b"ok"),
        (204, "2", b""),
        (200, "2", b""),
        (200, "2", b"ok"),
        (200, "2", b"ok"),
    ]


def fields_of(block: HeaderBlock) -> list[tuple[bytes, bytes]]:
    """Return the headers of a block."""
    return [(name, value) for name, _, value in (line.partition(b": ") for line in block.lines.split(b"\r\n")[1:])]


@example([(b"A", b"1")])
@given(st.lists(st.tuples(st.sampled_from([b"A", b"Vary", b"vary", b"Set-Cookie"]), texts), max_size=5))
def test_an_answer_s_headers_go_on_as_they_are_but_for_what_it_varies_by(said: list[tuple[bytes, bytes]]) -> None:
    said = [(name, bytes(byte for byte in value if 0x20 < byte < 0x7F)) for name, value in said]
    head = ResponseHead(200, said, bodiless=False)
    said = [*said, (b"via", b"1.1 gatehouse")]
    assert fields_of(head.block(varies=False)) == said
    varied = fields_of(head.block(varies=True))
    assert [pair for pair in varied if pair[0].lower() != b"vary"] == [
        pair for pair in said if pair[0].lower() != b"vary"
    ]
    fields = {field.strip().lower() for name, value in varied if name.lower() == b"vary" for field in value.split(b",")}
    assert fields & {b"accept", b"*"}
