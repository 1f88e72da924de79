"""Who still calls deprecated routes: counted over all workers, listed up to a bound."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.conformance.gateways import DOORS, PROJECT, Door, Gateway
from tests.conformance.wire import Call, Service, Wire, answer, ask, on_a_loop, once
from tests.ports import free_port
from tests.waiting import DEADLINE, wait_until

from gateway import callers
from gateway.portal.prometheus import REGISTRY


class Someone(NamedTuple):
    user_id: str = "7"
    username: str = "eva"
    network: str = "192.0.2.7"


def test_callers_are_users_or_the_networks_of_clients_without_one() -> None:
    for user in (Someone(), Someone(), None):
        callers.count("GET", "/callers/kinds", user, Someone())
    found = callers.read()["GET", "/callers/kinds"]
    assert found.total == 3
    assert {name: number for name, (number, _) in found.by_caller.items()} == {"user 7 eva": 2, "address 192.0.2.7": 1}


def test_more_callers_than_are_listed_count_together() -> None:
    for number in range(callers.MAX_CALLERS + 5):
        callers.count("GET", "/callers/many", Someone(str(number)), Someone())
    callers.count("GET", "/callers/many", Someone("0"), Someone())
    callers.count("POST", "/callers/many", Someone("new"), Someone())
    found = callers.read()["GET", "/callers/many"]
    assert (found.total, len(found.by_caller)) == (callers.MAX_CALLERS + 6, callers.MAX_CALLERS)
    assert callers.read()["POST", "/callers/many"].by_caller.keys() == {"user new eva"}
    samples = [each for family in REGISTRY.collect() for each in family.samples]
    counted = {
        each.labels["method"]: each.value
        for each in samples
        if each.name == "gateway_deprecated_requests_total" and each.labels["route"] == "/callers/many"
    }
    assert counted == {"GET": callers.MAX_CALLERS + 6, "POST": 1}


@on_a_loop(within=60)
async def test_what_a_worker_has_counted_is_read_once_it_is_handed_on() -> None:
    tally = callers.CallTally(asyncio.get_running_loop())
    for user in (Someone(), Someone("8"), Someone()):
        tally.count("GET", "/callers/counted", user, Someone())
    tally.count("POST", "/callers/counted", None, Someone())
    assert ("GET", "/callers/counted") not in callers.read()
    tally.hand_on()
    found = callers.read()
    assert {caller: calls for caller, (calls, _) in found["GET", "/callers/counted"].by_caller.items()} == {
        "user 7 eva": 2,
        "user 8 eva": 1,
    }
    assert found["POST", "/callers/counted"].by_caller.keys() == {"address 192.0.2.7"}


async def ok(call: Call) -> None:
    await call.sum()
    await call.wire.send(answer(b"ok", "200 OK"))


def config(port: int) -> Mapping[str, object]:
    old = {"since": "2026-01-01", "successor": "/new"}
    return {
        "services": {"one": {"url": f"http://127.0.0.1:{port}"}},
        "routes": [
            {"path": "/old", "methods": ["GET"], "service": "one", "allow": "authenticated", "deprecated": old},
            {"path": "/unused", "methods": ["GET"], "service": "one", "allow": "public", "deprecated": old},
            {"path": "/new", "methods": ["GET"], "service": "one", "allow": "public"},
        ],
    }


def table(gateway: Gateway) -> list[list[str]]:
    """Return the rows that `manage.py status` prints of deprecated routes."""
    environ = os.environ | {"GATEHOUSE_VAR": str(gateway.var), "GATEWAY_CONFIG": str(gateway.var / "gateway.yaml")}
    done = subprocess.run(
        [sys.executable, "manage.py", "status"], cwd=PROJECT, env=environ, capture_output=True, text=True, check=True
    )
    _, _, below = done.stdout.partition("DEPRECATED ROUTE")
    return [[cell.strip() for cell in row.split("  ") if cell.strip()] for row in below.splitlines()[1:]]


def requests_of(route: str, status: int) -> tuple[str, str]:
    """Return the samples of these requests in /metrics, up to their values."""
    named = f'http_request_method="GET",http_response_status_code="{status}",http_route="{route}"'
    return (
        f'\ngateway_requests_total{{method="GET",route="{route}",status="{status}"}} ',
        f"\nhttp_server_request_duration_seconds_count{{{named}}} ",
    )


async def counted(gateway: Gateway, calls: int) -> None:
    """Wait until /metrics has these calls, and every request."""
    numbers = {'\ngateway_deprecated_requests_total{method="GET",route="/old"} ': calls}
    numbers |= dict.fromkeys(requests_of("/old", 200), calls)
    numbers |= dict.fromkeys(requests_of("/old", 401) + requests_of("/new", 200), calls // 30)
    deadline, found = time.monotonic() + DEADLINE, ""
    while not all(f"{sample}{number}.0\n" in found for sample, number in numbers.items()):
        assert time.monotonic() < deadline, found
        found = (await once(gateway.port, ask("GET /metrics"))).body.decode()


@pytest.mark.parametrize("door", DOORS)
def test_requests_are_counted_over_all_workers_and_calls_by_user(door: Door, tmp_path: Path) -> None:
    service = free_port()

    @on_a_loop(within=60)
    async def call(gateway: Gateway, total: int) -> None:
        """Send each user's requests on connections that are open at once, so that every worker has some."""
        async with Service(service, ok), AsyncExitStack() as opened:
            wires = [await opened.enter_async_context(await Wire.to(gateway.port)) for _ in range(30)]
            tokens = [gateway.token(user) for user in ("2", "3", "3")]
            requests = [
                wire.gets(ask("GET /old", f"Authorization: Bearer {tokens[number % 3]}"))
                for number, wire in enumerate(wires)
            ]
            assert {reply.status for reply in await asyncio.gather(*requests)} == {200}
            # Neither is a call: no user was allowed, and no route is deprecated.
            assert (await once(gateway.port, ask("GET /old"))).status == 401
            assert (await once(gateway.port, ask("GET /new"))).status == 200
        await counted(gateway, total)

    workers = 2 if door == "fast" else 1
    with Gateway(door, tmp_path / "var", dict(config(service)), workers) as gateway:
        call(gateway, 30)
        if door == "fast":
            assert [row[:3] for row in table(gateway)] == [
                ["GET /old", "user 3 user3", "20"],
                ["GET /old", "user 2 user2", "10"],
                ["GET /unused", "none since the start", "0"],
            ]
        # All counts outlive the workers that counted.
        killed = gateway.worker_pids()[0]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(set(gateway.worker_pids()) - {killed}) == workers, "another worker")
        gateway.wait_until_it_answers()
        call(gateway, 60)
        old = set(gateway.worker_pids())
        gateway.reload()
        wait_until(lambda: not old & set(gateway.worker_pids()), "new workers alone")
        call(gateway, 90)
