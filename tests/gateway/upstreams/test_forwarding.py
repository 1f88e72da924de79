"""A request's way to a service."""

import asyncio
import contextlib
import socket
from collections.abc import Iterable, MutableMapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.upstreams.origin import (
    LATER,
    Origin,
    Ours,
    Wire,
    answering,
    body_of,
    on_a_loop,
    only,
    parsed,
    silent,
    until,
)

from gateway.config import Timeouts
from gateway.memory import Holding, Memory
from gateway.policy.rejections import (
    ContentTooLarge,
    MemoryFull,
    RequestTimeout,
    UpstreamConnectError,
    UpstreamDisconnected,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from gateway.upstreams import Body, Forwarding, Pools, Receive, UpstreamRequest, forward
from gateway.upstreams.requests import HELD, LAST_CHUNK, chunk
from gateway.upstreams.responses import HIGH_WATER, WHOLE

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MIB = 2**20


def coming(*pieces: bytes, then: MutableMapping[str, Any] | None = None) -> Receive:
    """Return what gives a body in these pieces; `then` is what comes instead of the last one's end."""
    left = list(pieces)

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.sleep(0)
        if not left:
            assert then is not None, "asked for more than the whole"
            return then
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left) or then is not None}

    return receive


LEFT = {"type": "http.disconnect"}


def outgoing(
    method: str = "GET", body: Body | None = None, *, headers: Iterable[tuple[str, str]] = (), **timeouts: float
) -> UpstreamRequest:
    """Return a request to the service."""
    return UpstreamRequest(
        "things", method, "/a?b=c", list(headers), body or Body.of(b""), Timeouts.model_construct(**timeouts)
    )


async def answered(pools: Pools, request: UpstreamRequest) -> tuple[int, bytes]:
    """Return the answer's status and body; its connection is given back."""
    response = await forward(pools, request)
    try:
        return response.status, await body_of(response)
    finally:
        response.release()


# Bodies.


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
    body = Body(coming(*pieces), length, 2 * MIB)
    await body.begin()
    assert (body.beginning, body.is_whole) == (beginning, whole)


@on_a_loop
async def test_a_body_counts_while_it_is_held() -> None:
    memory = Memory(limit=100)
    body = Body(coming(b"x" * 60, b"y" * 30), 90, MIB, memory)
    await body.begin()
    assert memory.held == 90
    body.release()
    assert (memory.held, body.beginning) == (0, b"")


@pytest.mark.parametrize(("size", "counts"), [(WHOLE, False), (WHOLE + 1, True)])
@on_a_loop
async def test_a_small_body_that_is_here_at_once_does_not_count(size: int, counts: bool) -> None:
    memory = Memory()
    await Body(coming(b"x" * size), size, MIB, memory).begin()
    assert memory.held == (size if counts else 0)


@on_a_loop
async def test_a_body_for_which_there_is_no_room_is_refused() -> None:
    memory = Memory(limit=100)
    Holding(memory, None).add(50)
    with pytest.raises(MemoryFull):
        await Body(coming(b"x" * 30, b"x" * 30), 60, MIB, memory).begin()
    assert memory.held == 50


@on_a_loop
async def test_a_body_that_stalls_gives_way_to_one_that_comes() -> None:
    memory = Memory(limit=100)
    given_up = asyncio.Event()
    pieces = iter([{"type": "http.request", "body": b"x" * 60, "more_body": True}])

    async def stalls() -> MutableMapping[str, Any]:
        if piece := next(pieces, None):
            return piece
        await given_up.wait()
        return LEFT

    stalled = asyncio.create_task(Body(stalls, 90, MIB, memory, given_up.set).begin())
    await until(lambda: memory.held == 60)
    await Body(coming(b"y" * 50, b"y" * 40), 90, MIB, memory, given_up.set).begin()
    with pytest.raises(MemoryFull):
        await stalled
    assert memory.held == 90


