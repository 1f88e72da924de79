"""What the fast door holds: many clients, large bodies, slow peers, reloads and clients that leave, on one worker.

Each test has a share that runs every time; `long` is the whole.
"""

import asyncio
import contextlib
import logging
import re
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest
from tests.conformance.client import ConnectionBroken, ProtocolViolation, Reply
from tests.conformance.gateways import Gateway, free_port
from tests.conformance.wire import (
    GIB,
    KIB,
    MIB,
    PATIENCE,
    Call,
    Handler,
    Service,
    Sum,
    Wire,
    answer,
    ask,
    content,
    forget_peak,
    memory,
    on_a_loop,
    once,
    sockets,
    sum_of,
    until,
    until_steady,
)
from tests.shares import share

# Figures: `--log-cli-level=INFO` shows them.
log = logging.getLogger(__name__)

SERVICE = free_port()
CONFIG: dict[str, Any] = {
    "services": {"one": {"url": f"http://127.0.0.1:{SERVICE}"}},
    "routes": [
        {"path": "/small/{path...}", "service": "one", "allow": "public"},
        {"path": "/large/{path...}", "service": "one", "allow": "public", "max_body": "2GiB",
         "timeouts": {"total": "10m"}},
        {"path": "/short/{path...}", "service": "one", "allow": "public", "timeouts": {"total": "1s"}},
    ],
}  # fmt: skip
# Seconds that a request's head may take, for which a client may leave its answer, and that a busy machine adds.
HEAD_WITHIN = 30
# Twice 60: its kernel may have taken a little meanwhile.
TAKES_WITHIN = 120
LATER = 15


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway, one worker, at its fast door."""
    with Gateway("fast", tmp_path_factory.mktemp("load") / "var", CONFIG, measured=False) as gateway:
        yield gateway


@pytest.fixture
def worker(gateway: Gateway) -> int:
    """The process id of its worker, which has to live on."""
    (pid,) = gateway.worker_pids()
    return pid


async def ok(call: Call) -> None:
    """Answer at once, with what came."""
    got = await call.sum()
    await call.wire.send(answer(f"{call.target} {got.size} {got.crc}".encode()))


def is_ok(reply: Reply) -> bool:
    """Return whether it is the answer to a request."""
    return reply.status == 200


# Many at once.


async def all_at_once(port: int, count: int) -> None:
    """Send that many requests, each on a connection of its own, to a service that answers once it has them all."""
    has_all = asyncio.Barrier(count)

    async def slow(call: Call) -> None:
        await has_all.wait()
        await call.wire.send(answer(call.target.encode()))

    async with Service(SERVICE, slow):
        replies = await asyncio.gather(*(once(port, ask(f"GET /large/{n}")) for n in range(count)))
    assert {reply.status for reply in replies} == {200}
    assert [reply.body for reply in replies] == [f"/large/{n}".encode() for n in range(count)]


@on_a_loop(within=20)
async def test_five_hundred_requests_at_once_to_a_slow_service_wait_for_it_together(gateway: Gateway) -> None:
    await all_at_once(gateway.port, 500)


@pytest.mark.long
@on_a_loop(within=60)
async def test_two_thousand_requests_at_once_to_a_slow_service_wait_for_it_together(gateway: Gateway) -> None:
    await all_at_once(gateway.port, 2000)


def test_a_low_soft_limit_on_open_files_is_no_limit_on_connections(tmp_path) -> None:
    low = ("sh", "-c", 'ulimit -Sn 128; exec "$@"', "sh")
    with Gateway("fast", tmp_path / "var", CONFIG, wrapper=low) as gateway:
        on_a_loop(within=20)(all_at_once)(gateway.port, 300)


# Large bodies.


async def grows_by(pid: int, transfer: Callable[[int], Any], size: int) -> int:
    """Return by how much the process's memory grows at most during the transfer, which is not its first."""
    await transfer(4 * MIB)
    before = forget_peak(pid)
    began = time.monotonic()
    await transfer(size)
    seconds = time.monotonic() - began
    grown = memory(pid, "VmHWM") - before
    log.info("%.0f MiB in %.2f s, memory +%.1f MiB", size / MIB, seconds, grown / MIB)
    return grown


def giver(chunked: bool) -> Handler:
    """Return a service that answers with as many bytes as the path's last segment says."""

    async def give(call: Call) -> None:
        size = int(call.target.rpartition("/")[2])
        if chunked:
            await call.wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await call.wire.send_chunks(content(size))
        else:
            await call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for piece in content(size):
                await call.wire.send(piece)

    return give


