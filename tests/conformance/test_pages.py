"""A browser at real gateways gets the status and headers that a program gets."""

import re
from collections import Counter
from collections.abc import Callable

import pytest
from tests.conformance.cases import CASES
from tests.conformance.cases.case import OK, Case
from tests.conformance.client import Client, Reply
from tests.conformance.conftest import Fleet
from tests.conformance.doors import PAGE, SERVICE, Doors
from tests.conformance.gateways import DOORS, Door, Gateway
from tests.conformance.test_conformance import filled  # noqa: F401  # a fixture
from tests.conformance.upstream import Upstream
from tests.conformance.wire import Call, Service, Wire, answer, ask, on_a_loop
from tests.shares import one_in

# Of a page: what it says of its own content, of storing it, and to browsers; and what each answer has of its own.
OF_THE_PAGE = {
    "accept-ranges", "cache-control", "connection", "content-disposition", "content-encoding", "content-language",
    "content-length", "content-location", "content-range", "content-security-policy", "content-type",
    "cross-origin-opener-policy", "cross-origin-resource-policy", "date", "etag", "expires", "last-modified",
    "permissions-policy", "referrer-policy", "server", "transfer-encoding", "vary", "x-content-type-options",
    "strict-transport-security", "x-frame-options", "x-request-id", "content-digest",
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
# A page is rendered slowly, and most cases differ in what is decided before: each run has some of them.
@pytest.mark.parametrize("case", one_in(5, COMPARED), ids=lambda case: case.name)
def test_a_browser_gets_the_status_and_headers_that_a_program_gets(
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


# What differs: a cookie's expiry between two seconds, and what is left of a limit.
CHANGING = {"set-cookie": "(?<=expires=)[^;]+", "ratelimit": "(?<=;[rt]=)[0-9]+"}


def exchange(gateway: Gateway, upstream: Upstream, case: Case, sends: bytes) -> Reply:
    """Return the answer to the request."""
    upstream.begin(case.answers or [OK])
    with Client(gateway.port) as client:
        client.send(sends)
        if case.finishes:
            client.finish()
        return client.reply()


def of_the_answer(reply: Reply) -> Counter[tuple[str, str]]:
    """Return the headers that are not about the content, without what differs from one request to the next."""
    return Counter(
        (name.lower(), re.sub(CHANGING.get(name.lower(), "$^"), "", value))
        for name, value in reply.headers
        if name.lower() not in OF_THE_PAGE
    )


@pytest.mark.parametrize("kind", ["application/json", "text/csv", None])
@pytest.mark.parametrize("door", DOORS)
@on_a_loop(within=30)
async def test_head_of_a_page_has_the_headers_of_its_get(doors: Doors, door: Door, kind: str | None) -> None:
    async def says(call: Call) -> None:
        twice = ("Set-Cookie: a=1", "Set-Cookie: b=2", "Link: </1>", "Link: </2>")
        kinds = [f"Content-Type: {kind}"] if kind else []
        assert call.line.startswith("GET ")
        await call.wire.send(answer(b"" if kind is None else b'{"a":1.10}', "200 OK", *kinds, *twice))

    async with Service(SERVICE, says), await Wire.to(doors[door].port) as wire:
        heads = []
        # On one connection: a response to HEAD with content would be read as the next response.
        for method in ("HEAD", "GET", "HEAD"):
            await wire.send(ask(f"{method} /small/same", PAGE))
            reply = await wire.reply(method)
            heads.append(
                Counter(header for header in reply.headers if header[0].lower() not in {"date", "x-request-id"})
            )
        assert heads[0] == heads[1] == heads[2]
        assert [len(reply.all(name)) for name in ("Set-Cookie", "Link", "Content-Length")] == [2, 2, 1]
