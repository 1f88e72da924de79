"""The body of a request to a service: held up to a size, then streamed."""

import asyncio
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.upstreams.origin import (
    LATER,
    OpenPools,
    Origin,
    Wire,
    on_a_loop,
    only,
    parsed,
    responding,
    silent,
    until,
)
from tests.gateway.upstreams.requests import DISCONNECT, OK, receive_pieces, status_and_body, upstream_request

from gateway.memory import Holding, Memory
from gateway.policy.rejections import (
    ContentTooLarge,
    MemoryFull,
    RequestTimeout,
    UpstreamTimeout,
)
from gateway.upstreams import Body, forward
from gateway.upstreams.requests import HELD, LAST_CHUNK, chunk
from gateway.upstreams.responses import HIGH_WATER, WHOLE

MIB = 2**20


@pytest.mark.parametrize(
    ("length", "pieces", "beginning", "whole"),
    [
        (3, [b"abc"], b"abc", True),
        (3, [b"a", b"", b"bc"], b"abc", True),
        (None, [b"a", b"bc"], b"abc", True),
        (None, [b""], b"", True),
        (HELD, [b"x" * HELD], b"x" * HELD, True),
        (HELD, [b"x" * (HELD - 1), b"x"], b"x" * HELD, True),
        (2 * HELD, [b"x" * HELD, b"y", b"z" * (HELD - 1)], b"x" * HELD + b"y", False),
        (None, [b"x" * (HELD + 1), b"y"], b"x" * (HELD + 1), False),
    ],
)
@on_a_loop
async def test_a_small_body_is_waited_for(
    length: int | None, pieces: list[bytes], beginning: bytes, whole: bool
) -> None:
    body = Body(receive_pieces(*pieces), length, 2 * MIB)
    await body.begin()
    assert (body.beginning, body.is_whole) == (beginning, whole)


@on_a_loop
async def test_a_body_counts_while_it_is_held() -> None:
    memory = Memory(limit=100)
    body = Body(receive_pieces(b"x" * 60, b"y" * 30), 90, MIB, memory)
    await body.begin()
    assert memory.held == 90
    body.release()
    assert (memory.held, body.beginning) == (0, b"")


@pytest.mark.parametrize(("size", "counts"), [(WHOLE, False), (WHOLE + 1, True)])
@on_a_loop
async def test_a_small_body_that_is_here_at_once_does_not_count(size: int, counts: bool) -> None:
    memory = Memory()
    await Body(receive_pieces(b"x" * size), size, MIB, memory).begin()
    assert memory.held == (size if counts else 0)


@on_a_loop
async def test_a_body_without_free_memory_is_rejected() -> None:
    memory = Memory(limit=100)
    Holding(memory, None).add(50)
    with pytest.raises(MemoryFull):
        await Body(receive_pieces(b"x" * 30, b"x" * 30), 60, MIB, memory).begin()
    assert memory.held == 50


@on_a_loop
async def test_a_stalled_body_makes_room_for_one_that_arrives() -> None:
    memory = Memory(limit=100)
    given_up = asyncio.Event()
    pieces = iter([{"type": "http.request", "body": b"x" * 60, "more_body": True}])

    async def stalls() -> MutableMapping[str, Any]:
        if piece := next(pieces, None):
            return piece
        await given_up.wait()
        return DISCONNECT

    stalled = asyncio.create_task(Body(stalls, 90, MIB, memory, given_up.set).begin())
    await until(lambda: memory.held == 60)
    await Body(receive_pieces(b"y" * 50, b"y" * 40), 90, MIB, memory, given_up.set).begin()
    with pytest.raises(MemoryFull):
        await stalled
    assert memory.held == 90


@pytest.mark.parametrize("most", [MIB, 4])
@on_a_loop
async def test_a_body_is_replayed_to_its_end_or_to_where_it_is_too_large(most: int) -> None:
    body = Body(receive_pieces(b"abc", b"de", b"f"), None, most)
    if most == 4:
        with pytest.raises(ContentTooLarge):
            await body.begin()
        assert (await body.replay())["body"] == b"abc"
        with pytest.raises(ContentTooLarge):
            await body.replay()
    else:
        await body.begin()
        assert await body.replay() == {"type": "http.request", "body": b"abcdef", "more_body": False}