@pytest.mark.parametrize("most", [MIB, 4])
@on_a_loop
async def test_a_body_is_replayed_to_its_end_or_to_where_it_is_too_large(most: int) -> None:
    body = Body(coming(b"abc", b"de", b"f"), None, most)
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
    body = Body(coming(b"abc", b"de"), 5, MIB)
    got = [await body.replay() for _ in range(3)]
    assert [(piece["body"], piece["more_body"]) for piece in got] == [(b"", True), (b"abc", True), (b"de", False)]


@on_a_loop
async def test_a_body_of_no_bytes_is_not_asked_for() -> None:
    body = Body(coming(), 0, 2 * MIB)
    await body.begin()
    assert (body.beginning, body.is_whole) == (b"", True)


@pytest.mark.parametrize(
    ("length", "pieces"),
    [(11, []), (None, [b"x" * 11]), (None, [b"x" * 6, b"x" * 5]), (10**18, [])],
)
@on_a_loop
async def test_a_body_larger_than_the_route_takes_is_refused(length: int | None, pieces: list[bytes]) -> None:
    with pytest.raises(ContentTooLarge):
        await Body(coming(*pieces), length, 10).begin()


@on_a_loop
async def test_a_body_that_stops_coming_is_late() -> None:
    with pytest.raises(RequestTimeout):
        await Body(coming(b"a", then=LEFT), 2, 10).begin()
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
def test_a_body_that_is_here_is_sent_with_its_length(method: str, body: bytes, length: str | None) -> None:
    head, apart = outgoing(method, Body.of(body), headers=[("x-a", "\xe9")]).message("things:8000", "/base")
    seen = parsed(head)
    assert apart == b""
    assert (seen.method, seen.target, seen.body) == (method, "/base/a?b=c", body)
    assert (seen.header("content-length"), seen.header("transfer-encoding")) == (length, None)
    assert (seen.header("host"), seen.header("x-a")) == ("things:8000", "\xe9")


@on_a_loop
async def test_a_chunked_body_that_is_small_is_sent_with_its_length() -> None:
    body = Body(coming(b"a", b"bc"), None, 2 * MIB)
    await body.begin()
    seen = parsed(outgoing("POST", body).message("things")[0])
    assert (seen.body, seen.header("content-length"), seen.header("transfer-encoding")) == (b"abc", "3", None)


def test_a_handshake_asks_for_a_websocket_and_nothing_else_does() -> None:
    asks, _ = replace(outgoing(), is_handshake=True).message("things")
    assert b"\r\nupgrade: websocket\r\nconnection: Upgrade\r\n" in asks
    assert b"upgrade" not in outgoing().message("things")[0]


@given(st.lists(st.binary(max_size=100), max_size=8))
def test_chunks_are_what_they_were_made_of(pieces: list[bytes]) -> None:
    framed = b"".join(map(chunk, pieces)) + LAST_CHUNK
    seen = parsed(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + framed)
    assert seen.body == b"".join(pieces)
    assert chunk(b"") == b""


# Bodies that are sent piece by piece.


@pytest.mark.parametrize("chunked", [False, True])
@on_a_loop
async def test_a_large_body_goes_on_as_it_comes(chunked: bool) -> None:
    pieces = [b"a" * (HELD + 1), b"b" * 1000, b"", b"c" * MIB]
    whole = b"".join(pieces)
    async with Origin(answering(OK)) as origin, Ours((origin.url,)) as pools:
        body = Body(coming(*pieces), None if chunked else len(whole), 4 * MIB)
        await body.begin()
        assert await answered(pools, outgoing("POST", body)) == (200, b"ok")
        (seen,) = origin.seen
        assert seen.body == whole
        assert seen.header("transfer-encoding") == ("chunked" if chunked else None)
        assert seen.header("content-length") == (None if chunked else str(len(whole)))
        # Sent to its end, and so kept.
        assert only(pools).acquire_idle(repeatable=False)


@on_a_loop
async def test_a_body_that_becomes_too_large_on_its_way_is_refused_and_ends_the_request() -> None:
    async with Origin(silent) as origin, Ours((origin.url,)) as pools:
        body = Body(coming(b"a" * (HELD + 1), b"b" * WHOLE), None, HELD + 10)
        await body.begin()
        with pytest.raises(ContentTooLarge):
            await forward(pools, outgoing("POST", body))
        await until(lambda: not only(pools).live)


