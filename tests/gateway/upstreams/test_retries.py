"""When a request is sent again, and the budget of that."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.upstreams.origin import Behaviour, OpenPools, Origin, Wire, on_a_loop, silent, until
from tests.gateway.upstreams.requests import OK, receive_pieces, status_and_body, upstream_request

from gateway.config import Policies, Retry, Timeouts
from gateway.metrics import UPSTREAMS
from gateway.policy.rejections import UpstreamConnectError, UpstreamDisconnected, UpstreamError, UpstreamTimeout
from gateway.upstreams import Body, Pools, UpstreamRequest
from gateway.upstreams.measurements import BUDGET
from gateway.upstreams.requests import HELD
from gateway.upstreams.retries import FLOOR, STEP, WINDOW, RetryBudget

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
METHODS = {"GET": True, "HEAD": True, "OPTIONS": True, "PUT": True, "DELETE": True, "POST": False, "PATCH": False}


def retrying(
    method: str = "GET", body: bytes | Body = b"", *, headers: Any = (), total: float = 60.0, **retry: Any
) -> UpstreamRequest:
    """Return a request of a route with that `retry`."""
    policies = Policies(timeouts=Timeouts.model_construct(total=total), retry=Retry.model_validate(retry))
    whole = body if isinstance(body, Body) else Body.of(body)
    return replace(upstream_request(method, whole, headers=headers, total=total), policies=policies)


def saying(*responses: bytes) -> Behaviour:
    """Return a service that sends the responses in turn, whatever the connection, and then closes."""
    left = list(responses)

    async def behave(wire: Wire) -> None:
        while True:
            wire.origin.seen.append(await wire.request())
            said = left.pop(0) if left else b""
            if not said:
                return
            await wire.send(said)

    return behave


# What is retried.


@pytest.mark.parametrize(("method", "again"), METHODS.items())
@pytest.mark.parametrize("failure", [b"", BUSY])
@on_a_loop
async def test_a_failure_is_retried_if_the_method_is_idempotent(method: str, again: bool, failure: bytes) -> None:
    said = OK.removesuffix(b"ok") if method == "HEAD" else OK
    failure = failure.removesuffix(b"busy") if method == "HEAD" else failure
    async with Origin(saying(failure, said)) as origin, OpenPools((origin.url,)) as pools:
        if again:
            assert (await status_and_body(pools, retrying(method, b"abc")))[0] == 200
        elif failure:
            assert (await status_and_body(pools, retrying(method, b"abc")))[0] == 503
        else:
            with pytest.raises(UpstreamDisconnected):
                await status_and_body(pools, retrying(method, b"abc"))
        assert [(seen.method, seen.body) for seen in origin.seen] == [(method, b"abc")] * (2 if again else 1)


KEYS = [("Idempotency-Key", "a1", True), ("idempotency-key", "a1", True), ("Idempotency-Key", "", False),
        ("Key", "idempotency-key: a", False)]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "again"), KEYS)
@pytest.mark.parametrize("encoded", [True, False])
@on_a_loop
async def test_a_post_is_retried_with_an_idempotency_key(name: str, value: str, encoded: bool, again: bool) -> None:
    async with Origin(saying(BUSY, OK)) as origin, OpenPools((origin.url,)) as pools:
        request = retrying("POST", b"abc", headers=[] if encoded else [(name, value)])
        if encoded:
            request = replace(request, block=f"a: b\r\n{name}: {value}\r\nc: d\r\n".encode())
        status, _ = await status_and_body(pools, request)
        assert (status, len(origin.seen)) == ((200, 2) if again else (503, 1))


@on_a_loop
async def test_a_body_that_is_sent_as_it_comes_is_not_retried() -> None:
    async def behave(wire: Wire) -> None:
        wire.origin.seen.append(await wire.request())

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        body = Body(receive_pieces(b"a" * (HELD + 1), b"b"), None, 2 * HELD)
        await body.begin()
        with pytest.raises(UpstreamDisconnected):
            await status_and_body(pools, retrying("PUT", body, headers=[("Idempotency-Key", "a")]))
        assert len(origin.seen) == 1


STATUSES = {status: b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status for status in (500, 502, 503, 504)}
CHUNKED = b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n"


@pytest.mark.parametrize(
    ("on", "failure", "again"),
    [
        *(([str(status)], said, status != 500) for status, said in STATUSES.items() if status != 500),
        (["502", "503", "504", "reset", "connect"], STATUSES[500], False),
        (["502", "504"], STATUSES[503], False),
        (["503"], CHUNKED, True),
        (["reset"], b"", True),
        (["502"], b"", False),
        (["502"], OK[:-1], True),
        (["reset"], OK[:-1], False),
        (["502"], b"hello\r\n\r\n", True),
        (["connect", "503", "504"], b"hello\r\n\r\n", False),
    ],
)
@on_a_loop
async def test_what_on_names_is_retried(on: Sequence[str], failure: bytes, again: bool) -> None:
    async def behave(wire: Wire) -> None:
        wire.origin.seen.append(await wire.request())
        await wire.send(OK if len(wire.origin.seen) == 2 else failure)
        if failure is CHUNKED:
            await wire.ended()

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        try:
            status, _ = await status_and_body(pools, retrying(on=on))
        except UpstreamError as exc:
            status = exc.status
        assert (status == 200) is again
        assert len(origin.seen) == (2 if again else 1)


@on_a_loop
async def test_a_response_that_does_not_begin_in_time_is_retried_with_504() -> None:
    async def behave(wire: Wire) -> None:
        wire.origin.seen.append(await wire.request())
        if len(wire.origin.seen) == 1:
            await wire.ended()
        await wire.send(OK)

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        request = retrying(on=["504"])
        request = replace(request, timeouts=request.timeouts.model_copy(update={"first_byte": 0.3}))
        assert await status_and_body(pools, request) == (200, b"ok")
        assert len(origin.seen) == 2


@pytest.mark.parametrize("attempts", [1, 2, 4])
@on_a_loop
async def test_a_request_is_sent_at_most_as_often_as_attempts(attempts: int) -> None:
    async with Origin(saying(*[BUSY] * 9)) as origin, OpenPools((origin.url,)) as pools:
        assert await status_and_body(pools, retrying(attempts=attempts)) == (503, b"busy")
        assert len(origin.seen) == attempts


@on_a_loop
async def test_a_retry_goes_to_another_address_on_a_new_connection() -> None:
    busy = saying(*[BUSY] * 9)
    async with Origin(busy) as one, Origin(busy) as other, OpenPools((one.url, other.url)) as pools:
        for count in (1, 2, 3):
            assert (await status_and_body(pools, retrying()))[0] == 503
            assert (len(one.seen), len(other.seen)) == (count, count)


@on_a_loop
async def test_after_all_addresses_have_failed_they_are_tried_once_more() -> None:
    one_ok, other_ok = saying(b"", OK), saying(b"", OK)
    async with Origin(one_ok) as one, Origin(other_ok) as other, OpenPools((one.url, other.url)) as pools:
        assert await status_and_body(pools, retrying(attempts=3)) == (200, b"ok")
        assert sorted((len(one.seen), len(other.seen))) == [1, 2]


@on_a_loop
async def test_an_idle_connection_that_was_closed_costs_no_budget_and_another_address_is_asked() -> None:
    async def behave(wire: Wire) -> None:
        wire.origin.seen.append(await wire.request())
        await wire.send(OK)
        wire.origin.seen.append(await wire.request())

    async with Origin(behave) as one, Origin(behave) as other, OpenPools((one.url, other.url)) as pools:
        for _ in range(2):
            await status_and_body(pools, retrying())
        assert await status_and_body(pools, retrying(attempts=1)) == (200, b"ok")
        assert sorted((len(one.seen), len(other.seen))) == [2, 2]
        assert budget_of(pools).retries == 0


@pytest.mark.parametrize("method", METHODS)
@on_a_loop
async def test_a_request_that_no_address_takes_is_retried_whatever_its_method(method: str) -> None:
    async with Origin(silent) as origin:
        gone = origin.url
    async with OpenPools((gone,)) as pools:
        with pytest.raises(UpstreamConnectError):
            await status_and_body(pools, retrying(method))
        assert budget_of(pools).retries == 1
        with pytest.raises(UpstreamConnectError):
            await status_and_body(pools, retrying(method, on=["reset"]))
        assert budget_of(pools).retries == 1


# When.


@on_a_loop
async def test_a_retry_after_is_respected() -> None:
    later = b"HTTP/1.1 503 X\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy"
    loop = asyncio.get_running_loop()
    async with Origin(saying(later, OK)) as origin, OpenPools((origin.url,)) as pools:
        began = loop.time()
        assert await status_and_body(pools, retrying()) == (200, b"ok")
        assert loop.time() - began >= 0.99
        first, second = [seen.header("x-envoy-expected-rq-timeout-ms") or "" for seen in origin.seen]
        assert first == "60000"
        assert 0 < int(second) <= 59_010


@pytest.mark.parametrize("value", [b"61", b"Fri, 31 Dec 2100 23:59:59 GMT"])
@on_a_loop
async def test_a_retry_after_beyond_the_deadline_is_passed_on(value: bytes) -> None:
    later = b"HTTP/1.1 503 X\r\nRetry-After: %s\r\nContent-Length: 4\r\n\r\nbusy" % value
    async with Origin(saying(later, OK)) as origin, OpenPools((origin.url,)) as pools:
        assert await status_and_body(pools, retrying()) == (503, b"busy")
        assert len(origin.seen) == 1


@on_a_loop
async def test_all_tries_share_one_deadline() -> None:
    async def behave(wire: Wire) -> None:
        wire.origin.seen.append(await wire.request())
        await asyncio.sleep(0.3)
        await wire.send(BUSY)

    loop = asyncio.get_running_loop()
    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        began = loop.time()
        try:
            status, _ = await status_and_body(pools, retrying(attempts=10, total=1.0, budget="100%"))
            assert status == 503
        except UpstreamTimeout:
            pass
        assert loop.time() - began < 4
        assert len(origin.seen) <= 4


# The budget.


def budget_of(pools: Pools) -> RetryBudget:
    return pools.plans.gauges["things"].budget


@given(
    st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=300),
    st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)
def test_retries_never_exceed_the_budget_of_any_window(steps: list[tuple[float, bool]], share: float) -> None:
    budget, now = RetryBudget(), 100.0
    requests: list[float] = []
    retries: list[float] = []
    for pause, fails in steps:
        now += pause
        budget.count(now)
        requests.append(now)
        if fails and budget.spend(now, share):
            retries.append(now)
            # The window moves in steps of a second.
            counted = sum(at > now - WINDOW - 2 * STEP for at in requests)
            assert sum(at > now - WINDOW for at in retries) <= max(FLOOR, share * counted)
        elif fails:
            assert sum(at > now - WINDOW - 2 * STEP for at in retries) >= FLOOR


def test_a_budget_is_full_again_after_its_window() -> None:
    budget = RetryBudget()
    for _ in range(100):
        budget.count(5.0)
    assert [budget.spend(5.5, 0.2) for _ in range(21)] == [True] * 20 + [False]
    assert budget.left(5.5, 0.2) == 0
    assert budget.left(17.0, 0.2) == FLOOR
    budget.count(90.0)
    assert budget.left(90.0, 0.2) == FLOOR


@on_a_loop
async def test_what_is_left_of_a_budget_is_seen_and_is_whole_again_after_its_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.upstreams.retries.WINDOW", 1.0)
    monkeypatch.setattr("gateway.upstreams.retries.STEP", 0.1)
    monkeypatch.setattr("gateway.upstreams.plans.STEP", 0.1)

    def shown() -> float | None:
        found = [numbers[-1] for series, numbers in UPSTREAMS.read().items() if series == ("things", "", BUDGET)]
        return found[0] if found else None

    async with Origin(saying(BUSY, OK, BUSY, *[OK] * 99)) as origin, OpenPools((origin.url,)) as pools:
        for _ in range(2):
            assert (await status_and_body(pools, retrying()))[0] == 200
        assert pools.plans.status() == {"things": {"queued": 0, "retries_left": FLOOR - 2}}
        await until(lambda: shown() == FLOOR - 2)
        # Without a request.
        await until(lambda: shown() == FLOOR)
        await until(lambda: pools.plans.gauges["things"].timer is None)
    assert shown() == 0


@on_a_loop
async def test_without_a_budget_left_a_failure_is_final_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with Origin(saying(*[BUSY] * 99)) as origin, OpenPools((origin.url,)) as pools:
        for _ in range(10):
            assert (await status_and_body(pools, retrying()))[0] == 503
        assert len(origin.seen) == 10 + FLOOR
    lines = [record.getMessage() for record in caplog.records if "budget" in record.getMessage()]
    assert lines == ["The things service fails, and its retry budget is used up (503)"]
