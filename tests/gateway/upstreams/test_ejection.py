"""An address that fails rests, and is tried again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from tests.gateway.upstreams.origin import (
    PATIENCE,
    OpenPools,
    Origin,
    Wire,
    begin,
    on_a_loop,
    only,
    ready,
    responding,
    silent,
    until,
)
from tests.gateway.upstreams.requests import OK, status_and_body, upstream_request
from tests.ports import swallowing_port

from gateway.config import Eject, WeightedURL
from gateway.policy.rejections import CircuitOpen, RequestRejected, UpstreamDisconnected
from gateway.upstreams import Pool, Pools
from gateway.upstreams.ejection import PROBE_TIMEOUT, State

FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
# Longer than a test may take, so that nothing rests until its end by chance.
LONG = 3600.0


def policy(**keys: Any) -> Eject:
    return Eject().model_copy(update={"rest": LONG, "max_rest": LONG} | keys)


def pools_of(pools: Pools) -> tuple[Pool, ...]:
    return pools.of("things").pools


def states(pools: Pools) -> list[State]:
    return [pool.ejection.state for pool in pools_of(pools)]


async def outcome(pools: Pools, method: str = "GET", **timeouts: float) -> int | str:
    """Send a request; return the status, or the code of the gateway's rejection."""
    try:
        return (await status_and_body(pools, upstream_request(method, **timeouts)))[0]
    except RequestRejected as rejected:
        return rejected.code


@asynccontextmanager
async def refusing() -> AsyncIterator[Origin]:
    """A service that has stopped: its port refuses connections."""
    async with Origin(responding(OK)) as origin:
        pass
    yield origin


@asynccontextmanager
async def swallowing() -> AsyncIterator[Origin]:
    """A service whose queue of connections is full: the system drops the SYNs of others."""
    origin = Origin(silent)
    with swallowing_port() as port:
        origin.url = f"http://127.0.0.1:{port}"
        yield origin


Fault = Callable[[], Any]
FAULTS: dict[str, Fault] = {
    "refuses": refusing,
    "swallows": swallowing,
    "breaks off": lambda: Origin(responding(b"")),
    "hangs": lambda: Origin(silent),
    "sends garbage": lambda: Origin(responding(b"hello\r\n\r\n")),
    "fails": lambda: Origin(responding(FAILED)),
}


@pytest.mark.parametrize("fault", FAULTS)
@on_a_loop
async def test_an_address_that_fails_five_times_in_a_row_gets_no_more_requests(fault: str) -> None:
    eject = policy(on=("connect", "reset", "timeout", "5xx"))
    async with FAULTS[fault]() as bad, Origin(responding(OK)) as good, OpenPools((bad.url, good.url), eject) as pools:
        for _ in range(9):
            assert states(pools) == [State.HEALTHY, State.HEALTHY]
            await outcome(pools, connect=0.1, total=0.3)
        assert states(pools) == [State.EJECTED, State.HEALTHY]
        sent = len(bad.seen), len(bad.wires)
        assert [await outcome(pools) for _ in range(10)] == [200] * 10
        assert (len(bad.seen), len(bad.wires)) == sent


@on_a_loop
async def test_a_status_of_5xx_is_no_failure_unless_the_policy_names_it() -> None:
    async with Origin(responding(FAILED)) as origin, OpenPools((origin.url,)) as pools:
        assert [await outcome(pools) for _ in range(10)] == [500] * 10


@on_a_loop
async def test_a_response_between_failures_forgives_them() -> None:
    async with (
        Origin(responding(b"", b"", OK, b"", b"", OK)) as origin,
        OpenPools((origin.url,), policy(failures=3)) as pools,
    ):
        met = [await outcome(pools, "POST") for _ in range(7)]
        assert met == ["upstream_disconnected"] * 2 + [200] + ["upstream_disconnected"] * 2 + [200] * 2
        assert only(pools).ejection.failures == 0


@on_a_loop
async def test_at_most_half_of_the_addresses_rest_and_the_others_are_tried_though_they_fail() -> None:
    broken = responding(b"")
    async with (
        Origin(broken) as a,
        Origin(broken) as b,
        Origin(broken) as c,
        OpenPools((a.url, b.url, c.url), policy(failures=1)) as pools,
    ):
        for _ in range(6):
            await outcome(pools)
        assert states(pools).count(State.EJECTED) == 1
        assert sorted(len(each.seen) for each in (a, b, c)) in ([1, 2, 3], [1, 1, 4], [1, 3, 2])


@on_a_loop
async def test_all_are_tried_where_all_are_ejected() -> None:
    async with (
        Origin(responding(b"", OK)) as a,
        Origin(responding(b"", OK)) as b,
        OpenPools((a.url, b.url), policy(failures=1, most=1.0)) as pools,
    ):
        assert [await outcome(pools) for _ in range(2)] == ["upstream_disconnected"] * 2
        assert states(pools) == [State.EJECTED] * 2
        assert [await outcome(pools) for _ in range(4)] == [200] * 4


