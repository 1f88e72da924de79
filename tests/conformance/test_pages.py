"""A browser at real gateways: its answers are the service's, whatever their size, and as a program gets them."""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.conformance.cases import CASES
from tests.conformance.cases.case import OK, Case
from tests.conformance.client import Client, ConnectionBroken, Reply
from tests.conformance.conftest import Fleet
from tests.conformance.gateways import DOORS, Door, Gateway, free_port
from tests.conformance.test_conformance import filled  # noqa: F401  # a fixture
from tests.conformance.upstream import Upstream
from tests.conformance.wire import (
    MIB,
    PATIENCE,
    Call,
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
)

# Figures: `--log-cli-level=INFO` shows them.
log = logging.getLogger(__name__)

PAGE = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
# Of a page: what it says of its own content, of storing it, and to browsers; and what each answer has of its own.
OF_THE_PAGE = {
    "accept-ranges", "cache-control", "connection", "content-disposition", "content-encoding", "content-language",
    "content-length", "content-location", "content-range", "content-security-policy", "content-type",
    "cross-origin-opener-policy", "cross-origin-resource-policy", "date", "etag", "expires", "last-modified",
    "permissions-policy", "referrer-policy", "server", "transfer-encoding", "vary", "x-content-type-options",
    "strict-transport-security", "x-frame-options", "x-request-id",
}  # fmt: skip
# One request and its answer, which come to the same however often they are sent. A HEAD is the next test's.
COMPARED = [
    case
    for case in CASES
    if not isinstance(case.gets, list | tuple)
    and not (case.before or case.body or case.gets.server)
    and not (b"\r\naccept:" in case.sends.lower() or case.sends.startswith(b"HEAD "))
]
REQUEST_LINE = re.compile(rb"(\s*[^\r\n]+\r\n)")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", COMPARED, ids=lambda case: case.name)
def test_a_browser_gets_the_status_and_the_headers_that_a_program_gets(
    case: Case,
    door: Door,
    fleet: Fleet,
    upstream: Upstream,
    filled: Callable[[Gateway, bytes], bytes],  # noqa: F811
) -> None:
    gateway = fleet[door, case.trusted]
    program, browser = (
        exchange(gateway, upstream, case, filled(gateway, REQUEST_LINE.sub(rb"\1" + accept, case.sends, count=1)))
        for accept in (b"", f"{PAGE}\r\n".encode())
    )
    assert browser.status == program.status
    assert of_the_answer(browser) == of_the_answer(program)


def exchange(gateway: Gateway, upstream: Upstream, case: Case, sends: bytes) -> Reply:
    """Return the answer to the request."""
    upstream.begin(case.answers or [OK])
    with Client(gateway.port) as client:
        client.send(sends)
        if case.finishes:
            client.finish()
        return client.reply()


def of_the_answer(reply: Reply) -> Counter[tuple[str, str]]:
    """Return the headers that are not about the content."""
    return Counter((name.lower(), value) for name, value in reply.headers if name.lower() not in OF_THE_PAGE)


SERVICE = free_port()
CONFIG: dict[str, Any] = {
    "services": {"one": {"url": f"http://127.0.0.1:{SERVICE}"}},
    "routes": [
        {"path": "/http/{path...}", "service": "one", "allow": "public", "max_body": "256MiB",
         "timeouts": {"total": "2m"}},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Door, Gateway]]:
    """Both doors, one worker each."""
    with ExitStack() as running:
        yield {
            door: running.enter_context(
                Gateway(door, tmp_path_factory.mktemp(door) / "var", CONFIG, measured=False)
            )
            for door in DOORS
        }  # fmt: skip


