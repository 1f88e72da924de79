"""Names of services are resolved in the background, here by a name server of the test's own."""

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.upstreams.origin import OpenPools, Origin, on_a_loop, responding, silent, until
from tests.gateway.upstreams.requests import OK, status_and_body, upstream_request
from tests.gateway.upstreams.test_ejection import outcome, states
from tests.gateway.upstreams.test_health_checks import CHECK, UNWELL, Checked
from tests.ports import free_port

from gateway.config import Eject, Timeouts
from gateway.policy.rejections import RequestRejected
from gateway.upstreams import Pools, resolution, service
from gateway.upstreams.ejection import State


class NameServer:
    """Knows the addresses of `things.test`."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0

    async def look_up(self, host: str, port: int, **_: Any) -> list[tuple[Any, Any, int, str, tuple[Any, ...]]]:
        assert host == "things.test"
        self.asked += 1
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        families = [socket.AF_INET6 if ":" in ip else socket.AF_INET for ip in self.addresses]
        return [
            (family, socket.SOCK_STREAM, 6, "", (ip, port)) for family, ip in zip(families, self.addresses, strict=True)
        ]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve names often."""
    monkeypatch.setattr(resolution, "MIN_INTERVAL", 0.01)
    monkeypatch.setattr(resolution, "INTERVAL", 0.05)


def ips(pools: Pools) -> list[str | None]:
    return [pool.ip for pool in pools.of("things").pools]


async def listening(running: AsyncExitStack, ip: str, port: int, service: Origin | None = None) -> Any:
    """Return a service at the address."""
    origin = await running.enter_async_context(service or Origin(responding(OK)))
    server = await asyncio.start_server(origin.serve, ip, port)
    running.callback(server.close)
    return origin


@on_a_loop
async def test_all_addresses_of_a_name_get_requests_which_still_name_it() -> None:
    port, server = free_port(), NameServer("127.0.0.1", "127.0.0.2")
    async with AsyncExitStack() as running:
        origins = [await listening(running, ip, port) for ip in server.addresses]
        async with OpenPools((f"http://things.test:{port}",), look_up=server.look_up) as pools:
            await until(lambda: ips(pools) == ["127.0.0.1", "127.0.0.2"])
            for _ in range(6):
                assert await status_and_body(pools, upstream_request()) == (200, b"ok")
        assert [len(origin.seen) for origin in origins] == [3, 3]
        assert origins[1].seen[0].header("host") == f"things.test:{port}"


@on_a_loop
async def test_the_last_address_of_a_name_gets_requests_though_it_was_ejected_beside_another() -> None:
    port, server = free_port(), NameServer("127.0.0.1", "127.0.0.2")
    async with AsyncExitStack() as running:
        _, last = [await listening(running, ip, port) for ip in server.addresses]
        last.behave = responding(b"", OK)
        eject = Eject().model_copy(update={"failures": 1, "rest": 3600.0, "max_rest": 3600.0})
        async with OpenPools((f"http://things.test:{port}",), eject, look_up=server.look_up) as pools:
            await until(lambda: len(ips(pools)) == 2)
            assert sorted([await outcome(pools, "POST") for _ in range(2)], key=str) == [200, "upstream_disconnected"]
            assert states(pools) == [State.HEALTHY, State.EJECTED]
            server.addresses = ("127.0.0.2",)
            await until(lambda: ips(pools) == ["127.0.0.2"])
            assert [await outcome(pools, "POST") for _ in range(3)] == [200] * 3


@on_a_loop
async def test_the_last_address_of_a_name_gets_requests_though_its_checks_failed(tmp_path: Path) -> None:
    port, server = free_port(), NameServer("127.0.0.1", "127.0.0.2")
    async with AsyncExitStack() as running:
        _, last = [await listening(running, ip, port, Checked()) for ip in server.addresses]
        last.health = UNWELL
        url = f"http://things.test:{port}"
        async with OpenPools((url,), look_up=server.look_up, health=CHECK, state=tmp_path) as pools:
            await until(lambda: len(ips(pools)) == 2)
            await until(lambda: states(pools) == [State.HEALTHY, State.EJECTED])
            server.addresses = ("127.0.0.2",)
            await until(lambda: ips(pools) == ["127.0.0.2"])
            assert await outcome(pools, "POST") == 200
            # A single address is not checked, so nothing would end the fault.
            assert pools.of("things").checked_state() == "ok"


@on_a_loop
async def test_a_name_that_moves_is_followed_and_requests_in_flight_end_where_they_are() -> None:
    port, server = free_port(), NameServer("127.0.0.1")
    async with AsyncExitStack() as running:
        old, new = [await listening(running, ip, port) for ip in ("127.0.0.1", "127.0.0.2")]
        async with OpenPools((f"http://things.test:{port}",), look_up=server.look_up) as pools:
            await until(lambda: ips(pools) == ["127.0.0.1"])
            (before,) = pools.of("things").pools
            await status_and_body(pools, upstream_request())
            old.behave, respond = answering_late(), asyncio.Event()
            old.respond = respond  # type: ignore[attr-defined]
            before.close_idle()
            waiting = asyncio.create_task(status_and_body(pools, upstream_request()))
            await until(lambda: len(old.seen) == 2)
            server.addresses = ("127.0.0.2",)
            await until(lambda: ips(pools) == ["127.0.0.2"])
            assert await status_and_body(pools, upstream_request()) == (200, b"ok")
            respond.set()
            assert await waiting == (200, b"ok")
            await until(lambda: not before.live)
        assert (len(old.seen), len(new.seen)) == (2, 1)