@on_a_loop
async def test_no_address_is_ejected_at_a_most_of_zero() -> None:
    async with Origin(responding(b"")) as origin, OpenPools((origin.url,), policy(failures=1, most=0.0)) as pools:
        assert [await outcome(pools) for _ in range(10)] == ["upstream_disconnected"] * 10


@on_a_loop
async def test_requests_to_an_only_address_that_is_ejected_are_rejected_at_once() -> None:
    eject = policy(rest=20.0, on=("5xx",))
    async with Origin(responding(FAILED)) as origin, OpenPools((origin.url,), eject) as pools:
        assert [await outcome(pools) for _ in range(5)] == [500] * 5
        with pytest.raises(CircuitOpen) as rejected:
            await status_and_body(pools, upstream_request())
        assert (rejected.value.status, rejected.value.code) == (503, "upstream_ejected")
        # For /readyz, which asks no ejected service.
        assert rejected.value.reason.endswith("for now: it responded with errors")
        # With its jitter, a rest is up to a tenth shorter or longer; and the machine may be busy.
        assert 15 <= int(rejected.value.headers["Retry-After"]) <= 22
        assert len(origin.seen) == 5


@on_a_loop
async def test_an_only_address_that_refused_is_back_with_the_first_requests_after_it_listens() -> None:
    async with refusing() as gone, OpenPools((gone.url,), policy()) as pools:
        assert [await outcome(pools) for _ in range(8)] == ["upstream_unreachable"] * 5 + ["upstream_ejected"] * 3
        assert states(pools) == [State.EJECTED]
        async with await asyncio.start_server(gone.serve, "127.0.0.1", gone.port):
            # Not one after the other.
            assert await asyncio.gather(*(outcome(pools) for _ in range(20))) == [200] * 20
            assert states(pools) == [State.HEALTHY]
        for task in gone.tasks:
            task.cancel()


@on_a_loop
async def test_an_address_that_refused_is_back_without_requests() -> None:
    async with (
        refusing() as gone,
        Origin(responding(OK)) as good,
        OpenPools((gone.url,), policy()) as alone,
        OpenPools((gone.url, good.url), policy()) as pair,
    ):
        for pools in alone, pair:
            await all_ejected(pools)
        async with await asyncio.start_server(gone.serve, "127.0.0.1", gone.port):
            # Their rest would be an hour.
            await until(lambda: states(alone) == [State.HEALTHY])
            await until(lambda: states(pair) == [State.PROBING, State.HEALTHY])
        for task in gone.tasks:
            task.cancel()


@on_a_loop
async def test_an_only_address_that_closed_connections_is_back_soon_after_it_responds() -> None:
    responses = [b""] * 5 + [OK]
    async with Origin(responding(*responses)) as origin, OpenPools((origin.url,), policy()) as pools:
        await all_ejected(pools)
        # Its rest would be an hour. A proxy accepts connections before its service does.
        await until(lambda: states(pools) == [State.PROBING])
        assert await outcome(pools) == 200


async def all_ejected(pools: Pools, **timeouts: float) -> None:
    """Send requests until an address is ejected."""
    async with asyncio.timeout(PATIENCE):
        while State.EJECTED not in states(pools):
            await outcome(pools, **timeouts)


@on_a_loop
async def test_one_request_at_a_time_probes_an_address_and_its_response_brings_it_back() -> None:
    respond = asyncio.Event()

    async def behave(wire: Wire) -> None:
        wire.origin.seen.append(await wire.request())
        if len(wire.origin.seen) > 1:
            await respond.wait()
            await wire.send(OK)

    async with Origin(behave) as origin, OpenPools((origin.url,), policy(failures=1, rest=0.1)) as pools:
        await all_ejected(pools)
        await until(lambda: states(pools) == [State.PROBING])
        probe = asyncio.create_task(outcome(pools, total=PATIENCE))
        await until(lambda: len(origin.seen) == 2)
        assert [await outcome(pools) for _ in range(5)] == ["upstream_ejected"] * 5
        respond.set()
        assert await probe == 200
        assert states(pools) == [State.HEALTHY]


@pytest.mark.parametrize("on", [("5xx",), ("connect",)])
@on_a_loop
async def test_a_response_of_5xx_is_counted_once_whether_or_not_it_ejects(on: tuple[str, ...]) -> None:
    async with Origin(responding(FAILED)) as origin, OpenPools((origin.url,), policy(on=on)) as pools:
        assert await outcome(pools) == 500
        counts = only(pools).measurements.counts
        assert {what: number for what, number in counts.items() if what.startswith("errors")} == {"errors:5xx": 1}


