"""All addresses of a service are slow: what that costs the gateway's memory, and the requests for other services."""

import asyncio
import time
from pathlib import Path
from statistics import median

import pytest
from tests.conformance.doors import ok
from tests.conformance.gateways import Gateway, free_port
from tests.conformance.wire import KIB, MIB, Call, Service, Wire, answer, ask, memory, on_a_loop, until

# Clients of the slow service, the size of what they send, and the seconds that it takes.
CLIENTS = 300
BODY = b"x" * (32 * KIB)
SLOW = 2.0
ROUNDS, REQUESTS = 11, 150
# Rounds are repeated while the machine is too busy for such a ratio.
MAX_ROUNDS, MAX_RATIO = 44, 1.5


@pytest.mark.long
def test_all_addresses_slow_bounded_memory_and_others_keep_their_p99(tmp_path: Path) -> None:
    slow, good = [free_port(), free_port()], free_port()
    config = {
        "services": {
            "slow": {"url": [f"http://127.0.0.1:{port}" for port in slow], "max_in_flight": 100,
                     "queue": {"size": 50, "wait": "1s"}},
            "good": {"url": f"http://127.0.0.1:{good}"},
        },
        "routes": [
            {"path": "/slow", "service": "slow", "allow": "public", "methods": ["POST"]},
            {"path": "/good", "service": "good", "allow": "public"},
        ],
    }  # fmt: skip
    with (
        Gateway("fast", tmp_path / "one", config, measured=False) as loaded,
        Gateway("fast", tmp_path / "other", config, measured=False) as quiet,
    ):
        on_a_loop(within=400)(compare)(loaded, quiet, slow, good)


async def compare(loaded: Gateway, quiet: Gateway, slow: list[int], good: int) -> None:
    """Send requests for the good service to both gateways in turn, while one has many for the slow service."""
    statuses: list[int] = []
    most = in_flight = 0

    async def slowly(call: Call) -> None:
        nonlocal in_flight, most
        await call.body()
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(SLOW)
        in_flight -= 1
        await call.wire.send(answer())

    async def client() -> None:
        async with await Wire.to(loaded.port) as wire:
            while True:
                statuses.append((await wire.gets(ask("POST /slow", body=BODY))).status)
                await asyncio.sleep(SLOW / 2)

    (pid,) = loaded.worker_pids()
    async with (
        Service(slow[0], slowly), Service(slow[1], slowly), Service(good, ok),
        await Wire.to(loaded.port) as one, await Wire.to(quiet.port) as other,
    ):  # fmt: skip
        # Both have served before.
        await p99s(one, other)
        before = memory(pid)
        clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
        await until(lambda: {200, 503} <= set(statuses), "the queue is full")
        ratios, sizes = [], []
        while len(ratios) < ROUNDS or (median(ratios[-ROUNDS:]) > MAX_RATIO and len(ratios) < MAX_ROUNDS):
            with_slow, without = await p99s(one, other)
            ratios.append(with_slow / without)
            sizes.append(memory(pid))
        # A client that leaves frees its place, though its service works on.
        at_once = most
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    print(f"p99 with slow requests by p99 without: {sorted(ratios)}; MiB: {before / MIB}, {[n / MIB for n in sizes]}")  # noqa: T201
    assert set(statuses) == {200, 503}
    # That is the bound of one worker.
    assert at_once <= 100
    assert median(ratios[-ROUNDS:]) <= MAX_RATIO
    # Those in flight and in the queue, and not more with time.
    assert max(sizes) - before < 32 * MIB
    assert sizes[-1] - sizes[len(sizes) // 2] < 8 * MIB


async def p99s(one: Wire, other: Wire) -> tuple[float, float]:
    """Send requests to both in turn; return the 99th percentile of the seconds of each."""
    times: dict[Wire, list[float]] = {one: [], other: []}
    for number in range(REQUESTS):
        # Neither is always the first.
        for wire in (one, other) if number % 2 else (other, one):
            began = time.monotonic()
            assert (await wire.gets(ask("GET /good"))).status == 200
            times[wire].append(time.monotonic() - began)
        await asyncio.sleep(0.01)
    first, second = (sorted(each)[int(REQUESTS * 0.99)] for each in times.values())
    return first, second
