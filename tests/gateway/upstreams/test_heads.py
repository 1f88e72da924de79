"""Heads that are recalled without the parser: the same outcome as with it, whatever comes after an accepted head."""

import asyncio
import socket
from random import Random
from typing import Any

import pytest
import uvloop
from tests.gateway.upstreams.origin import (
    Client,
    OpenPools,
    Origin,
    Wire,
    begin,
    body_of,
    on_a_loop,
    only,
    pools_at,
    ready,
    until,
    view,
)
from tests.shares import share

from gateway.config import Route
from gateway.policy.rejections import UpstreamError
from gateway.policy.route_policies import RoutePolicies
from gateway.upstreams.heads import ResponseHead, ResponseMemo
from gateway.upstreams.pools import Pool
from gateway.upstreams.service import ServiceConnection


def response(*lines: str, body: bytes = b"ok", status: str = "HTTP/1.1 200 OK") -> bytes:
    """Return a response."""
    return "\r\n".join([status, *lines, "", ""]).encode("latin-1") + body


ACCEPTED = response(
    "Content-Type: text/plain",
    "Content-Length: 2",
    'ETag: "abc"',
    "Date: Sat, 28 Nov 2026 10:00:00 GMT",
    "X-Request-ID: 0123456789abcdef",
    "X-Runtime: 0.012",
    "Vary: Cookie",
)


def changed(old: str, new: str, body: bytes = b"ok") -> bytes:
    """Return the accepted response with one change."""
    assert old.encode() in ACCEPTED
    return ACCEPTED[:-2].replace(old.encode(), new.encode("latin-1")) + body


RECALLED = {
    "the same": ACCEPTED,
    "another ETag": changed('"abc"', '"abd-123"'),
    "a weak ETag": changed('"abc"', 'W/"abc"'),
    "another date": changed("10:00:00", "10:00:01"),
    "an ETag without quotes": changed('"abc"', "abc"),
    "another type": changed("text/plain", "text/html; charset=utf-8"),
    "another value of an unknown header": changed("0.012", "1.5 : x"),
    "another id": changed("0123456789abcdef", "fedcba9876543210"),
    "another length": changed("Length: 2", "Length: 12", b"x" * 12),
    "no bytes": changed("Length: 2", "Length: 0", b""),
    "another body": changed("Length: 2", "Length: 2", b"no"),
    "a body that is worth a coding": changed("Length: 2", "Length: 1024", b"x" * 1024),
}
PARSED = {
    "another status": changed("200 OK", "201 Created"),
    "another version": changed("HTTP/1.1", "HTTP/1.0"),
    "another Vary": changed("Vary: Cookie", "Vary: Accept"),
    "an empty value": changed("X-Runtime: 0.012", "X-Runtime: "),
    "a space more": changed("X-Runtime: 0", "X-Runtime:  0"),
    "a space at the end": changed("0.012", "0.012 "),
    "a tab": changed("0.012", "0\t2"),
    "a byte outside of ASCII": changed("0.012", "0\xe9"),
    "a name in another case": changed("ETag", "etag"),
    "a header more": changed("Vary", "A: b\r\nVary"),
    "a header fewer": changed("Vary: Cookie\r\n", ""),
    "a coding for the length": changed("Content-Length: 2", "Transfer-Encoding: chunked"),
    "a close": changed("Vary: Cookie", "Connection: close"),
    "a folded ETag": changed('"abc"', '"a\r\n bc"'),
    "a control character": changed('"abc"', '"a\x01c"'),
    "a line feed alone": changed('"abc"', '"a"\nA: "c"'),
    "a sign before the length": changed("Length: 2", "Length: +2"),
    "a length in hexadecimal": changed("Length: 2", "Length: 0x2"),
    "an empty length": changed("Length: 2", "Length: "),
    "a large length": changed("Length: 2", "Length: 100000", b"x" * 100_000),
    "a byte too few": changed("Length: 2", "Length: 3"),
    "a byte too many": changed("Length: 2", "Length: 1"),
    "another response after it": ACCEPTED + ACCEPTED,
    "only a head": ACCEPTED[:-2],
}