@on_a_loop
async def test_a_body_that_stops_on_its_way_is_the_client_s_fault() -> None:
    async with Origin(silent) as origin, Ours((origin.url,)) as pools:
        body = Body(coming(b"a" * (HELD + 1), then=LEFT), None, 2 * MIB)
        await body.begin()
        with pytest.raises(RequestTimeout):
            await forward(pools, outgoing("POST", body, total=0.1))
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
    async with Origin(answering(OK)) as origin, Ours((origin.url,)) as pools:
        body = Body(coming(b"a" * (HELD + 1), b"x"), None, 2 * MIB)
        await body.begin()
        body.receive = slow
        # The client takes longer than the service may.
        assert await answered(pools, outgoing("POST", body, total=0.7, first_byte=0.6)) == (200, b"ok")


@pytest.mark.parametrize("timeouts", [{"total": 0.1}, {"total": 5, "first_byte": 0.1}])
@on_a_loop
async def test_a_service_that_does_not_answer_a_body_in_time_is_late(timeouts: dict[str, float]) -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.ended()

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
        body = Body(coming(b"a" * (HELD + 1), b"b"), None, 2 * MIB)
        await body.begin()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(UpstreamTimeout):
            await forward(pools, outgoing("POST", body, **timeouts))
        assert 0.09 <= loop.time() - began < LATER


@on_a_loop
async def test_an_answer_before_the_body_s_end_is_the_answer_and_the_connection_is_not_kept() -> None:
    async def behave(wire: Wire) -> None:
        await wire.reader.read(1)
        await wire.say(OK)
        await wire.ended()

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
        never = asyncio.Event()

        async def receive() -> MutableMapping[str, Any]:
            await never.wait()
            raise AssertionError

        body = Body(coming(b"a" * (HELD + 1), b"b"), None, 2 * MIB)
        await body.begin()
        body.receive = receive
        assert await answered(pools, outgoing("POST", body)) == (200, b"ok")
        assert only(pools).acquire_idle(repeatable=True) is None
        await until(lambda: not only(pools).live)


@on_a_loop
async def test_a_body_is_not_collected_for_a_service_that_has_answered_and_reads_no_more() -> None:
    async def behave(wire: Wire) -> None:
        await wire.reader.read(1)
        await wire.say(OK)
        await asyncio.Event().wait()

    taken = 0

    async def receive() -> MutableMapping[str, Any]:
        nonlocal taken
        await asyncio.sleep(0)
        taken += MIB
        return {"type": "http.request", "body": b"b" * MIB, "more_body": taken < 64 * MIB}

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
        body = Body(receive, None, 128 * MIB)
        await body.begin()
        response = await forward(pools, outgoing("POST", body))
        connection = response.connection
        assert connection is not None
        # The answer is here, and a client that is slow to take it still sends.
        for _ in range(100):
            await asyncio.sleep(0.001)
        waits = connection.transport.get_write_buffer_size()
        response.release()
        assert waits <= MIB + HIGH_WATER


# Which address, which connection, and when once more.


@pytest.mark.parametrize("timeouts", [{"total": 0.1}, {"total": 5, "first_byte": 0.1}, {"total": 0.1, "first_byte": 5}])
@on_a_loop
async def test_a_service_that_does_not_answer_in_time_is_late(timeouts: dict[str, float]) -> None:
    async with Origin(silent) as origin, Ours((origin.url,)) as pools:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(UpstreamTimeout):
            await forward(pools, outgoing(**timeouts))
        assert 0.09 <= loop.time() - began < LATER


@pytest.mark.parametrize("timeouts", [{"total": 0.1, "connect": 5}, {"total": 5, "connect": 0.1}])
@on_a_loop
async def test_a_service_that_takes_no_connection_in_time_is_late(timeouts: dict[str, float]) -> None:
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # Others wait to be accepted already, and the system takes no more.
        for _ in range(3):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        async with Ours((f"http://127.0.0.1:{listener.getsockname()[1]}",)) as pools:
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises(UpstreamTimeout):
                await forward(pools, outgoing(**timeouts))
            assert 0.09 <= loop.time() - began < LATER