@on_a_loop
async def test_a_probe_that_fails_doubles_the_rest_up_to_its_maximum() -> None:
    async with (
        Origin(responding(FAILED)) as origin,
        OpenPools((origin.url,), policy(failures=1, rest=0.1, max_rest=0.35, on=("5xx",))) as pools,
    ):
        rests = []
        # Sooner than a probe without an outcome is given up.
        async with asyncio.timeout(PROBE_TIMEOUT / 2):
            for _ in range(4):
                await all_ejected(pools)
                rests.append(only(pools).ejection.rest)
                await until(lambda: states(pools) == [State.PROBING])
        assert rests == [0.1, 0.2, 0.35, 0.35]


@on_a_loop
async def test_a_probe_whose_client_left_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.upstreams.ejection.PROBE_TIMEOUT", PROBE_TIMEOUT / 100)
    async with Origin(silent) as origin, OpenPools((origin.url,), policy(failures=1, rest=0.1)) as pools:
        await all_ejected(pools, total=0.1)
        await until(lambda: states(pools) == [State.PROBING])
        leaving = asyncio.create_task(outcome(pools))
        await until(lambda: only(pools).in_flight)
        leaving.cancel()
        with suppress(asyncio.CancelledError):
            await leaving
        await until(only(pools).ejection.take_probe)


@on_a_loop
async def test_an_address_that_is_back_gets_few_requests_at_first() -> None:
    async with (
        Origin(responding(b"", OK)) as weak,
        Origin(responding(OK)) as strong,
        OpenPools((weak.url, strong.url), policy(failures=1, rest=0.1)) as pools,
    ):
        await outcome(pools)
        await until(lambda: states(pools) == [State.PROBING, State.HEALTHY])
        await outcome(pools)
        assert states(pools) == [State.HEALTHY] * 2
        before = len(weak.seen)
        for _ in range(22):
            await outcome(pools)
        assert 1 <= len(weak.seen) - before <= 5
        # A tenth more of its share each second.
        await until(lambda: pools_of(pools)[0].weight > 0.15)


@on_a_loop
async def test_weights_share_out_requests() -> None:
    async with (
        Origin(responding(OK)) as one,
        Origin(responding(OK)) as other,
        OpenPools((WeightedURL.of(one.url, 3), other.url)) as pools,
    ):
        assert [await outcome(pools) for _ in range(12)] == [200] * 12
        assert (len(one.seen), len(other.seen)) == (9, 3)


@on_a_loop
async def test_a_websocket_that_the_service_ends_is_no_failure() -> None:
    async def behave(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")

    async with Origin(behave) as origin, OpenPools((origin.url,), policy()) as pools:
        connection = await only(pools).connect(PATIENCE)
        response = await ready(begin(connection, may_upgrade=True))
        await until(lambda: connection.closed)
        assert only(pools).ejection.failures == 0
        response.release()


@on_a_loop
async def test_a_response_that_is_cut_off_is_a_failure_though_its_status_was_good() -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc")
        wire.close()

    async with Origin(behave) as origin, OpenPools((origin.url,), policy()) as pools:
        with pytest.raises(UpstreamDisconnected):
            await status_and_body(pools, upstream_request())
        assert only(pools).ejection.failures == 1


# A probe meets a connection that was idle: a GET whose connection closes then is sent once more.
@on_a_loop
async def test_each_change_of_an_address_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with (
        Origin(responding(FAILED, FAILED, OK)) as origin,
        OpenPools((origin.url,), policy(failures=1, rest=0.1, on=("5xx",))) as pools,
    ):
        for _ in range(2):
            await all_ejected(pools)
            await until(lambda: states(pools) == [State.PROBING])
        assert await outcome(pools) == 200
        lines = [record for record in caplog.records if record.__dict__.get("event", "").startswith("address_")]
        where = f"The things service at 127.0.0.1:{origin.port}"
        assert [record.__dict__["event"].removeprefix("address_") for record in lines] == [
            "ejected", "probing", "ejected", "probing", "healthy",
        ]  # fmt: skip
        assert lines[0].getMessage().startswith(f"{where} is ejected for 0.1 s: failures in a row: 1 (5xx)")
        assert lines[2].getMessage().startswith(f"{where} is ejected for 0.2 s: its probe failed (5xx)")
        assert lines[4].getMessage() == f"{where} is healthy again"


@on_a_loop
async def test_an_address_that_fails_and_stays_in_use_is_shown_as_failing() -> None:
    async with refusing() as one, refusing() as other, OpenPools((one.url, other.url), policy()) as pools:
        for _ in range(20):
            await outcome(pools)
        shown = sorted(each["state"] for each in pools.of("things").status())
        assert shown == ["ejected", "failing"]