def fields_of(data: bytes) -> list[tuple[bytes, bytes]]:
    head = data[: data.index(b"\r\n\r\n")].split(b"\r\n")[1:]
    return [(name, value) for name, _, value in (line.partition(b": ") for line in head)]


def memo() -> ResponseMemo:
    """Return a memo that knows the accepted head."""
    memo = ResponseMemo()
    memo.remember(ACCEPTED, ResponseHead(200, fields_of(ACCEPTED), bodiless=False))
    return memo


@pytest.mark.parametrize("data", RECALLED.values(), ids=RECALLED)
def test_a_head_is_recalled_where_only_such_values_differ(data: bytes) -> None:
    head = memo().recall(data)
    assert head is not None
    expected = dict(line.split(b": ", 1) for line in data.split(b"\r\n\r\n")[0].split(b"\r\n")[1:])
    for name, value in head.headers[:-1]:
        assert expected[name.encode()].decode() == value
    assert head.length == int(expected[b"Content-Length"])


@pytest.mark.parametrize("data", PARSED.values(), ids=PARSED)
def test_any_other_head_is_parsed(data: bytes) -> None:
    assert memo().recall(data) is None


@pytest.mark.parametrize("encoded_before", [False, True])
def test_what_a_client_gets_has_the_new_values(encoded_before: bool) -> None:
    known = memo()
    if encoded_before:
        (each,) = known.known
        each.head.block(view(varies=True))
        each.head.block(view(varies=False))
    head = known.recall(RECALLED["another ETag"])
    assert head is not None
    for varies in True, False:
        lines = head.block(view(varies=varies)).lines.split(b"\r\n")
        assert b'ETag: "abd-123"' in lines
        assert b'ETag: "abc"' not in lines
    assert b"vary: Cookie, Accept" in head.block(view(varies=True)).lines


RULES: list[dict[str, Any]] = [
    {"compress": True, "headers": {"response": {"set": {"Content-Type": "text/plain"}}}},
    {"headers": {"response": {"set": {"ETag": '"abc"', "X-Rate": "5%"}, "remove": ["Date", "content-type"]}}},
    {"headers": {"response": {"remove": ["X-Runtime", "ETag"]}}},
    {"headers": {"response": {"set": {"X-%b": "%b"}}}},
    {"cors": {"origins": "https://app.example.org", "credentials": True}},
    {"cors": {"origins": "*", "expose": ["ETag"]}, "headers": {"response": {"set": {"Date": "never"}}}},
    {"deprecated": {"since": "2026-01-01"}},
]


@pytest.mark.parametrize("varies", [True, False])
@pytest.mark.parametrize("origin", ["https://app.example.org", "https://other.example", None])
@pytest.mark.parametrize("rules", RULES, ids=[str(number) for number in range(len(RULES))])
def test_policies_change_a_recalled_head_as_one_that_is_parsed(
    rules: dict[str, Any], origin: str | None, varies: bool
) -> None:
    known, seen = memo(), view(policies_of("/x", rules), Client(origin), varies=varies)
    for data in [*RECALLED.values(), *RECALLED.values()]:
        recalled = known.recall(data)
        assert recalled is not None
        assert recalled.known or data == ACCEPTED
        parsed = ResponseHead(200, fields_of(data), bodiless=False)
        assert recalled.block(seen) == parsed.block(seen)


def policies_of(path: str, rules: dict[str, Any]) -> RoutePolicies:
    found = RoutePolicies.of(Route.model_validate({"path": path, "service": "a", "allow": "public"} | rules))
    assert found is not None
    return found


