"""Services that fail or fall behind: what is sent again, and what stays of the others' latency, at both doors."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.conformance.cases.case import ask as ask_once
from tests.conformance.client import once as once_in_thread
from tests.conformance.doors import ok
from tests.conformance.gateways import DOORS, PROJECT, Door, Gateway, free_port
from tests.conformance.upstream import Answer, Seen, Upstream
from tests.conformance.wire import Call, Service, Wire, answer, ask, on_a_loop, once, until, until_responds
from tests.orders.serving import Service as Orders

# Seconds: a request to the hanging service, and what a good one may take on a busy machine. Without a bulkhead, the
# threads of the DRF door would all hang for as long.
HANGS = 12
BOUND = 6.0

OK = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def status(number: int, *lines: bytes) -> Answer:
    return Answer(b"\r\n".join([b"HTTP/1.1 %d X" % number, b"Content-Length: 2", *lines, b"", b"no"]))


FAULTS = {
    "closes": Answer(b"", close=True),
    "503": status(503),
    "503-soon": status(503, b"Retry-After: 1"),
    "503-late": status(503, b"Retry-After: 60"),
    "500": status(500),
    "502": status(502),
    "504": status(504),
    "malformed": Answer(b"hello\r\n\r\n", close=True),
    "partial": Answer(OK.raw[:-1], close=True),
    "hangs": Answer(b""),
}
# The status that a client gets if the address with the fault is the first: with the defaults a GET, a POST, and a POST
# with an Idempotency-Key; a GET without retries; and a GET with all causes.
OUTCOMES = {
    "refuses": (200, 200, 200, 200, 200),
    "closes": (200, 502, 200, 502, 200),
    "503": (200, 503, 200, 503, 200),
    "503-soon": (200, 503, 200, 503, 200),
    "503-late": (503, 503, 503, 503, 503),
    "500": (500, 500, 500, 500, 500),
    "502": (502, 502, 502, 502, 200),
    "504": (504, 504, 504, 504, 200),
    "malformed": (502, 502, 502, 502, 200),
    "partial": (502, 502, 502, 502, 200),
    "hangs": (504, 504, 504, 504, 504),
}
# The same in the table of docs/gateway.yaml.md.
DOCUMENTED = {
    "refuses connections, or does not accept one in time": ["refuses"],
    "closes the connection before any byte of a response": ["closes"],
    "responds with 503": ["503"],
    "responds with 503 and a `Retry-After` within `total`": ["503-soon"],
    "responds with 503 and a later `Retry-After`": ["503-late"],
    "responds with 500, 502 or 504": ["500", "502", "504"],
    "sends something malformed, or a part of a response": ["malformed", "partial"],
    "does not respond in time": ["hangs"],
}
REQUESTS = [
    ("GET /default", []), ("POST /default", []), ("POST /default", ["Idempotency-Key: k"]), ("GET /off", []),
    ("GET /all", []),
]  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Two addresses of a service, of which the first fails as the path says, and a gateway of each door."""
    retries = {"default": {}, "off": {"attempts": 1}, "all": {"on": ["connect", "reset", 502, 503, 504]}}
    with Upstream() as bad, Upstream() as good, contextlib.ExitStack() as running:
        bad.begin(lambda seen: FAULTS[seen.target.rpartition("/")[2]])
        good.begin((OK,))
        eject = {"most": "0%"}
        config = {
            "services": {
                "pair": {"url": [bad.url, good.url], "eject": eject},
                "gone": {"url": [f"http://127.0.0.1:{free_port()}", good.url], "eject": eject},
            },
            "routes": [
                {"path": f"/{name}/{path}", "service": service, "allow": "public", "retry": retry | {"budget": "100%"}}
                for name, retry in retries.items()
                for path, service in {"{fault}": "pair", "refuses": "gone"}.items()
            ]
            + [
                {
                    "path": f"/{name}/hangs",
                    "service": "pair",
                    "allow": "public",
                    "retry": retry,
                    "timeouts": {"total": "1500ms"},
                }
                for name, retry in retries.items()
            ],
        }
        gateways = {
            door: running.enter_context(Gateway(door, tmp_path_factory.mktemp(door) / "var", config)) for door in DOORS
        }
        yield SimpleNamespace(bad=bad, good=good, gateways=gateways)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("fault", OUTCOMES)