@on_a_loop
async def test_a_body_of_which_nothing_was_waited_for_is_replayed_as_it_comes() -> None:
    body = Body(receive_pieces(b"abc", b"de"), 5, MIB)
    got = [await body.replay() for _ in range(3)]
    assert [(piece["body"], piece["more_body"]) for piece in got] == [(b"", True), (b"abc", True), (b"de", False)]


@on_a_loop
async def test_an_empty_body_is_not_read() -> None:
    body = Body(receive_pieces(), 0, 2 * MIB)
    await body.begin()
    assert (body.beginning, body.is_whole) == (b"", True)


@pytest.mark.parametrize(
    ("length", "pieces"),
    [(11, []), (None, [b"x" * 11]), (None, [b"x" * 6, b"x" * 5]), (10**18, [])],
)
@on_a_loop
async def test_a_body_larger_than_the_route_takes_is_rejected(length: int | None, pieces: list[bytes]) -> None:
    with pytest.raises(ContentTooLarge):
        await Body(receive_pieces(*pieces), length, 10).begin()


@on_a_loop
async def test_a_body_that_stops_coming_is_late() -> None:
    with pytest.raises(RequestTimeout):
        await Body(receive_pieces(b"a", then=DISCONNECT), 2, 10).begin()
    with pytest.raises(RequestTimeout):
        # After the end of a body, the next piece never comes.
        await Body.of(b"a").piece()


# Messages.


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("GET", b"", None),
        ("HEAD", b"", None),
        ("DELETE", b"", None),
        ("OPTIONS", b"", None),
        ("POST", b"", "0"),
        ("PUT", b"", "0"),
        ("PATCH", b"", "0"),
        ("GET", b"abc", "3"),
        ("POST", b"abc", "3"),
    ],
)
def test_a_complete_body_is_sent_with_its_length(method: str, body: bytes, length: str | None) -> None:
    head, apart = upstream_request(method, Body.of(body), headers=[("x-a", "\xe9")]).message("things:8000", "/base")
    seen = parsed(head)
    assert apart == b""
    assert (seen.method, seen.target, seen.body) == (method, "/base/a?b=c", body)
    assert (seen.header("content-length"), seen.header("transfer-encoding")) == (length, None)
    assert (seen.header("host"), seen.header("x-a")) == ("things:8000", "\xe9")


@on_a_loop
async def test_a_chunked_body_that_is_small_is_sent_with_its_length() -> None:
    body = Body(receive_pieces(b"a", b"bc"), None, 2 * MIB)
    await body.begin()
    seen = parsed(upstream_request("POST", body).message("things")[0])
    assert (seen.body, seen.header("content-length"), seen.header("transfer-encoding")) == (b"abc", "3", None)


def test_a_handshake_asks_for_a_websocket_and_nothing_else_does() -> None:
    asks, _ = replace(upstream_request(), is_handshake=True).message("things")
    assert b"\r\nupgrade: websocket\r\nconnection: Upgrade\r\n" in asks
    assert b"upgrade" not in upstream_request().message("things")[0]


@given(st.lists(st.binary(max_size=100), max_size=8))
def test_chunks_decode_to_their_content(pieces: list[bytes]) -> None:
    framed = b"".join(map(chunk, pieces)) + LAST_CHUNK
    seen = parsed(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + framed)
    assert seen.body == b"".join(pieces)
    assert chunk(b"") == b""


# Bodies that are sent piece by piece.


@pytest.mark.parametrize("chunked", [False, True])
@on_a_loop
async def test_a_large_body_is_forwarded_as_it_arrives(chunked: bool) -> None:
    pieces = [b"a" * (HELD + 1), b"b" * 1000, b"", b"c" * MIB]
    whole = b"".join(pieces)
    async with Origin(responding(OK)) as origin, OpenPools((origin.url,)) as pools:
        body = Body(receive_pieces(*pieces), None if chunked else len(whole), 4 * MIB)
        await body.begin()
        assert await status_and_body(pools, upstream_request("POST", body)) == (200, b"ok")
        (seen,) = origin.seen
        assert seen.body == whole
        assert seen.header("transfer-encoding") == ("chunked" if chunked else None)
        assert seen.header("content-length") == (None if chunked else str(len(whole)))
        # Sent to its end, and so kept.
        assert only(pools).acquire_idle(repeatable=False)