def answering_late() -> Any:
    async def behave(wire: Any) -> None:
        wire.origin.seen.append(await wire.request())
        await wire.origin.respond.wait()
        await wire.send(OK)
        await wire.ended()

    return behave


@on_a_loop
async def test_what_is_known_stays_in_use_while_a_name_cannot_be_resolved() -> None:
    port, server = free_port(), NameServer("127.0.0.1")
    async with AsyncExitStack() as running:
        await listening(running, "127.0.0.1", port)
        async with OpenPools((f"http://things.test:{port}",), look_up=server.look_up) as pools:
            await until(lambda: ips(pools) == ["127.0.0.1"])
            server.addresses, asked = (), server.asked
            await until(lambda: server.asked > asked + 1)
            assert ips(pools) == ["127.0.0.1"]
            assert await status_and_body(pools, upstream_request()) == (200, b"ok")


@on_a_loop
async def test_a_connection_that_fails_has_its_name_resolved_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "INTERVAL", 3600.0)
    port, server = free_port(), NameServer("127.0.0.1")
    async with AsyncExitStack() as running:
        await listening(running, "127.0.0.2", port)
        async with OpenPools((f"http://things.test:{port}",), look_up=server.look_up) as pools:
            await until(lambda: ips(pools) == ["127.0.0.1"])
            server.addresses = ("127.0.0.2",)
            with pytest.raises(RequestRejected):
                await status_and_body(pools, upstream_request())
            await until(lambda: ips(pools) == ["127.0.0.2"])
            assert await status_and_body(pools, upstream_request()) == (200, b"ok")


@on_a_loop
async def test_an_address_that_a_name_has_lost_is_soon_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "INTERVAL", 3600.0)
    port, server = free_port(), NameServer("127.0.0.1", "127.0.0.2")
    async with AsyncExitStack() as running:
        await listening(running, "127.0.0.2", port)
        async with OpenPools((f"http://things.test:{port}",), look_up=server.look_up) as pools:
            await until(lambda: len(ips(pools)) == 2)
            # The first restarts: the name lacks it until it runs again.
            server.addresses = ("127.0.0.2",)
            assert [await outcome(pools, "GET") for _ in range(2)] == [200] * 2
            await until(lambda: ips(pools) == ["127.0.0.2"])
            server.addresses = ("127.0.0.2", "127.0.0.1")
            await until(lambda: len(ips(pools)) == 2)


@pytest.mark.parametrize(("listens", "used"), [("::1", ["::1"]), ("127.0.0.1", ["127.0.0.1", "127.0.0.2"])])
@on_a_loop
async def test_the_family_that_connects_first_is_used(listens: str, used: list[str]) -> None:
    server = NameServer("::1", "127.0.0.1", "127.0.0.2")
    async with AsyncExitStack() as running:
        port = free_port()
        await listening(running, listens, port)
        async with OpenPools((f"http://things.test:{port}",), look_up=server.look_up) as pools:
            await until(lambda: ips(pools) != [None])
            assert ips(pools) == used
            assert pools.of("things").pools[0].label == (f"[::1]:{port}" if listens == "::1" else f"127.0.0.1:{port}")


@on_a_loop
async def test_a_family_that_drops_syns_loses_its_head_start() -> None:
    server, loop = NameServer("::1", "127.0.0.1"), asyncio.get_running_loop()
    async with AsyncExitStack() as running:
        # Its queue of connections is full.
        listener = running.enter_context(socket.socket(socket.AF_INET6))
        listener.bind(("::1", 0))
        listener.listen(0)
        for _ in range(2):
            client = running.enter_context(socket.socket(socket.AF_INET6))
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]
        await listening(running, "127.0.0.1", port)
        began = loop.time()
        timeouts = Timeouts().model_copy(update={"connect": 60.0})
        async with OpenPools((f"http://things.test:{port}",), look_up=server.look_up, timeouts=timeouts) as pools:
            await until(lambda: ips(pools) == ["127.0.0.1"])
            assert resolution.HEAD_START <= loop.time() - began < 30


@on_a_loop
async def test_an_address_that_stays_keeps_its_state_and_its_connections() -> None:
    port, server = free_port(), NameServer("127.0.0.1")
    async with AsyncExitStack() as running:
        await listening(running, "127.0.0.1", port)
        async with OpenPools((f"http://things.test:{port}",), look_up=server.look_up) as pools:
            await until(lambda: ips(pools) == ["127.0.0.1"])
            (before,) = pools.of("things").pools
            await status_and_body(pools, upstream_request())
            server.addresses = ("127.0.0.2", "127.0.0.1")
            await until(lambda: len(ips(pools)) == 2)
            assert before in pools.of("things").pools
            assert len(before.idle) == 1


@on_a_loop
async def test_an_address_that_is_no_name_is_not_resolved() -> None:
    server = NameServer()
    async with Origin(silent) as origin, OpenPools((origin.url, f"http://[::1]:{origin.port}"), look_up=server.look_up):
        await asyncio.sleep(0)
        assert server.asked == 0


@on_a_loop
async def test_a_connection_gets_no_more_requests_after_its_lifetime(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Origin(responding(OK)) as origin, OpenPools((origin.url,)) as pools:
        for _ in range(3):
            await status_and_body(pools, upstream_request())
        assert len(origin.wires) == 1
        monkeypatch.setattr(service, "LIFETIME", 0.0)
        pools.of("things").pools[0].close_idle()
        for _ in range(3):
            assert await status_and_body(pools, upstream_request()) == (200, b"ok")
        assert len(origin.wires) == 4