@on_a_loop
async def test_an_address_that_cannot_be_connected_to_is_stood_in_for() -> None:
    async with Origin(silent) as origin:
        gone = origin.url
    async with Origin(answering(OK)) as origin, Ours((gone, origin.url)) as pools:
        for _ in range(4):
            assert await answered(pools, outgoing("POST")) == (200, b"ok")
        assert len(origin.seen) == 4


@on_a_loop
async def test_a_service_without_an_address_that_answers_is_down() -> None:
    async with Origin(silent) as origin:
        gone = origin.url
    for urls in ((gone,), (gone, gone)):
        async with Ours(urls) as pools:
            with pytest.raises(UpstreamConnectError):
                await forward(pools, outgoing())


@on_a_loop
async def test_a_request_that_was_sent_is_not_sent_to_another_address() -> None:
    async with (
        Origin(answering(b"")) as broken,
        Origin(answering(OK)) as sound,
        Ours((broken.url, sound.url)) as pools,
    ):
        with pytest.raises(UpstreamDisconnected):
            await forward(pools, outgoing())
        assert (len(broken.seen), len(sound.seen)) == (1, 0)


REPEATABLE = {"GET": True, "HEAD": True, "OPTIONS": True, "PUT": True, "DELETE": True, "POST": False, "PATCH": False}


@pytest.mark.parametrize(("method", "again"), REPEATABLE.items())
@on_a_loop
async def test_what_met_a_closed_connection_is_sent_once_more_where_it_may_be(method: str, again: bool) -> None:
    said = OK.removesuffix(b"ok") if method == "HEAD" else OK
    async with Origin(answering(said, b"", said)) as origin, Ours((origin.url,)) as pools:
        await answered(pools, outgoing(method))
        if again:
            assert (await answered(pools, outgoing(method, Body.of(b"abc"))))[0] == 200
            assert [(seen.method, seen.body) for seen in origin.seen[1:]] == [(method, b"abc")] * 2
        else:
            with pytest.raises(UpstreamDisconnected):
                await forward(pools, outgoing(method, Body.of(b"abc")))
            assert len(origin.seen) == 2


@on_a_loop
async def test_it_is_sent_once_more_on_a_fresh_connection_and_no_third_time() -> None:
    async with Origin(answering(OK, OK, b"")) as origin, Ours((origin.url,)) as pools:
        one, two = await forward(pools, outgoing()), await forward(pools, outgoing())
        for response in (one, two):
            response.release()
        with pytest.raises(UpstreamDisconnected):
            await forward(pools, outgoing())
        assert len(origin.seen) == 4
        assert len(origin.wires) == 3


@on_a_loop
async def test_what_was_answered_with_something_malformed_is_not_sent_again() -> None:
    async with Origin(answering(OK, b"hello\r\n\r\n")) as origin, Ours((origin.url,)) as pools:
        await answered(pools, outgoing())
        with pytest.raises(UpstreamProtocolError):
            await forward(pools, outgoing())
        assert len(origin.seen) == 2


@on_a_loop
async def test_a_body_that_came_piece_by_piece_is_not_sent_again() -> None:
    async def behave(wire: Wire) -> None:
        origin = wire.origin
        origin.seen.append(await wire.request())
        await wire.say(OK)
        # Takes all of the second request, and closes.
        origin.seen.append(await wire.request())

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
        await answered(pools, outgoing())
        body = Body(coming(b"a" * (HELD + 1), b"b"), None, 2 * MIB)
        await body.begin()
        with pytest.raises(UpstreamDisconnected):
            await forward(pools, outgoing("PUT", body))
        assert len(origin.wires) == 1


