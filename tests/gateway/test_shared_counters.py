"""Counts in a real Redis or Valkey server."""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port
from tests.redis import RedisServer

pytest.importorskip("redis", reason="the Redis client is not installed")

from redis import Redis

from gateway.config import RateLimit
from gateway.counters import Counters
from gateway.shared_counters import SharedCounters

HOURLY = RateLimit(count=100, seconds=3600)
SMALL = RateLimit(count=30, seconds=3600)
# Milliseconds matter to no test that expects a response.
PATIENT = 30.0


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    Redis.from_url(running.url).flushall()
    return running


def run(url: str, place: Path, work: Callable[..., Awaitable[Any]], gateways: int = 1, timeout: float = PATIENT) -> Any:
    """Return what the work returns; each gateway has its own machine's counts."""

    async def main() -> Any:
        made = []
        for number in range(gateways):
            (place / str(number)).mkdir(exist_ok=True)
            made.append(SharedCounters(url, Counters(place / str(number) / "counts"), timeout))
        try:
            return await work(*made)
        finally:
            for each in made:
                await each.close()

    return asyncio.run(main())


async def admitted(counts: SharedCounters, times: int, *limits: RateLimit) -> int:
    keys = [f"key {limit.count}" for limit in limits]
    verdicts = await asyncio.gather(*(counts.admit_all(keys, limits) for _ in range(times)))
    return sum(all(verdict.admitted for verdict in each) for each in verdicts)


@pytest.mark.parametrize("gateways", [3, 100])
def test_gateways_share_a_limit_exactly(server: RedisServer, tmp_path: Path, gateways: int) -> None:
    async def work(*counts: SharedCounters) -> int:
        return sum(await asyncio.gather(*(admitted(each, 100, HOURLY) for each in counts)))

    assert run(server.url, tmp_path, work, gateways=gateways) == 100


def test_a_request_counts_in_all_limits_or_in_none(server: RedisServer, tmp_path: Path) -> None:
    async def work(counts: SharedCounters) -> list[int]:
        return [await admitted(counts, 90, HOURLY, SMALL), await admitted(counts, 90, HOURLY)]

    assert run(server.url, tmp_path, work) == [30, 70]


def test_the_server_decides_as_the_policy_does(server: RedisServer, tmp_path: Path) -> None:
    limit = RateLimit(count=7, seconds=1.0, burst=3)

    async def work(counts: SharedCounters) -> list[tuple[bool, int]]:
        found = [await counts.admit_all(["key"], [limit]) for _ in range(4)]
        await asyncio.sleep(found[-1][0].wait)
        found += [await counts.admit_all(["key"], [limit])]
        return [(verdict.admitted, verdict.remaining) for (verdict,) in found]

    *burst, rejected, after = run(server.url, tmp_path, work)
    assert burst == [(True, 2), (True, 1), (True, 0)]
    assert (rejected, after[0]) == ((False, 0), True)


def test_keys_are_hashed_and_expire(server: RedisServer, tmp_path: Path) -> None:
    async def work(counts: SharedCounters) -> None:
        await counts.admit_all(["secret of a client", "other"], [RateLimit(60, 60.0), HOURLY])

    run(server.url, tmp_path, work)
    client = Redis.from_url(server.url)
    names: Any = client.keys("*")
    assert len(names) == 2
    assert all(len(name) == len("gatehouse:") + 32 and name.startswith(b"gatehouse:") for name in names)
    # Until the limit is unused again, and a second.
    assert sorted(int(str(client.ttl(name))) for name in names) == [2, pytest.approx(37, abs=1)]


def test_a_restarted_server_knows_the_script_again(server: RedisServer, tmp_path: Path) -> None:
    async def work(counts: SharedCounters) -> int:
        first = await admitted(counts, 5, HOURLY)
        Redis.from_url(server.url).script_flush()
        return first + await admitted(counts, 200, HOURLY)

    assert run(server.url, tmp_path, work) == 100


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def test_the_local_limit_holds_while_the_server_is_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer() as server:

        async def work(counts: SharedCounters) -> list[Any]:
            seen: list[Any] = [await admitted(counts, 60, HOURLY), await counts.state()]
            server.stop()
            # What this machine has accepted before counts.
            seen += [await admitted(counts, 60, HOURLY), await admitted(counts, 60, HOURLY)]
            seen += [(await counts.state())["status"]]
            server.start()
            await until(lambda: counts.fault is None)
            # Its data ended with it.
            return [*seen, await counts.state(), await admitted(counts, 120, HOURLY)]

        with caplog.at_level(logging.INFO, "gateway.shared_counters"):
            found = run(server.url, tmp_path, work)
    assert found == [60, {"status": "ok"}, 40, 0, "local", {"status": "ok"}, 100]
    down, back = [record.getMessage() for record in caplog.records if record.name == "gateway.shared_counters"]
    assert down.startswith("Rate limits count on this machine alone, REDIS_URL: ")
    assert back == "Rate limits are shared again, REDIS_URL"


def test_an_unreachable_server_is_no_reason_to_reject_or_wait(tmp_path: Path) -> None:
    async def work(counts: SharedCounters) -> tuple[int, dict[str, str]]:
        return await admitted(counts, 120, HOURLY), await counts.state()

    count, state = run(f"redis://:hidden@127.0.0.1:{free_port()}/0", tmp_path, work)
    assert (count, state["status"]) == (100, "local")
    assert "hidden" not in str(state)


def test_a_server_that_does_not_respond_is_waited_for_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:

        async def work(counts: SharedCounters) -> tuple[int, float, dict[str, str]]:
            began = time.monotonic()
            count = sum([await admitted(counts, 1, HOURLY) for _ in range(120)])
            return count, time.monotonic() - began, await counts.state()

        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        count, seconds, state = run(url, tmp_path, work, timeout=0.5)
    assert (count, state["cause"]) == (100, "no response within 500 ms")
    # 60 s if each of them waited.
    assert seconds < 20


def test_a_client_that_leaves_while_it_is_counted_disturbs_no_other(server: RedisServer, tmp_path: Path) -> None:
    async def work(counts: SharedCounters) -> int:
        leaving = [asyncio.ensure_future(counts.admit_all(["key 100"], [HOURLY])) for _ in range(10)]
        await asyncio.sleep(0)
        for each in leaving:
            each.cancel()
        return await admitted(counts, 200, HOURLY)

    assert 90 <= run(server.url, tmp_path, work) <= 100