async def downloads(port: int, worker: int, size: int, *, chunked: bool) -> None:
    """Download that much and check it and the worker's memory."""

    async def download(size: int) -> None:
        got = Sum()
        async with await Wire.to(port) as wire:
            await wire.send(ask(f"GET /large/{size}"))
            reply = await wire.head()
            assert is_ok(reply)
            async for piece in wire.pieces(reply):
                got.add(piece)
            assert reply.framing == ("chunked" if chunked else "length")
        assert got == sum_of(size)

    async with Service(SERVICE, giver(chunked)):
        assert await grows_by(worker, download, size) < 32 * MIB


async def uploads(port: int, worker: int, size: int, *, chunked: bool) -> None:
    """Upload that much and check it and the worker's memory."""

    async def upload(size: int) -> None:
        async with await Wire.to(port) as wire:
            if chunked:
                await wire.send(ask("POST /large/up", "Transfer-Encoding: chunked"))
                await wire.send_chunks(content(size))
            else:
                await wire.send(ask("POST /large/up", f"Content-Length: {size}"))
                for piece in content(size):
                    await wire.send(piece)
            reply = await wire.reply()
        assert reply.body == f"/large/up {size} {sum_of(size).crc}".encode()

    async with Service(SERVICE, ok):
        assert await grows_by(worker, upload, size) < 32 * MIB


FRAMINGS = pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])


@FRAMINGS
@on_a_loop(within=60)
async def test_64_mib_come_down_in_little_memory(gateway: Gateway, worker: int, chunked: bool) -> None:
    await downloads(gateway.port, worker, 64 * MIB, chunked=chunked)


@FRAMINGS
@on_a_loop(within=60)
async def test_64_mib_go_up_in_little_memory(gateway: Gateway, worker: int, chunked: bool) -> None:
    await uploads(gateway.port, worker, 64 * MIB, chunked=chunked)


@pytest.mark.long
@FRAMINGS
@on_a_loop(within=180)
async def test_a_gib_comes_down_in_little_memory(gateway: Gateway, worker: int, chunked: bool) -> None:
    await downloads(gateway.port, worker, share(GIB), chunked=chunked)


@pytest.mark.long
@FRAMINGS
@on_a_loop(within=180)
async def test_a_gib_goes_up_in_little_memory(gateway: Gateway, worker: int, chunked: bool) -> None:
    await uploads(gateway.port, worker, share(GIB), chunked=chunked)


# Slow peers. What is on its way then is in the buffers of four sockets, as the kernel sizes them, not in the worker.


@FRAMINGS
@on_a_loop(within=60)
async def test_a_client_that_does_not_read_holds_the_service_back(gateway: Gateway, worker: int, chunked: bool) -> None:
    size = 64 * MIB
    sent = 0

    async def give(call: Call) -> None:
        nonlocal sent
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
        await call.wire.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
        for piece in content(size):
            await call.wire.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            sent += len(piece)
        if chunked:
            await call.wire.send(b"0\r\n\r\n")

    async with Service(SERVICE, give), await Wire.to(gateway.port, receive_buffer=64 * KIB) as wire:
        before = forget_peak(worker)
        await wire.send(ask("GET /large/down"))
        assert await until_steady(lambda: sent) < size
        assert memory(worker, "VmHWM") - before < 8 * MIB
        # Others are answered meanwhile, and nothing was lost.
        assert (await once(gateway.port, ask("GET /healthz"))).status == 200
        got = Sum()
        async for piece in wire.pieces(await wire.head()):
            got.add(piece)
        assert got == sum_of(size)


@FRAMINGS
@on_a_loop(within=60)
async def test_a_service_that_does_not_read_holds_the_client_back(gateway: Gateway, worker: int, chunked: bool) -> None:
    size = 64 * MIB
    sent = 0
    reads = asyncio.Event()

    async def waits(call: Call) -> None:
        await reads.wait()
        await ok(call)

    async def upload(wire: Wire) -> None:
        nonlocal sent
        await wire.send(ask("POST /large/up", "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"))
        for piece in content(size):
            await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            sent += len(piece)
        if chunked:
            await wire.send(b"0\r\n\r\n")

    async with (
        Service(SERVICE, waits, limit=64 * KIB),
        await Wire.to(gateway.port) as wire,
        asyncio.TaskGroup() as tasks,
    ):
        before = forget_peak(worker)
        tasks.create_task(upload(wire))
        assert await until_steady(lambda: sent) < size
        assert memory(worker, "VmHWM") - before < 8 * MIB
        assert (await once(gateway.port, ask("GET /healthz"))).status == 200
        reads.set()
        assert (await wire.reply()).body == f"/large/up {size} {sum_of(size).crc}".encode()


