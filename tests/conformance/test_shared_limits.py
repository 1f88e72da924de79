"""A rate limit under more than five times its requests: over the workers of a machine, and over machines."""

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.cases.case import OK
from tests.conformance.client import Client, once
from tests.conformance.gateways import DOORS, Door, Gateway
from tests.conformance.upstream import Upstream
from tests.redis import RedisServer
from tests.waiting import wait_until

REQUEST = b"GET /api/limited HTTP/1.1\r\nHost: localhost\r\n\r\n"
READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIMIT = 300
# Clients of each gateway, and the requests of each client.
CLIENTS, EACH = 8, 100
# A limit a minute, and how many times as many requests are sent as for `LIMIT`.
SIZES = [(LIMIT, 1), pytest.param(1000, 4, marks=pytest.mark.long)]


def config(upstream: Upstream, limit: int = LIMIT) -> dict[str, Any]:
    route = {"path": "/api/limited", "service": "a", "allow": "public", "rate_limit": ["minute", "ever"]}
    # What comes back while the test runs is not of the second limit.
    limits = {
        "minute": {"rate": f"{limit}/minute", "by": "address"},
        "ever": {"rate": "1/day", "burst": limit, "by": "address"},
    }
    return {"services": {"a": {"url": upstream.url}}, "routes": [route], "limits": limits}


def load(gateways: Sequence[Gateway], each: int = EACH) -> Counter[int]:
    """Return the statuses of the responses to all clients."""

    def run(gateway: Gateway) -> Counter[int]:
        found: Counter[int] = Counter()
        with Client(gateway.port) as client:
            for _ in range(each):
                client.send(REQUEST)
                found[client.reply().status] += 1
        return found

    with ThreadPoolExecutor(CLIENTS * len(gateways)) as pool:
        return sum(pool.map(run, list(gateways) * CLIENTS), Counter[int]())


@pytest.mark.parametrize(("limit", "times"), SIZES)
def test_two_workers_share_a_limit(upstream: Upstream, tmp_path: Path, limit: int, times: int) -> None:
    upstream.begin([OK])
    with Gateway("fast", tmp_path / "var", config(upstream, limit), workers=2) as gateway:
        found = load([gateway], each=2 * EACH * times)
    assert found.keys() == {200, 429}
    assert found.total() > 5 * limit
    assert abs(found[200] - limit) <= 1


def test_the_workers_share_a_rate_without_a_burst(upstream: Upstream, tmp_path: Path) -> None:
    upstream.begin([OK])
    plain = config(upstream)
    plain["routes"][0]["rate_limit"] = "minute"
    with Gateway("fast", tmp_path / "var", plain, workers=2) as gateway:
        began = time.monotonic()
        found = load([gateway], each=2 * EACH)
        seconds = time.monotonic() - began
    assert LIMIT - 1 <= found[200] <= LIMIT + 1 + seconds * LIMIT / 60


@pytest.fixture
def server() -> Any:
    pytest.importorskip("redis", reason="the Redis client is not installed")
    with RedisServer() as running:
        yield running


def status(gateway: Gateway) -> str:
    state: str = once(gateway.port, READY).json()["limits"]["status"]
    return state


def lines(gateway: Gateway) -> list[str]:
    own = (line for line in gateway.log_lines() if line.get("logger") == "gateway.shared_counters")
    return [line["message"].partition(",")[0] for line in own]


@pytest.mark.parametrize(("limit", "times"), SIZES)
@pytest.mark.parametrize("door", DOORS)
def test_two_gateways_share_a_limit(
    door: Door, server: RedisServer, upstream: Upstream, tmp_path: Path, limit: int, times: int
) -> None:
    upstream.begin([OK])
    # On this machine a worker may wait longer than in production.
    environ = {"REDIS_URL": server.url, "REDIS_TIMEOUT": "10000"}
    one = Gateway(door, tmp_path / "one", config(upstream, limit), workers=2, environ=environ)
    other = Gateway("fast", tmp_path / "other", config(upstream, limit), environ=environ)
    with one, other:
        found = load([one, other], each=EACH * times)
        assert found.keys() == {200, 429}
        assert found.total() > 5 * limit
        assert abs(found[200] - limit) <= 1
        assert (status(one), status(other)) == ("ok", "ok")
    assert lines(one) == lines(other) == []


def test_each_gateway_limits_alone_while_the_server_is_down(
    server: RedisServer, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.begin([OK])
    environ = {"REDIS_URL": server.url, "REDIS_TIMEOUT": "10000"}
    one = Gateway("fast", tmp_path / "one", config(upstream), environ=environ)
    other = Gateway("fast", tmp_path / "other", config(upstream), environ=environ)
    with one, other:
        assert load([one], each=30) == {200: 240}
        server.stop()
        # The first has its own 240 on its machine; the second has none.
        assert load([one], each=15) == {200: 60, 429: 60}
        assert load([other], each=15) == {200: 120}
        assert (status(one), status(other)) == ("local", "local")
        server.start()
        wait_until(lambda: (status(one), status(other)) == ("ok", "ok"), "both to count together again")
        # The server has lost its counts.
        found = load([one, other], each=30)
        assert abs(found[200] - LIMIT) <= 1
    down, back = "Rate limits count on this machine alone", "Rate limits are shared again"
    assert lines(one) == lines(other) == [down, back]