def test_routes_that_change_responses_equally_share_what_is_prepared() -> None:
    keys = [view(policies_of("/x", rules)).key for rules in RULES]
    assert keys == [view(policies_of("/y", rules)).key for rules in RULES]
    assert len({*keys, view().key, view(varies=True).key}) == len(RULES) + 2


def test_clients_that_get_different_responses_share_nothing() -> None:
    policies = policies_of("/x", {"compress": True, "cors": {"origins": ["https://a.example", "https://b.example"]}})
    clients = [
        Client(f"https://{name}.example", coding) for name in ("a", "b", "c") for coding in ("gzip", "br", "none")
    ]
    assert len({view(policies, client, varies=varies).key for client in clients for varies in (True, False)}) == 18


@on_a_loop
async def test_the_memory_of_heads_is_bounded() -> None:
    count = 100

    async def behave(wire: Wire) -> None:
        for number in range(count):
            await wire.request()
            await wire.send(response("Content-Length: 2", status=f"HTTP/1.1 200 {number}"))

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        for _ in range(count):
            got = await ready(begin(connection))
            assert await body_of(got) == b"ok"
            got.release()
        assert len(only(pools).memo.known) < 32


# Mutations after an accepted head, each as it is sent with and without policies.
CHANGING = policies_of(
    "/x",
    {
        "headers": {"response": {"set": {"X-Frame-Options": "DENY"}, "remove": ["Date", "X-Runtime"]}},
        "cors": {"origins": "https://app.example.org"},
        "compress": True,
    },
)
VIEWS = [view(policies, varies=varies) for policies in (None, CHANGING) for varies in (True, False)]


async def outcome(pool: Pool, method: str, data: bytes) -> Any:
    """Return what a connection of the pool makes of a response."""
    near, far = socket.socketpair()
    with far:
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(lambda: ServiceConnection(pool), sock=near)
        got = begin(connection, method)
        connection.data_received(data)
        if not transport.is_closing():
            connection.eof_received()
            transport.close()
        await until(lambda: connection.closed)
        try:
            await ready(got)
            body = await body_of(got)
        except UpstreamError as failed:
            return type(failed)
        assert got.head is not None
        blocks = [got.head.block(seen) for seen in VIEWS]
        return got.status, got.headers, blocks, body, connection.parser.keep_alive


def mutated(random: Random, data: bytes) -> bytes:
    """Return the data with one to three bytes or lines changed."""
    for _ in range(random.choice([1, 1, 2, 3])):
        at = random.randrange(len(data))
        match random.randrange(5):
            case 0:
                data = data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + random.choice([b"\r", b"\n", b" ", b":", b"0", b"\0", b"\r\n", b'"']) + data[at:]
            case 2:
                data = data[:at] + data[at + 1 :] or b"x"
            case 3:
                lines = data.split(b"\r\n")
                lines.insert(random.randrange(len(lines)), random.choice(lines))
                data = b"\r\n".join(lines)
            case _:
                data = data.replace(b"Length: 2", b"Length: %d" % random.choice([0, 1, 2, 3, 22, 99999, 100000]))
    return data


def compare(count: int, seed: int) -> None:
    """Compare a pool that knows heads with one that knows none."""

    async def run() -> None:
        random = Random(seed)
        knows = only(pools_at(("http://192.0.2.1",)))
        for number in range(count):
            # Accepted first, so that it is remembered.
            assert (await outcome(knows, "GET", ACCEPTED))[0] == 200
            data, method = mutated(random, ACCEPTED), random.choice(["GET", "GET", "GET", "HEAD"])
            expected = await outcome(only(pools_at(("http://192.0.2.1",))), method, data)
            assert await outcome(knows, method, data) == expected, (seed, number, method, data)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_a_mutated_response_after_an_accepted_one_is_what_it_is_on_its_own() -> None:
    compare(300, 1)


@pytest.mark.long
def test_many_mutated_responses_after_accepted_ones_are_what_they_are_on_their_own() -> None:
    compare(share(100_000), Random().randrange(2**32))