def test_each_fault_of_an_address_has_one_outcome(fault: str, door: Door, pair: SimpleNamespace) -> None:
    port = pair.gateways[door].port
    for (line, headers), outcome in zip(REQUESTS, OUTCOMES[fault], strict=True):
        body = b"abc" if line.startswith("POST") else None
        # The addresses take turns: one of two requests meets the fault first.
        pair.bad.seen, pair.good.seen = [], []
        statuses = [once_in_thread(port, ask_once(f"{line}/{fault}", *headers, body=body)).status for _ in range(2)]
        assert sorted(statuses) == [200, outcome] if outcome != 200 else [200, 200], line
        seen: list[Seen] = pair.bad.seen + pair.good.seen
        if line.startswith("POST") and not headers:
            assert len(seen) == 2, "a POST was sent twice"
        assert len(seen) <= 3


def test_the_outcomes_are_those_of_the_documentation() -> None:
    text = (PROJECT.parent / "docs" / "gateway.yaml.md").read_text()
    table = text.partition("| fault of one address |")[2].partition("\n\n")[0]
    listed = {cells[1].strip(): cells[2:5] for line in table.splitlines()[2:] if len(cells := line.split("|")) > 4}
    assert listed.keys() == DOCUMENTED.keys()
    assert sorted(fault for faults in DOCUMENTED.values() for fault in faults) == sorted(OUTCOMES)
    for row, faults in DOCUMENTED.items():
        repeatable, post, once = (cell.strip() for cell in listed[row])
        for fault in faults:
            get, plain, with_key, off, _ = OUTCOMES[fault]
            for cell, outcome in (repeatable, get), (repeatable, with_key), (post, plain), (once, off):
                if outcome == 200:
                    assert cell.startswith("the other address responds")
                else:
                    assert cell.startswith("that response" if fault == str(outcome) != "503" else str(outcome)), row


# A service that hangs.


@pytest.mark.parametrize("door", DOORS)
def test_a_service_that_hangs_costs_others_nothing(door: Door, tmp_path) -> None:
    port, other = free_port(), free_port()
    config = {
        "services": {
            "hanging": {"url": f"http://127.0.0.1:{port}", "max_in_flight": 4, "queue": {"size": 2, "wait": "200ms"},
                        "timeouts": {"total": f"{HANGS}s"}},
            "good": {"url": f"http://127.0.0.1:{other}"},
        },
        "routes": [
            {"path": "/hanging/{path...}", "service": "hanging", "allow": "public"},
            {"path": "/good", "service": "good", "allow": "public"},
        ],
    }  # fmt: skip
    with Gateway(door, tmp_path / "var", config) as gateway:
        on_a_loop(within=30)(hang)(gateway.port, port, other)