# Idle clients.


async def idles(port: int, worker: int, count: int) -> tuple[int, float]:
    """Hold that many idle connections; return what each costs the worker, and how long another request takes then."""
    async with Service(SERVICE, ok), contextlib.AsyncExitStack() as stack:

        async def opened(n: int) -> Wire:
            # 28,000 ports or so are there for each address.
            wire = await Wire.to(port, source=f"127.0.0.{2 + n % 4}", receive_buffer=4 * KIB)
            stack.push_async_exit(wire)
            assert is_ok(await wire.gets(ask("GET /small/idle")))
            return wire

        before = memory(worker)
        wires: list[Wire] = []
        for start in range(0, count, 250):
            wires += await asyncio.gather(*(opened(n) for n in range(start, min(start + 250, count))))
        each = (memory(worker) - before) // count
        times = []
        for _ in range(100):
            began = time.monotonic()
            assert is_ok(await once(port, ask("GET /small/other")))
            times.append(time.monotonic() - began)
        # They are all still there, and good.
        for wire in wires[:: max(1, count // 100)]:
            assert is_ok(await wire.gets(ask("GET /small/again")))
        log.info("%d idle: %.1f KiB each, %.0f MiB in all", count, each / KIB, memory(worker) / MIB)
        return each, statistics.median(times)


@on_a_loop(within=60)
async def test_a_thousand_idle_clients_cost_little_and_keep_nobody_waiting(gateway: Gateway, worker: int) -> None:
    each, median = await idles(gateway.port, worker, 1000)
    assert each < 16 * KIB
    assert median < 0.5


@pytest.mark.long
@on_a_loop(within=120)
async def test_ten_thousand_idle_clients_fit_into_250_mib(gateway: Gateway, worker: int) -> None:
    _, median = await idles(gateway.port, worker, share(10_000))
    assert memory(worker) < 250 * MIB
    assert median < 0.5


# Reloads.


class Load:
    """Clients that behave: each keeps its connection until an answer says that it ends, and then makes another."""

    def __init__(self, port: int, clients: int) -> None:
        self.port = port
        self.clients = clients
        self.answered = 0
        self.reconnected = 0
        self.failures: list[str] = []
        self.over = False

    async def __aenter__(self) -> Self:
        self.tasks = [asyncio.create_task(self.client(n)) for n in range(self.clients)]
        await until(lambda: self.answered > 2 * self.clients or bool(self.failures), "the first answers")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.over = True
        await asyncio.gather(*self.tasks)

    async def client(self, number: int) -> None:
        """Send one request after the other; note whatever goes wrong."""
        turn = number
        while not self.over:
            async with await Wire.to(self.port) as wire:
                closes = False
                while not (self.over or closes):
                    turn += 1
                    try:
                        closes = await self.request(wire, turn)
                    except (ConnectionBroken, ProtocolViolation, TimeoutError, AssertionError) as exc:
                        self.failures.append(f"{KINDS[turn % len(KINDS)]}: {exc!r}")
                        break
                    self.answered += 1
            self.reconnected += 1

    async def request(self, wire: Wire, turn: int) -> bool:
        """Send a request and check its answer; return whether the connection ends with it."""
        kind = KINDS[turn % len(KINDS)]
        async with asyncio.timeout(PATIENCE):
            if kind == "post":
                reply = await wire.gets(ask(f"POST /small/{turn}", body=b"x" * 10_000))
                assert reply.body.startswith(f"/small/{turn} 10000 ".encode()), reply
            elif kind == "large":
                reply = await wire.gets(ask("GET /large/300000"))
                assert len(reply.body) == 300_000
            else:
                reply = await wire.gets(ask(f"GET /small/{turn}"))
                assert reply.body == f"/small/{turn} 0 0".encode(), reply
        assert reply.status == 200
        return reply.closes


KINDS = ("get", "post", "get", "large")


async def served(call: Call) -> None:
    """Answer what `Load` asks for."""
    await (giver(chunked=False) if "/large/" in call.target else ok)(call)


async def reloaded(gateway: Gateway) -> None:
    """Reload, and return when all workers are new and no old one is left."""
    before = set(gateway.worker_pids())
    gateway.reload()
    await until(
        lambda: bool(after := set(gateway.worker_pids())) and not after & before, "the workers are new", 3 * PATIENCE
    )


async def reload_under_load(gateway: Gateway, times: int) -> None:
    """Reload that often while requests come; none may fail."""
    async with Service(SERVICE, served):
        async with Load(gateway.port, 24) as load:
            for _ in range(times):
                await reloaded(gateway)
                more = load.answered + 10 * load.clients
                await until(lambda: load.answered > more or bool(load.failures), "answers from the new workers")  # noqa: B023
        log.info("%d requests on %d connections, %d reloads", load.answered, load.reconnected, times)
        assert load.failures == []
        assert load.reconnected >= load.clients


@on_a_loop(within=60)
async def test_two_reloads_fail_no_request(gateway: Gateway) -> None:
    await reload_under_load(gateway, 2)


@pytest.mark.long
@on_a_loop(within=240)
async def test_ten_reloads_fail_no_request(gateway: Gateway) -> None:
    await reload_under_load(gateway, share(10))


@on_a_loop(within=60)
async def test_a_client_whose_answer_is_under_way_at_a_reload_can_send_another_request(gateway: Gateway) -> None:
    let_go = asyncio.Event()

    async def halting(call: Call) -> None:
        await call.wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
        await let_go.wait()
        await call.wire.send(b"3\r\nend\r\n0\r\n\r\n")

    async with Service(SERVICE, halting), await Wire.to(gateway.port) as wire:
        await wire.send(ask("GET /large/halting"))
        reply = await wire.head()
        assert not reply.closes
        said = len(gateway.log.read_text())
        before = set(gateway.worker_pids())
        gateway.reload()
        await until(lambda: "shutting down" in gateway.log.read_text()[said:], "the old worker stops")
        let_go.set()
        assert b"".join([piece async for piece in wire.pieces(reply)]) == b"beginend"
        # Nobody has said that the connection ends.
        reply = await wire.gets(ask("GET /large/another"))
        assert (reply.status, reply.closes) == (200, True)
        await until(lambda: not set(gateway.worker_pids()) & before, "the old worker is gone")


@on_a_loop(within=60)
async def reload_with_a_fault(gateway: Gateway) -> None:
    """Reload with a gateway.yaml that says nonsense: the gateway has to go on as it was, and take the next good one."""
    path = gateway.var / "gateway.yaml"
    good = path.read_text()
    async with Service(SERVICE, served):
        async with Load(gateway.port, 8) as load:
            path.write_text('{"version": 1, "services": {}, "routes": [{"path": "/x", "service": "nobody"}]}')
            lines = len(gateway.log.read_text())
            gateway.reload()
            await until(lambda: "nobody" in gateway.log.read_text()[lines:], "the fault is in the log")
            more = load.answered + 500
            await until(lambda: load.answered > more or bool(load.failures), "answers after the faulty reload")
            assert gateway.process
            assert gateway.process.poll() is None
            path.write_text(good)
            await reloaded(gateway)
        assert load.failures == []


def test_a_reload_with_a_fault_in_gateway_yaml_leaves_the_gateway_serving(tmp_path) -> None:
    with Gateway("fast", tmp_path / "var", CONFIG) as gateway:
        reload_with_a_fault(gateway)


# Clients that leave.


@on_a_loop(within=30)
async def test_a_client_that_leaves_takes_its_request_to_the_service_with_it(gateway: Gateway) -> None:
    reached, left = asyncio.Event(), asyncio.Event()

    async def waits(call: Call) -> None:
        if call.target != "/large/left":
            await ok(call)
            return
        reached.set()
        assert not await call.wire.some()
        left.set()

    async with Service(SERVICE, waits) as service:
        async with await Wire.to(gateway.port) as wire:
            await wire.send(ask("GET /large/left"))
            await reached.wait()
        await left.wait()
        used = service.connections
        assert is_ok(await once(gateway.port, ask("GET /large/next")))
        assert service.connections == used + 1


@on_a_loop(within=30)
async def test_a_client_that_leaves_in_the_middle_of_its_answer_ends_it(gateway: Gateway) -> None:
    broken = asyncio.Event()

    async def gives_until_stopped(call: Call) -> None:
        await call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        try:
            for piece in content(64 * MIB):
                await call.wire.send(piece)
        except ConnectionBroken:
            broken.set()
            raise

    async with Service(SERVICE, gives_until_stopped):
        async with await Wire.to(gateway.port, receive_buffer=64 * KIB) as wire:
            await wire.send(ask("GET /large/left"))
            await wire.head()
        await broken.wait()


@on_a_loop(within=30)
async def test_a_client_that_leaves_in_the_middle_of_its_upload_ends_it(gateway: Gateway) -> None:
    reached, broken = asyncio.Event(), asyncio.Event()

    async def takes(call: Call) -> None:
        reached.set()
        with pytest.raises(ConnectionBroken):
            await call.sum()
        broken.set()
        raise ConnectionBroken

    async with Service(SERVICE, takes):
        async with await Wire.to(gateway.port) as wire:
            await wire.send(ask("POST /large/left", f"Content-Length: {64 * MIB}"))
            for piece in content(2 * MIB):
                await wire.send(piece)
            await reached.wait()
        await broken.wait()


@on_a_loop(within=30)
async def test_clients_that_leave_leave_nothing_open(gateway: Gateway, worker: int) -> None:
    async def never(call: Call) -> None:
        await call.wire.some()

    async with Service(SERVICE, never) as service:
        before = sockets(worker) - len(service.open)
        for _ in range(5):
            async with contextlib.AsyncExitStack() as stack:
                for n in range(50):
                    wire = await stack.enter_async_context(await Wire.to(gateway.port))
                    await wire.send(ask(f"GET /large/{n}"))
                await until(lambda: len(service.open) == 50, "all have reached the service")
        await until(lambda: not service.open, "the service's connections are closed")
        await until(lambda: sockets(worker) <= before, "the worker's are closed")


# Clients that stall.


@pytest.mark.long
@on_a_loop(within=TAKES_WITHIN + 30)
async def test_a_client_that_takes_nothing_of_its_answer_is_let_go(gateway: Gateway, worker: int) -> None:
    async with Service(SERVICE, served) as service:
        before = sockets(worker) - len(service.open)
        async with await Wire.to(gateway.port, receive_buffer=64 * KIB) as wire:
            await wire.send(ask(f"GET /short/large/{64 * MIB}"))
            assert is_ok(await wire.head())
            await until(lambda: not service.open, "the service is let go")
            await until(lambda: sockets(worker) <= before, "the client is let go", TAKES_WITHIN + LATER)


HALF = ask("GET /small/half")[:-20]


async def nothing(wire: Wire) -> None:
    """Begin no request: who has not begun to ask is not answered."""


async def half_and_silence(wire: Wire) -> None:
    """Send half a head."""
    await wire.send(HALF)


async def half_of_the_second(wire: Wire) -> None:
    """Send half of another one's head once a request is answered."""
    assert is_ok(await wire.gets(ask("GET /small/first")))
    await wire.send(HALF)


async def half_in_the_firsts_packet(wire: Wire) -> None:
    """Send half of another one's head together with a request."""
    assert is_ok(await wire.gets(ask("GET /small/first") + HALF))


async def byte_by_byte(wire: Wire) -> None:
    """Send a head so slowly that it takes too long, though no pause does."""
    for at in range(HEAD_WITHIN):
        await wire.send(HALF[at : at + 1])
        await asyncio.sleep(0.9)


STALLS = (nothing, half_and_silence, half_of_the_second, half_in_the_firsts_packet, byte_by_byte)


@pytest.mark.long
@on_a_loop(within=HEAD_WITHIN + LATER)
async def test_a_head_that_does_not_come_is_a_408(gateway: Gateway) -> None:
    async def stalled(stall: Callable[[Wire], Any]) -> None:
        async with await Wire.to(gateway.port) as wire:
            began = time.monotonic()
            await stall(wire)
            if stall is not nothing:
                reply = await wire.reply()
                assert (reply.status, reply.closes) == (408, True), stall
            assert await wire.ends(), stall
            assert HEAD_WITHIN - 1 < time.monotonic() - began < HEAD_WITHIN + LATER, stall

    async with Service(SERVICE, ok), asyncio.TaskGroup() as all_at_once:
        for stall in STALLS:
            all_at_once.create_task(stalled(stall))


def test_the_log_of_all_this_has_no_fault_of_the_gateways_own(gateway: Gateway) -> None:
    levels = [line for line in gateway.log_lines() if line["level"] in {"ERROR", "CRITICAL"} or "exc_info" in line]
    assert levels == []
    assert not re.search("Traceback|never awaited|never retrieved", gateway.log.read_text())