@pytest.mark.parametrize("kind", ["application/json", "text/csv", None])
@pytest.mark.parametrize("door", DOORS)
@on_a_loop(within=30)
async def test_the_head_of_a_page_is_that_of_its_get(
    gateways: dict[Door, Gateway], door: Door, kind: str | None
) -> None:
    async def says(call: Call) -> None:
        twice = ("Set-Cookie: a=1", "Set-Cookie: b=2", "Link: </1>", "Link: </2>")
        kinds = [f"Content-Type: {kind}"] if kind else []
        assert call.line.startswith("GET ")
        await call.wire.send(answer(b"" if kind is None else b'{"a":1.10}', "200 OK", *kinds, *twice))

    async with Service(SERVICE, says), await Wire.to(gateways[door].port) as wire:
        heads = []
        # On one connection: an answer to HEAD with content would be taken for the next one.
        for method in ("HEAD", "GET", "HEAD"):
            await wire.send(ask(f"{method} /http/same", PAGE))
            reply = await wire.reply(method)
            heads.append(
                Counter(header for header in reply.headers if header[0].lower() not in {"date", "x-request-id"})
            )
        assert heads[0] == heads[1] == heads[2]
        assert [len(reply.all(name)) for name in ("Set-Cookie", "Link", "Content-Length")] == [2, 2, 1]


LARGE = 150 * MIB
# Bytes by which a worker may grow: what is held of one body, and of what is on its way.
HELD = 16 * MIB


async def give(call: Call) -> None:
    """Answer with CSV, or with JSON, of as many bytes as the path's last segment says."""
    size = int(call.target.rpartition("/")[2])
    kind = b"text/csv" if "csv" in call.target else b"application/json"
    await call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (kind, size))
    for piece in content(size):
        await call.wire.send(piece)


async def take(call: Call) -> None:
    """Answer with what came."""
    got = await call.sum()
    await call.wire.send(answer(b'"%d %d"' % (got.size, got.crc), "200 OK", "Content-Type: application/json"))


async def download(gateway: Gateway, kind: str, size: int) -> None:
    async with await Wire.to(gateway.port) as wire:
        await wire.send(ask(f"GET /http/{kind}/{size}", PAGE))
        got = Sum()
        async for piece in wire.pieces(await wire.head()):
            got.add(piece)
        assert got == sum_of(size)


async def upload(gateway: Gateway, framing: str, size: int) -> None:
    async with await Wire.to(gateway.port) as wire:
        if framing == "chunked":
            await wire.send(ask("POST /http/up", PAGE, "Transfer-Encoding: chunked"))
            await wire.send_chunks(content(size))
        else:
            await wire.send(ask("POST /http/up", PAGE, f"Content-Length: {size}"))
            for piece in content(size):
                await wire.send(piece)
        reply = await wire.reply()
        assert reply.status == 200
        assert f"{size} {sum_of(size).crc}".encode() in reply.body


@pytest.mark.parametrize(
    ("transfer", "how"), [(download, "csv"), (download, "json"), (upload, "length"), (upload, "chunked")]
)
@pytest.mark.parametrize("door", DOORS)
@on_a_loop(within=120)
async def test_a_large_body_goes_through_in_bounded_memory(
    gateways: dict[Door, Gateway], door: Door, transfer: Callable[[Gateway, str, int], Any], how: str
) -> None:
    gateway = gateways[door]
    (worker,) = gateway.worker_pids()
    async with Service(SERVICE, give if transfer is download else take):
        await transfer(gateway, how, 4 * MIB)
        before = forget_peak(worker)
        await transfer(gateway, how, LARGE)
    grown = memory(worker, "VmHWM") - before
    log.info("%s, %s of %s: memory +%.1f MiB", door, transfer.__name__, how, grown / MIB)
    assert grown < HELD


@pytest.mark.parametrize("door", DOORS)
@on_a_loop(within=30)
async def test_an_event_reaches_a_browser_before_the_next_is_sent(gateways: dict[Door, Gateway], door: Door) -> None:
    arrived = asyncio.Semaphore(0)

    async def events(call: Call) -> None:
        await call.wire.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for n in range(20):
            event = b"data: %d\n\n" % n
            await call.wire.send(b"%x\r\n%b\r\n" % (len(event), event))
            await arrived.acquire()
        await call.wire.send(b"0\r\n\r\n")

    async with Service(SERVICE, events), await Wire.to(gateways[door].port) as wire:
        await wire.send(ask("GET /http/events", PAGE))
        got = b""
        async for piece in wire.pieces(await wire.head()):
            got += piece
            if got.endswith(b"\n\n"):
                arrived.release()
        assert got == b"".join(b"data: %d\n\n" % n for n in range(20))