async def hang(port: int, hanging: int, good: int) -> None:
    """Send many requests to a service that hangs, and some to another one at the same time."""
    go_on = asyncio.Event()
    arrived = 0

    async def hangs(call: Call) -> None:
        nonlocal arrived
        arrived += 1
        await go_on.wait()
        await ok(call)

    async with Service(hanging, hangs), Service(good, ok):
        asked = [asyncio.create_task(once(port, ask(f"GET /hanging/{n}"))) for n in range(24)]
        await until(lambda: arrived == 4, "four requests at the service")
        times = []
        for _ in range(40):
            began = time.monotonic()
            assert (await once(port, ask("GET /good"))).status == 200
            times.append(time.monotonic() - began)
        assert max(times) < BOUND
        await until(lambda: sum(task.done() for task in asked) == 20, "the others rejected")
        refused = [task.result() for task in asked if task.done()]
        assert {(reply.status, reply.json()["code"], reply.get("Retry-After")) for reply in refused} == {
            (503, "upstream_busy", "1")
        }
        assert {reply.json()["service"] for reply in refused} == {"hanging"}
        assert arrived == 4
        go_on.set()
        replies = await asyncio.gather(*asked)
        assert Counter(reply.status for reply in replies) == {503: 20, 200: 4}
        # The places are free.
        again = await asyncio.gather(*(once(port, ask(f"GET /hanging/again{n}")) for n in range(4)))
        assert [reply.status for reply in again] == [200] * 4


def test_clients_that_leave_free_their_places(tmp_path) -> None:
    port = free_port()
    queue = {"size": 3, "wait": "60s"}
    config = {
        "services": {"things": {"url": f"http://127.0.0.1:{port}", "max_in_flight": 2, "queue": queue}},
        "routes": [{"path": "/x/{path...}", "service": "things", "allow": "public", "timeouts": {"total": "2m"}}],
    }
    with Gateway("fast", tmp_path / "var", config) as gateway:
        on_a_loop(within=30)(leave)(gateway, port)


async def leave(gateway: Gateway, port: int) -> None:
    """Fill the places and the queue with requests whose clients leave."""
    seen: list[str] = []

    async def handler(call: Call) -> None:
        seen.append(call.target)
        if "hang" in call.target:
            await asyncio.Event().wait()
        await call.wire.send(answer())

    async with Service(port, handler):
        wires = [await Wire.to(gateway.port) for _ in range(5)]
        for number, wire in enumerate(wires):
            await wire.send(ask(f"GET /x/hang{number}"))
            await until(lambda: len(seen) == min(number + 1, 2), "at the service")  # noqa: B023
        # The last three may not be in the queue yet: the next request comes after them, and is rejected once they are.
        await until_rejected(gateway.port)
        for wire in wires[::-1]:
            wire.close()
        for _ in range(5):
            assert (await once(gateway.port, ask("GET /x/again"))).status == 200
        # Those in the queue were never sent.
        assert seen[:2] == ["/x/hang0", "/x/hang1"]
        assert set(seen[2:]) == {"/x/again"}


async def until_rejected(port: int) -> None:
    await until_responds(port, ask("GET /x/hang-more"), lambda reply: reply.status == 503, "a rejection")


# Outages.


async def outage(gateway: Gateway, port: int, seconds: float) -> tuple[int, int, list[int]]:
    """Let the service respond with 503 for so long under load.

    Returns the requests that were sent then, those that it got, and the statuses of the second after.
    """
    got, is_out = 0, True

    async def handler(call: Call) -> None:
        nonlocal got
        got += is_out
        await call.wire.send(answer(b"no", "503 Service Unavailable") if is_out else answer())

    statuses: list[tuple[bool, int]] = []
    over = False

    async def client() -> None:
        async with await Wire.to(gateway.port) as wire:
            while not over:
                during = is_out
                reply = await wire.gets(ask("GET /x/load"))
                # Those that run when the outage ends may have either outcome.
                if during == is_out:
                    statuses.append((during, reply.status))
                await asyncio.sleep(0.02)

    async with Service(port, handler):
        clients = [asyncio.create_task(client()) for _ in range(8)]
        await asyncio.sleep(seconds)
        is_out = False
        await asyncio.sleep(1)
        over = True
        await asyncio.gather(*clients)
    sent = sum(during for during, _ in statuses)
    return sent, got, [status for during, status in statuses if not during]


