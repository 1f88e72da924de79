"""Addresses, connections, deadlines and attempts of one request to a service."""

import asyncio
import contextlib
import socket
from collections.abc import MutableMapping
from typing import Any

import pytest
from tests.gateway.upstreams.origin import (
    LATER,
    OpenPools,
    Origin,
    Wire,
    on_a_loop,
    only,
    responding,
    silent,
    until,
)
from tests.gateway.upstreams.requests import OK, receive_pieces, status_and_body, upstream_request

from gateway.policy.rejections import (
    UpstreamConnectError,
    UpstreamDisconnected,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from gateway.upstreams import Body, Forwarding, forward
from gateway.upstreams.requests import HELD

MIB = 2**20


@pytest.mark.parametrize("timeouts", [{"total": 0.1}, {"total": 5, "first_byte": 0.1}, {"total": 0.1, "first_byte": 5}])
@on_a_loop
async def test_a_service_that_does_not_respond_in_time_is_late(timeouts: dict[str, float]) -> None:
    async with Origin(silent) as origin, OpenPools((origin.url,)) as pools:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(UpstreamTimeout):
            await forward(pools, upstream_request(**timeouts))
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
        async with OpenPools((f"http://127.0.0.1:{listener.getsockname()[1]}",)) as pools:
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises(UpstreamTimeout):
                await forward(pools, upstream_request(**timeouts))
            assert 0.09 <= loop.time() - began < LATER


@on_a_loop
async def test_another_address_replaces_one_that_cannot_be_connected_to() -> None:
    async with Origin(silent) as origin:
        gone = origin.url
    async with Origin(responding(OK)) as origin, OpenPools((gone, origin.url)) as pools:
        for _ in range(4):
            assert await status_and_body(pools, upstream_request("POST")) == (200, b"ok")
        assert len(origin.seen) == 4


@on_a_loop
async def test_a_service_without_a_responding_address_is_down() -> None:
    async with Origin(silent) as origin:
        gone = origin.url
    for urls in ((gone,), (gone, gone)):
        async with OpenPools(urls) as pools:
            with pytest.raises(UpstreamConnectError):
                await forward(pools, upstream_request())


@on_a_loop
async def test_a_request_that_was_sent_is_not_sent_to_another_address() -> None:
    async with (
        Origin(responding(b"")) as broken,
        Origin(responding(OK)) as sound,
        OpenPools((broken.url, sound.url)) as pools,
    ):
        with pytest.raises(UpstreamDisconnected):
            await forward(pools, upstream_request())
        assert (len(broken.seen), len(sound.seen)) == (1, 0)


REPEATABLE = {"GET": True, "HEAD": True, "OPTIONS": True, "PUT": True, "DELETE": True, "POST": False, "PATCH": False}


@pytest.mark.parametrize(("method", "again"), REPEATABLE.items())
@on_a_loop
async def test_a_request_on_a_closed_connection_is_sent_again_if_idempotent(method: str, again: bool) -> None:
    said = OK.removesuffix(b"ok") if method == "HEAD" else OK
    async with Origin(responding(said, b"", said)) as origin, OpenPools((origin.url,)) as pools:
        await status_and_body(pools, upstream_request(method))
        if again:
            assert (await status_and_body(pools, upstream_request(method, Body.of(b"abc"))))[0] == 200
            assert [(seen.method, seen.body) for seen in origin.seen[1:]] == [(method, b"abc")] * 2
        else:
            with pytest.raises(UpstreamDisconnected):
                await forward(pools, upstream_request(method, Body.of(b"abc")))
            assert len(origin.seen) == 2


@on_a_loop
async def test_a_request_is_sent_again_on_a_new_connection_but_not_a_third_time() -> None:
    async with Origin(responding(OK, OK, b"")) as origin, OpenPools((origin.url,)) as pools:
        one, two = await forward(pools, upstream_request()), await forward(pools, upstream_request())
        for response in (one, two):
            response.release()
        with pytest.raises(UpstreamDisconnected):
            await forward(pools, upstream_request())
        assert len(origin.seen) == 4
        assert len(origin.wires) == 3


@on_a_loop
async def test_a_request_with_a_malformed_response_is_not_sent_again() -> None:
    async with Origin(responding(OK, b"hello\r\n\r\n")) as origin, OpenPools((origin.url,)) as pools:
        await status_and_body(pools, upstream_request())
        with pytest.raises(UpstreamProtocolError):
            await forward(pools, upstream_request())
        assert len(origin.seen) == 2


@on_a_loop
async def test_a_streamed_body_is_not_sent_again() -> None:
    async def behave(wire: Wire) -> None:
        origin = wire.origin
        origin.seen.append(await wire.request())
        await wire.send(OK)
        # Takes all of the second request, and closes.
        origin.seen.append(await wire.request())

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        await status_and_body(pools, upstream_request())
        body = Body(receive_pieces(b"a" * (HELD + 1), b"b"), None, 2 * MIB)
        await body.begin()
        with pytest.raises(UpstreamDisconnected):
            await forward(pools, upstream_request("PUT", body))
        assert len(origin.wires) == 1


@on_a_loop
async def test_one_deadline_holds_for_all_attempts() -> None:
    loop = asyncio.get_running_loop()

    async def behave(wire: Wire) -> None:
        if len(wire.origin.wires) > 1:
            await wire.ended()
            return
        await wire.request()
        await wire.send(OK)
        await wire.request()
        await asyncio.sleep(1.2)

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        await status_and_body(pools, upstream_request())
        began = loop.time()
        with pytest.raises(UpstreamTimeout):
            await forward(pools, upstream_request(total=2))
        # With one each it would be 3.2 s.
        assert 1.99 <= loop.time() - began < 3.1
        assert len(origin.wires) == 2


@on_a_loop
async def test_nothing_is_sent_after_the_deadline() -> None:
    async with Origin(responding(OK)) as origin, OpenPools((origin.url,)) as pools:
        with pytest.raises(UpstreamTimeout):
            await forward(pools, upstream_request(total=0.0))
        assert origin.wires == []


@on_a_loop
async def test_a_cancelled_request_ends_its_connection() -> None:
    async with Origin(silent) as origin, OpenPools((origin.url,)) as pools:
        asking = asyncio.create_task(forward(pools, upstream_request()))
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

    async with Origin(silent) as origin, OpenPools((origin.url,)) as pools:
        body = Body(receive_pieces(b"a" * (HELD + 1), b"b"), None, 2 * MIB)
        await body.begin()
        body.receive = never
        before = asyncio.all_tasks() - origin.tasks
        asking = asyncio.create_task(forward(pools, upstream_request("POST", body)))
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
    async with Origin(responding(OK)) as origin, OpenPools((origin.url,)) as pools:
        notified: list[None] = []
        assert Forwarding(pools, upstream_request()).send_on_idle(lambda: notified.append(None)) is None
        await status_and_body(pools, upstream_request())
        forwarding = Forwarding(pools, upstream_request())
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
    async with Origin(responding(said, b"", said)) as origin, OpenPools((origin.url,)) as pools:
        await status_and_body(pools, upstream_request(method))
        notified: list[None] = []
        forwarding = Forwarding(pools, upstream_request(method))
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
    async with Origin(responding(OK)) as one, Origin(responding(OK)) as other, OpenPools((one.url, other.url)) as pools:
        for _ in range(4):
            forwarding = Forwarding(pools, upstream_request())
            response = forwarding.send_on_idle(lambda: None)
            if response is None:
                response = await forwarding.send()
            else:
                await response.settled()
            response.release()
        assert (len(one.seen), len(other.seen)) == (2, 2)
