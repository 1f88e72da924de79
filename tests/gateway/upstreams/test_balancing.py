"""The choice between the addresses of a service."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from tests.gateway.upstreams.origin import OpenPools, Origin, Wire, on_a_loop, responding, until
from tests.gateway.upstreams.requests import OK, status_and_body, upstream_request

from gateway.policy.rejections import UpstreamConnectError


async def hanging(wire: Wire) -> None:
    """Read a request and send nothing."""
    wire.origin.seen.append(await wire.request())
    await wire.ended()


def counts(*origins: Origin) -> list[int]:
    return [len(origin.seen) for origin in origins]


@pytest.mark.parametrize("addresses", [2, 3, 4])
@on_a_loop
async def test_single_requests_take_turns(addresses: int) -> None:
    async with AsyncExitStack() as running:
        origins = [await running.enter_async_context(Origin(responding(OK))) for _ in range(addresses)]
        async with OpenPools(tuple(origin.url for origin in origins)) as pools:
            for _ in range(3 * addresses):
                await status_and_body(pools, upstream_request())
        assert counts(*origins) == [3] * addresses


@on_a_loop
async def test_the_address_with_fewer_requests_in_flight_gets_the_next_one() -> None:
    async with Origin(hanging) as busy, Origin(responding(OK)) as free, OpenPools((busy.url, free.url)) as pools:
        waiting = asyncio.create_task(status_and_body(pools, upstream_request()))
        await until(lambda: busy.seen)
        for _ in range(10):
            await status_and_body(pools, upstream_request())
        assert counts(busy, free) == [1, 10]
        waiting.cancel()
        await until(lambda: pools.of("things").pools[0].in_flight == 0)


@on_a_loop
async def test_idle_connections_are_no_requests_in_flight_even_after_the_service_has_closed_them() -> None:
    async with Origin(responding(OK)) as origin, OpenPools((origin.url,)) as pools:
        (pool,) = pools.of("things").pools
        await status_and_body(pools, upstream_request())
        assert (len(pool.live), pool.in_flight) == (1, 0)
        origin.wires[0].close()
        await until(lambda: not pool.live)
        assert (len(pool.idle), pool.in_flight) == (0, 0)


@on_a_loop
async def test_of_more_than_four_addresses_the_less_busy_of_two_gets_the_request() -> None:
    async with AsyncExitStack() as running:
        origins = [await running.enter_async_context(Origin(hanging)) for _ in range(5)]
        async with OpenPools(tuple(origin.url for origin in origins)) as pools:
            waiting = [asyncio.create_task(status_and_body(pools, upstream_request())) for _ in range(200)]
            await until(lambda: sum(counts(*origins)) == 200)
            # One random choice alone leaves a gap of 14 in half of all runs.
            assert max(counts(*origins)) - min(counts(*origins)) <= 8
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize("addresses", [1, 2, 6])
@on_a_loop
async def test_a_request_meets_each_address_once(addresses: int) -> None:
    async with OpenPools(tuple(f"http://127.0.0.1:{port}" for port in range(1, addresses + 1))) as pools:
        with pytest.raises(UpstreamConnectError):
            await status_and_body(pools, upstream_request())
        met = {address: 1 + unlogged for (_, address, _), (_, unlogged) in pools.errors.logged.items()}
        assert met == {pool.address.authority: 1 for pool in pools.of("things").pools}