@pytest.mark.parametrize("seconds", [3, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize("door", DOORS)
def test_an_outage_costs_the_service_at_most_a_fifth_more_requests(door: Door, seconds: int, tmp_path) -> None:
    port = free_port()
    config = {
        "services": {"things": {"url": f"http://127.0.0.1:{port}"}},
        "routes": [{"path": "/x/{path...}", "service": "things", "allow": "public"}],
    }
    found: Any = None

    async def run(gateway: Gateway) -> None:
        nonlocal found
        found = await outage(gateway, port, seconds)

    with Gateway(door, tmp_path / "var", config) as gateway:
        on_a_loop(within=40)(run)(gateway)
        sent, got, after = found
        assert sent > 50
        # Eight may run at the end.
        assert sent <= got <= 1.2 * (sent + 8) + 3
        assert got > 1.1 * sent, "nothing was retried"
        assert after
        assert set(after) == {200}
        lines = [line for line in gateway.log_lines() if "retry budget" in line["message"]]
        assert len(lines) == 1


@pytest.mark.parametrize("door", ["fast"])
def test_a_rolling_restart_of_two_replicas_fails_no_get(door: Door, tmp_path) -> None:
    ports = [free_port(), free_port()]
    config = {
        "services": {"orders": {"url": [f"http://127.0.0.1:{port}" for port in ports]}},
        "routes": [{"path": "/api/orders", "methods": ["GET", "POST"], "service": "orders", "allow": "authenticated"}],
    }
    with Gateway(door, tmp_path / "var", config) as gateway, contextlib.ExitStack() as running:
        issuer: Any = SimpleNamespace(url=f"{gateway.url}/.well-known/jwks.json", passport=lambda *_, **__: "none")
        replicas = []
        for port in ports:
            # Of one database: the first one migrates it.
            replica = Orders(issuer, tmp_path, workers=1, environ={"ORDERS_PORT": str(port)}, migrated=not replicas)
            replica.port = port
            replicas.append(running.enter_context(replica))
        on_a_loop(within=90)(restart)(gateway, replicas)


async def restart(gateway: Gateway, replicas: list[Orders]) -> None:
    """Restart both, one after the other, under 50 requests a second, and some orders."""
    headers = [f"Authorization: Bearer {gateway.token('2')}"]
    gets: list[int] = []
    posts: dict[str, int] = {}
    pending: set[asyncio.Task[None]] = set()

    async def get() -> None:
        gets.append((await once(gateway.port, ask("GET /api/orders?limit=1", *headers))).status)

    async def post(item: str) -> None:
        body = json.dumps({"item": item, "address": "Main street 1"}).encode()
        request = ask("POST /api/orders", *headers, "Content-Type: application/json", body=body)
        posts[item] = (await once(gateway.port, request)).status

    async def load() -> None:
        while True:
            number = len(gets) + len(pending)
            tasks = [get()] if number % 10 else [get(), post(f"item {number} {time.monotonic()}")]
            for task in map(asyncio.create_task, tasks):
                pending.add(task)
                task.add_done_callback(pending.discard)
            await asyncio.sleep(0.02)

    loading = asyncio.create_task(load())
    await until(lambda: len(gets) > 20, "the first responses")
    for replica in replicas:
        assert replica.process
        replica.process.terminate()
        await asyncio.to_thread(replica.process.wait, 60)
        so_far = len(gets)
        await until(lambda: len(gets) > so_far + 20, "responses of the other replica")  # noqa: B023
        await asyncio.to_thread(replica.start)
        so_far = len(gets)
        await until(lambda: len(gets) > so_far + 50, "responses of both replicas")  # noqa: B023
    loading.cancel()
    await until(lambda: not pending, "the last responses")
    assert Counter(gets) == {200: len(gets)}
    # An order is stored once if its response was 201, and at most once in any case.
    reply = await once(gateway.port, ask("GET /api/orders?limit=200", *headers))
    stored = Counter(order["item"] for order in reply.json()["results"])
    assert max(stored.values()) == 1
    assert {item for item, status in posts.items() if status == 201} <= set(stored)