@on_a_loop
async def test_one_deadline_holds_for_all_that_is_tried() -> None:
    loop = asyncio.get_running_loop()

    async def behave(wire: Wire) -> None:
        if len(wire.origin.wires) > 1:
            await wire.ended()
            return
        await wire.request()
        await wire.say(OK)
        await wire.request()
        await asyncio.sleep(1.2)

    async with Origin(behave) as origin, Ours((origin.url,)) as pools:
        await answered(pools, outgoing())
        began = loop.time()
        with pytest.raises(UpstreamTimeout):
            await forward(pools, outgoing(total=2))
        # With one each it would be 3.2 s.
        assert 1.99 <= loop.time() - began < 3.1
        assert len(origin.wires) == 2


@on_a_loop
async def test_nothing_is_begun_after_the_deadline() -> None:
    async with Origin(answering(OK)) as origin, Ours((origin.url,)) as pools:
        with pytest.raises(UpstreamTimeout):
            await forward(pools, outgoing(total=0.0))
        assert origin.wires == []


@on_a_loop
async def test_a_request_that_nobody_waits_for_ends_its_connection() -> None:
    async with Origin(silent) as origin, Ours((origin.url,)) as pools:
        asking = asyncio.create_task(forward(pools, outgoing()))
        await until(lambda: origin.wires)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: not only(pools).live)
        assert only(pools).acquire_idle(repeatable=True) is None


@on_a_loop
async def test_a_client_that_leaves_amid_its_body_ends_the_connection() -> None:
    async def never() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async with Origin(silent) as origin, Ours((origin.url,)) as pools:
        body = Body(coming(b"a" * (HELD + 1), b"b"), None, 2 * MIB)
        await body.begin()
        body.receive = never
        before = asyncio.all_tasks() - origin.tasks
        asking = asyncio.create_task(forward(pools, outgoing("POST", body)))
        await until(lambda: origin.wires)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        await until(lambda: not only(pools).live)
        # The task that sent the body is gone with it.
        await until(lambda: asyncio.all_tasks() - origin.tasks == before)


# The way without a task.


@on_a_loop
async def test_a_request_goes_out_at_once_where_a_connection_is_idle_and_the_response_is_notified_once() -> None:
    async with Origin(answering(OK)) as origin, Ours((origin.url,)) as pools:
        notified: list[None] = []
        assert Forwarding(pools, outgoing()).send_on_idle(lambda: notified.append(None)) is None
        await answered(pools, outgoing())
        forwarding = Forwarding(pools, outgoing())
        before = asyncio.all_tasks()
        response = forwarding.send_on_idle(lambda: notified.append(None))
        assert response is not None
        assert asyncio.all_tasks() == before
        await until(lambda: notified)
        assert not forwarding.must_resend(response)
        assert (response.status, response.take(), response.release()) == (200, b"ok", True)
        assert (len(notified), forwarding.address) == (1, origin.url.removeprefix("http://"))


@pytest.mark.parametrize(("method", "again"), REPEATABLE.items())
@on_a_loop
async def test_a_request_on_an_idle_connection_is_sent_again_where_it_may_be(method: str, again: bool) -> None:
    said = OK.removesuffix(b"ok") if method == "HEAD" else OK
    async with Origin(answering(said, b"", said)) as origin, Ours((origin.url,)) as pools:
        await answered(pools, outgoing(method))
        notified: list[None] = []
        forwarding = Forwarding(pools, outgoing(method))
        response = forwarding.send_on_idle(lambda: notified.append(None))
        assert response is not None
        await until(lambda: notified)
        if again:
            assert forwarding.must_resend(response)
            response.release()
            assert (await forwarding.send(resend=True)).status == 200
        else:
            with pytest.raises(UpstreamDisconnected):
                forwarding.must_resend(response)
        assert len(origin.seen) == (3 if again else 2)


@on_a_loop
async def test_addresses_take_turns_though_the_first_has_no_idle_connection() -> None:
    async with Origin(answering(OK)) as one, Origin(answering(OK)) as other, Ours((one.url, other.url)) as pools:
        for _ in range(4):
            forwarding = Forwarding(pools, outgoing())
            response = forwarding.send_on_idle(lambda: None)
            if response is None:
                response = await forwarding.send()
            else:
                await response.settled()
            response.release()
        assert (len(one.seen), len(other.seen)) == (2, 2)
