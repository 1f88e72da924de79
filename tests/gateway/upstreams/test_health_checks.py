"""Active checks of addresses, by one process of a machine for all."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from tests.gateway.upstreams.origin import PATIENCE, OpenPools, Origin, Wire, on_a_loop, until
from tests.gateway.upstreams.requests import OK, status_and_body, upstream_request
from tests.gateway.upstreams.test_ejection import outcome, states

from gateway.config import Eject, HealthCheck
from gateway.upstreams.ejection import State

CHECK = HealthCheck(path="/up").model_copy(update={"interval": 0.05, "timeout": 0.5, "unhealthy": 2})
UNWELL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class Checked(Origin):
    """A service whose health path responds as the test wants."""

    def __init__(self) -> None:
        super().__init__(self.serve_requests)
        # None: no response comes.
        self.health: bytes | None = OK
        self.response = OK

    async def serve_requests(self, wire: Wire) -> None:
        while True:
            seen = await wire.request()
            self.seen.append(seen)
            response = self.health if seen.target == "/up" else self.response
            if response is None:
                await asyncio.Event().wait()
            if not response:
                return
            await wire.send(response)

    @property
    def requests(self) -> int:
        """How many requests were no checks."""
        return sum(seen.target != "/up" for seen in self.seen)

    @property
    def checks(self) -> int:
        return len(self.seen) - self.requests


@pytest.mark.parametrize("response", [UNWELL, b""])
@on_a_loop
async def test_an_address_that_fails_its_checks_gets_no_requests_until_they_succeed(
    tmp_path: Path, response: bytes
) -> None:
    async with Checked() as a, Checked() as b, OpenPools((a.url, b.url), health=CHECK, state=tmp_path) as pools:
        await until(lambda: a.checks and b.checks)
        a.health = response
        await until(lambda: states(pools) == [State.EJECTED, State.HEALTHY])
        error = pools.of("things").pools[0].ejection.check_error
        assert error == ("responded with 503" if response else "closed the connection before its response was complete")
        before = a.requests
        for _ in range(4):
            assert await status_and_body(pools, upstream_request()) == (200, b"ok")
        assert a.requests == before
        # It is checked all the same, and back after two good checks.
        a.health = OK
        await until(lambda: states(pools) == [State.HEALTHY] * 2)


@on_a_loop
async def test_where_all_fail_their_checks_half_of_them_get_requests(tmp_path: Path) -> None:
    async with Checked() as a, Checked() as b, OpenPools((a.url, b.url), health=CHECK, state=tmp_path) as pools:
        a.health = b.health = UNWELL
        balancer = pools.of("things")
        await until(lambda: balancer.checked_state() == "responded with 503")
        assert sorted(states(pools)) == [State.EJECTED, State.HEALTHY]
        assert await status_and_body(pools, upstream_request()) == (200, b"ok")


@on_a_loop
async def test_one_checks_and_the_others_use_its_results_until_it_ends(tmp_path: Path) -> None:
    async with Checked() as a, Checked() as b, OpenPools((a.url, b.url), health=CHECK, state=tmp_path) as other:
        async with OpenPools((a.url, b.url), health=CHECK, state=tmp_path) as first:
            await until(lambda: a.checks)
            assert [pools.checks.is_checker for pools in (first, other) if pools.checks].count(True) == 1
            b.health = UNWELL
            await until(lambda: states(first) == states(other) == [State.HEALTHY, State.EJECTED])
        b.health = OK
        await until(lambda: states(other) == [State.HEALTHY] * 2)


@pytest.mark.parametrize("response", [UNWELL, None])
@on_a_loop
async def test_an_ejected_address_gets_no_request_before_its_health_is_good(response: bytes | None) -> None:
    eject = Eject().model_copy(update={"failures": 1, "rest": 0.05})
    async with Checked() as a, Checked() as b, OpenPools((a.url, b.url), eject, health=CHECK) as pools:
        a.response, a.health = b"", response
        async with asyncio.timeout(PATIENCE):
            while State.EJECTED not in states(pools):
                await outcome(pools, "POST")
        a.response, before = OK, a.requests
        # It accepts connections, as a server does that has not loaded its application yet.
        await until(lambda: a.checks > 3)
        assert [await outcome(pools, "POST") for _ in range(4)] == [200] * 4
        assert (a.requests, states(pools)) == (before, [State.EJECTED, State.HEALTHY])
        a.health = OK
        await until(lambda: states(pools) == [State.PROBING, State.HEALTHY])
        assert await outcome(pools, "POST") == 200
        assert (a.requests, states(pools)) == (before + 1, [State.HEALTHY] * 2)


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.truncate(0)
file.write(sys.argv[2])
file.flush()
print("locked", flush=True)
sys.stdin.read()
"""


@on_a_loop
async def test_another_process_that_is_killed_is_replaced(tmp_path: Path) -> None:
    async with Checked() as a, Checked() as b:
        key = f"things 127.0.0.1:{a.port} 127.0.0.1:{a.port}"
        command = ["-c", HOLDER, str(tmp_path / "health"), json.dumps({key: "responded with 500"})]
        holder = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE, stdout=PIPE)
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"locked\n"
        async with OpenPools((a.url, b.url), health=CHECK, state=tmp_path) as pools:
            checks = pools.checks
            assert checks is not None
            await until(lambda: states(pools) == [State.EJECTED, State.HEALTHY])
            assert (checks.is_checker, a.checks) == (False, 0)
            holder.kill()
            await holder.wait()
            await until(lambda: checks.is_checker and states(pools) == [State.HEALTHY] * 2)


@on_a_loop
async def test_the_only_address_of_a_service_is_not_checked(tmp_path: Path) -> None:
    async with Checked() as only, OpenPools((only.url,), health=CHECK, state=tmp_path) as pools:
        assert pools.checks is None
        await asyncio.sleep(0)
        assert only.checks == 0
