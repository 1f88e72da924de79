"""Responses that are streamed through the fast door, and clients that leave."""

import asyncio
from collections.abc import Callable

import pytest
from tests.gateway.proxy.client import Client, access_lines, ask, opened, request_of
from tests.gateway.upstreams.origin import Origin, Wire, on_a_loop, until

SignedIn = Callable[..., dict[str, str]]
RouteTo = Callable[..., None]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PAGE = ("accept", "text/html")


@on_a_loop
async def test_a_response_goes_on_as_it_comes(route_to: RouteTo) -> None:
    taken = [asyncio.Event() for _ in range(3)]

    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        for number, event in enumerate(taken):
            await event.wait()
            await wire.send(b"1\r\n%d\r\n" % number)
        await wire.send(b"0\r\n\r\n")
        await wire.ended()

    async with Origin(behave) as origin:
        route_to(origin.url)
        async with opened() as door, Client(door) as client:
            await client.send(request_of("GET", "/api/things"))
            # The head is sent before there is any of the body.
            reply = await client.reply(until=lambda reply: reply.has_head)
            assert (reply.status, reply.body) == (200, b"")
            for number, event in enumerate(taken):
                event.set()
                await client.more(reply, lambda reply: reply.body.endswith(b"%d" % number))  # noqa: B023
            await client.more(reply)
            assert (reply.body, reply.is_whole) == (b"012", True)
            assert door.pools.of("things").pools[0].acquire_idle(repeatable=False)


@on_a_loop
async def test_a_response_that_is_cut_off_gets_no_end(route_to: RouteTo, caplog: pytest.LogCaptureFixture) -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + b"2\r\nab\r\n")

    async with Origin(behave) as origin:
        route_to(origin.url)
        async with opened() as door:
            got = await ask(door, "GET", "/api/things")
    assert (got.status, got.body, got.is_whole) == (200, b"ab", False)
    assert "cut off" in caplog.text


@on_a_loop
async def test_a_client_that_is_slow_holds_the_service_back(route_to: RouteTo) -> None:
    size = 8 * 2**20

    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        await wire.send(b"x" * size)
        await wire.ended()

    async with Origin(behave) as origin:
        route_to(origin.url, "60s")
        async with opened() as door, Client(door, receive_buffer=64 * 1024) as client:
            await client.send(request_of("GET", "/api/things"))
            (pool,) = door.pools.of("things").pools
            await until(lambda: pool.live)
            (connection,) = pool.live
            await until(lambda: not connection.transport.is_reading())
            assert client.connection.transport.get_write_buffer_size() < size // 2
            got = await client.reply()
            assert (len(got.body), got.is_whole) == (size, True)


@pytest.mark.parametrize("idle", [False, True])
@on_a_loop
async def test_a_client_that_leaves_takes_its_request_with_it(
    route_to: RouteTo, idle: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    async def behave(wire: Wire) -> None:
        if idle:
            await wire.request()
            await wire.send(OK)
        wire.origin.seen.append(await wire.request())
        await wire.ended()

    async with Origin(behave) as origin:
        route_to(origin.url)
        async with opened() as door:
            async with Client(door) as client:
                if idle:
                    assert (await client.ask("GET", "/api/things")).status == 200
                await client.send(request_of("GET", "/api/things"))
                await until(lambda: origin.seen)
                assert client.connection.current
                # On an idle connection the request needs no task.
                assert (client.connection.current.task is None) is idle
            await until(lambda: not door.pools.of("things").pools[0].live)
    assert [line["status"] for line in access_lines(capfd)] == ([200, 499] if idle else [499])


@on_a_loop
async def test_a_client_that_leaves_amid_its_response_ends_it_for_the_service(route_to: RouteTo) -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + b"2\r\nab\r\n")
        await wire.ended()

    async with Origin(behave) as origin:
        route_to(origin.url)
        async with opened() as door:
            async with Client(door) as client:
                await client.send(request_of("GET", "/api/things"))
                await client.reply(until=lambda reply: reply.body)
            await until(lambda: not door.pools.of("things").pools[0].live)


@pytest.mark.parametrize("path", ["/api/things", "/login/"])
@on_a_loop
async def test_a_body_that_is_malformed_at_once_ends_an_exchange_that_has_not_begun(
    route_to: RouteTo, path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    route_to("http://127.0.0.1:1")
    async with opened() as door, Client(door) as client:
        await client.send(request_of("POST", path, [("transfer-encoding", "chunked")]) + b"xyz\r\n")
        assert (await client.reply()).status == 400
        assert client.connection.current is None
        assert await client.reader.read() == b""
    assert [line["status"] for line in access_lines(capfd)] == ([499] if path == "/api/things" else [])