@pytest.mark.parametrize("door", DOORS)
@on_a_loop(within=30)
async def test_a_service_may_answer_while_it_still_reads(gateways: dict[Door, Gateway], door: Door) -> None:
    async def echo(call: Call) -> None:
        await call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
        async for piece in call.pieces():
            await call.wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await call.wire.send(b"0\r\n\r\n")

    size = 8 * MIB
    async with Service(SERVICE, echo), await Wire.to(gateways[door].port) as wire, asyncio.TaskGroup() as tasks:

        async def send() -> None:
            await wire.send(ask("POST /http/echo", PAGE, f"Content-Length: {size}"))
            for piece in content(size):
                await wire.send(piece)

        tasks.create_task(send())
        got = Sum()
        async for piece in wire.pieces(await wire.head()):
            got.add(piece)
        assert got == sum_of(size)


@pytest.mark.parametrize("after", ["nothing", "events", "JSON"])
@on_a_loop(within=30)
async def test_a_browser_that_leaves_ends_its_request_to_the_service(gateways: dict[Door, Gateway], after: str) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def never_ends(call: Call) -> None:
        if after != "nothing":
            kind = b"text/event-stream" if after == "events" else b"application/json"
            await call.wire.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[\n\r\n" % kind
            )
        asked.set()
        assert await call.wire.ends()
        left.set()
        raise ConnectionBroken

    async with Service(SERVICE, never_ends):
        async with await Wire.to(gateways["fast"].port) as wire:
            await wire.send(ask("GET /http/endless", PAGE))
            await asked.wait()
            if after == "events":
                assert (await wire.head()).status == 200
        await asyncio.wait_for(left.wait(), PATIENCE)
    if after != "events":
        # Nothing was answered, and the log has nginx's number for that.
        log_of = gateways["fast"].log_lines
        await until(lambda: any(line.get("status") == 499 for line in log_of()), "the log says so")


@on_a_loop(within=30)
async def test_an_answer_that_breaks_off_ends_the_browser_s_connection_and_is_one_warning(
    gateways: dict[Door, Gateway],
) -> None:
    gateway = gateways["fast"]

    async def breaks_off(call: Call) -> None:
        await call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 900000\r\n\r\na,b")
        raise ConnectionBroken

    seen = len(gateway.log_lines())
    async with Service(SERVICE, breaks_off), await Wire.to(gateway.port) as wire:
        await wire.send(ask("GET /http/broken", PAGE))
        assert (await wire.head()).status == 200
        with pytest.raises(ConnectionBroken):
            await wire.exactly(900_000)

    def loud() -> list[str]:
        return [line["message"] for line in gateway.log_lines()[seen:] if line["level"] not in {"INFO", "DEBUG"}]

    await until(lambda: any("broken off" in message for message in loud()), "the log says so")
    assert not [message for message in loud() if "failed" in message]


@on_a_loop(within=60)
async def test_browsers_that_read_for_long_keep_nobody_from_a_page(gateways: dict[Door, Gateway]) -> None:
    """More of them than there are threads, each with a stream that does not end."""
    gateway = gateways["fast"]

    async def stream(call: Call) -> None:
        if call.target == "/http/other":
            await call.wire.send(answer(b"[]", "200 OK", "Content-Type: application/json"))
            return
        await call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        assert await call.wire.ends()
        raise ConnectionBroken

    (worker,) = gateway.worker_pids()
    before = sockets(worker)
    async with Service(SERVICE, stream):
        wires = [await Wire.to(gateway.port) for _ in range(64)]
        try:
            for wire in wires:
                await wire.send(ask("GET /http/stream", PAGE))
                assert (await wire.head()).status == 200
            page = await once(gateway.port, ask("GET /http/other", PAGE, "Connection: close"))
            assert re.search(rb"HTTP 200 ", page.body)
        finally:
            for wire in wires:
                wire.close()
        await until(lambda: sockets(worker) <= before + 2, "the connections to the service are closed")