@on_a_loop
async def test_a_streamed_body_that_becomes_too_large_is_rejected_and_ends_the_request() -> None:
    async with Origin(silent) as origin, OpenPools((origin.url,)) as pools:
        body = Body(receive_pieces(b"a" * (HELD + 1), b"b" * WHOLE), None, HELD + 10)
        await body.begin()
        with pytest.raises(ContentTooLarge):
            await forward(pools, upstream_request("POST", body))
        await until(lambda: not only(pools).live)


@on_a_loop
async def test_a_body_that_stalls_while_forwarded_is_the_client_s_fault() -> None:
    async with Origin(silent) as origin, OpenPools((origin.url,)) as pools:
        body = Body(receive_pieces(b"a" * (HELD + 1), then=DISCONNECT), None, 2 * MIB)
        await body.begin()
        with pytest.raises(RequestTimeout):
            await forward(pools, upstream_request("POST", body, total=0.1))
        await until(lambda: not only(pools).live)


@on_a_loop
async def test_the_service_s_time_begins_at_the_body_s_end() -> None:
    async def slow() -> MutableMapping[str, Any]:
        await asyncio.sleep(1)
        return next(pieces)

    pieces = iter(
        [
            {"type": "http.request", "body": b"b", "more_body": True},
            {"type": "http.request", "body": b"c", "more_body": False},
        ]
    )
    async with Origin(responding(OK)) as origin, OpenPools((origin.url,)) as pools:
        body = Body(receive_pieces(b"a" * (HELD + 1), b"x"), None, 2 * MIB)
        await body.begin()
        body.receive = slow
        # The client takes longer than the service may.
        assert await status_and_body(pools, upstream_request("POST", body, total=0.7, first_byte=0.6)) == (200, b"ok")


@pytest.mark.parametrize("timeouts", [{"total": 0.1}, {"total": 5, "first_byte": 0.1}])
@on_a_loop
async def test_a_service_that_does_not_respond_to_a_body_in_time_is_late(timeouts: dict[str, float]) -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.ended()

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        body = Body(receive_pieces(b"a" * (HELD + 1), b"b"), None, 2 * MIB)
        await body.begin()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(UpstreamTimeout):
            await forward(pools, upstream_request("POST", body, **timeouts))
        assert 0.09 <= loop.time() - began < LATER


@on_a_loop
async def test_a_response_before_the_body_s_end_is_used_and_the_connection_is_not_kept() -> None:
    async def behave(wire: Wire) -> None:
        await wire.reader.read(1)
        await wire.send(OK)
        await wire.ended()

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        never = asyncio.Event()

        async def receive() -> MutableMapping[str, Any]:
            await never.wait()
            raise AssertionError

        body = Body(receive_pieces(b"a" * (HELD + 1), b"b"), None, 2 * MIB)
        await body.begin()
        body.receive = receive
        assert await status_and_body(pools, upstream_request("POST", body)) == (200, b"ok")
        assert only(pools).acquire_idle(repeatable=True) is None
        await until(lambda: not only(pools).live)


@on_a_loop
async def test_a_body_is_not_collected_for_a_service_that_has_responded_and_reads_no_more() -> None:
    async def behave(wire: Wire) -> None:
        await wire.reader.read(1)
        await wire.send(OK)
        await asyncio.Event().wait()

    taken = 0

    async def receive() -> MutableMapping[str, Any]:
        nonlocal taken
        await asyncio.sleep(0)
        taken += MIB
        return {"type": "http.request", "body": b"b" * MIB, "more_body": taken < 64 * MIB}

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        body = Body(receive, None, 128 * MIB)
        await body.begin()
        response = await forward(pools, upstream_request("POST", body))
        connection = response.connection
        assert connection is not None
        # The response is here, and a client that is slow to take it still sends.
        for _ in range(100):
            await asyncio.sleep(0.001)
        waits = connection.transport.get_write_buffer_size()
        response.release()
        assert waits <= MIB + HIGH_WATER
