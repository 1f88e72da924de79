"""Where a response of a service ends, which responses are malformed, and what of its headers is forwarded."""

import asyncio
import socket
from typing import Any

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.gateway.upstreams.origin import (
    OpenPools,
    Origin,
    Wire,
    begin,
    body_of,
    on_a_loop,
    only,
    pools_at,
    ready,
    responding,
    until,
    view,
)

from gateway.policy.rejections import UpstreamError, UpstreamProtocolError
from gateway.upstreams import HeaderBlock, ServiceResponse
from gateway.upstreams.heads import ResponseHead
from gateway.upstreams.responses import WHOLE
from gateway.upstreams.service import ServiceConnection

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LARGE = WHOLE + 1

# Method, what the service response_bytes, whether it closes then; status, body, and whether the connection is kept.
RESPONSES: dict[str, tuple[str, bytes, bool, int, bytes, bool]] = {
    "a length": ("GET", OK, False, 200, b"ok", True),
    "no bytes": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False, 200, b"", True),
    "chunks": (
        "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1;x=y\r\n!\r\n0\r\n\r\n",
        False, 200, b"ok!", True,
    ),
    "chunks and a trailer": (
        "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n",
        False, 200, b"ok", True,
    ),
    "until it closes": ("GET", b"HTTP/1.1 200 OK\r\n\r\nok", True, 200, b"ok", False),
    "no content": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", False, 204, b"", True),
    "not modified": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", False, 304, b"", True),
    "HEAD": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", False, 200, b"", True),
    "HEAD and a large length": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", False, 200, b"", True),
    "HEAD and chunks": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", False, 200, b"", True),
    "interim responses": (
        "GET", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK,
        False, 200, b"ok", True,
    ),
    "HTTP/1.0": ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False, 200, b"ok", False),
    "HTTP/1.0 that stays": (
        "GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", False, 200, b"ok", True,
    ),
    "a close": (
        "GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", True, 200, b"ok", False,
    ),
    "a large body": (
        "GET", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE + b"x" * LARGE, False, 200, b"x" * LARGE, True,
    ),
    "something after the response": ("GET", OK + b"X", False, 200, b"ok", False),
    "another response after it": ("GET", OK + OK, False, 200, b"ok", False),
    "a body after the response to HEAD": ("HEAD", OK, False, 200, b"", False),
    "a body after no content": ("GET", b"HTTP/1.1 204 No Content\r\n\r\nok", False, 204, b"", False),
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "response_bytes", "closes", "status", "body", "kept"), RESPONSES.values(), ids=RESPONSES
)
@on_a_loop
async def test_a_response_ends_where_its_framing_says(
    method: str, response_bytes: bytes, closes: bool, status: int, body: bytes, kept: bool
) -> None:
    async def behave(wire: Wire) -> None:
        assert (await wire.request()).method == method
        await wire.send(response_bytes)
        if not closes:
            await wire.ended()

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection, method)
        await ready(response)
        assert (response.status, await body_of(response)) == (status, body)
        assert "transfer-encoding" not in {name.lower() for name, _ in response.headers}
        assert "x-late" not in {name.lower() for name, _ in response.headers}
        assert "link" not in {name.lower() for name, _ in response.headers}
        assert response.release() is kept


async def whole_body(response: ServiceResponse) -> bytes:
    """Return the response's body: what is wrong with a chunk is known after the head."""
    await ready(response)
    return await body_of(response)


MALFORMED = {
    "nothing like HTTP": b"hello\r\n\r\n",
    "an older version": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a newer version": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a status below 100": b"HTTP/1.1 099 What\r\nContent-Length: 2\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "a length that is not a number": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is not a number": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a switch without a request for it": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    "a WebSocket without a request for it": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    ),
    "a name with a space": b"HTTP/1.1 200 OK\r\nA b: 1\r\nContent-Length: 2\r\n\r\nok",
    "a control character": b"HTTP/1.1 200 OK\r\nA: \x01\r\nContent-Length: 2\r\n\r\nok",
    "a folded line": b"HTTP/1.1 200 OK\r\nA: 1\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "very many headers": b"HTTP/1.1 200 OK\r\n" + b"A: 1\r\n" * 257 + b"Content-Length: 2\r\n\r\nok",
    "a very large header": b"HTTP/1.1 200 OK\r\nA: " + b"x" * WHOLE + b"\r\nContent-Length: 2\r\n\r\nok",
    "a head without an end": b"HTTP/1.1 200 OK\r\nA: " + b"x" * (WHOLE + 100),
}


@pytest.mark.parametrize("response_bytes", MALFORMED.values(), ids=MALFORMED)
@on_a_loop
async def test_a_malformed_response_is_an_error_and_ends_the_connection(response_bytes: bytes) -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.send(response_bytes)
        await wire.ended()

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection)
        with pytest.raises(UpstreamProtocolError):
            await whole_body(response)
        assert not response.release()
        await until(lambda: connection.closed)


@on_a_loop
async def test_unrequested_bytes_close_an_idle_connection() -> None:
    async with Origin(responding(OK)) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        response = begin(connection)
        await ready(response)
        assert response.release()
        await origin.wires[0].send(OK)
        await until(lambda: connection.closed)
        assert not connection.is_usable(repeatable=True)


@on_a_loop
async def test_a_response_before_the_request_is_not_used_for_it() -> None:
    async def behave(wire: Wire) -> None:
        await wire.send(OK)
        await wire.ended()

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        await until(lambda: connection.closed)


# However it is cut.

texts = st.binary(max_size=40)
whole = st.one_of(
    st.sampled_from([case[1] for case in RESPONSES.values() if len(case[1]) < 1000]),
    st.sampled_from([case for case in MALFORMED.values() if len(case) < 1000]),
    texts.map(lambda body: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-A: b\r\n\r\n%b" % (len(body), body)),
    st.lists(texts.filter(len), max_size=4).map(
        lambda pieces: (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            + b"0\r\n\r\n"
        )
    ),
)


@st.composite
def damaged(draw: Any) -> bytes:
    """A response with a byte changed, added or missing, or cut short."""
    said = draw(whole)
    at = draw(st.integers(0, len(said) - 1))
    kind = draw(st.sampled_from(["as it is", "as it is", "change", "add", "drop", "cut"]))
    byte = draw(st.sampled_from([b"\r", b"\n", b"\0", b":", b" ", b"0", b"x", b"\xff"]))
    if kind == "change":
        return said[:at] + byte + said[at + 1 :]
    if kind == "add":
        return said[:at] + byte + said[at:]
    if kind == "drop":
        return said[:at] + said[at + 1 :]
    return said[:at] if kind == "cut" else said


def outcome(method: str, pieces: list[bytes]) -> Any:
    """Return what a connection makes of a response that comes in these pieces and then ends."""

    async def feed() -> Any:
        loop = asyncio.get_running_loop()
        pool = only(pools_at(("http://192.0.2.1",)))
        near, far = socket.socketpair()
        with far:
            transport, connection = await loop.create_connection(lambda: ServiceConnection(pool), sock=near)
            response = begin(connection, method)
            for piece in pieces:
                # A closed transport has nothing more to say.
                if not transport.is_closing():
                    connection.data_received(piece)
            if not transport.is_closing():
                connection.eof_received()
                transport.close()
            await until(lambda: connection.closed)
            try:
                await ready(response)
                body = b""
                while piece := await response.piece():
                    body += piece
            except UpstreamError as failed:
                return type(failed), response.release()
            return response.status, response.headers, body, response.release()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(feed())


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["GET", "HEAD"]), damaged(), st.data())
def test_a_response_is_the_same_however_its_bytes_are_split(method: str, said: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(said) - 1)), max_size=6)))
    pieces = [said[start:end] for start, end in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    assert outcome(method, pieces) == outcome(method, [said])


@pytest.mark.parametrize("name", [name for name, case in RESPONSES.items() if len(case[1]) < 1000])
def test_a_response_is_the_same_byte_by_byte(name: str) -> None:
    method, said, *_ = RESPONSES[name]
    assert outcome(method, [bytes([byte]) for byte in said]) == outcome(method, [said])


@on_a_loop
async def test_equal_response_headers_give_equal_responses_and_others_do_not() -> None:
    def said(fields: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\n%b\r\n\r\nok" % fields

    answers = [
        said(b"Content-Length: 2\r\nX-A: 1"),
        said(b"Content-Length: 2\r\nX-A: 1"),
        said(b"Content-Length: 2\r\nX-A: 2"),
        b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX-A: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\nX-A: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 2\r\n\r\n",
        said(b"Content-Length: 2\r\nX-A: 2"),
        said(b"X-A: 2"),
    ]
    got = []

    async def behave(wire: Wire) -> None:
        for answer in answers:
            await wire.request()
            await wire.send(answer)

    async with Origin(behave) as origin, OpenPools((origin.url,)) as pools:
        connection = await only(pools).connect(1)
        for number, method in enumerate(["GET", "GET", "GET", "GET", "GET", "HEAD", "GET", "GET"], 1):
            response = begin(connection, method)
            await ready(response)
            got.append((response.status, dict(response.headers)["X-A"], await body_of(response)))
            assert response.release() is (number < len(answers))
    assert got == [
        (200, "1", b"ok"),
        (200, "1", b"ok"),
        (200, "2", b"ok"),
        (201, "2", b"ok"),
        (204, "2", b""),
        (200, "2", b""),
        (200, "2", b"ok"),
        (200, "2", b"ok"),
    ]


def fields_of(block: HeaderBlock) -> list[tuple[bytes, bytes]]:
    """Return the headers of a block."""
    return [(name, value) for name, _, value in (line.partition(b": ") for line in block.lines.split(b"\r\n")[1:])]


@example([(b"A", b"1")])
@given(st.lists(st.tuples(st.sampled_from([b"A", b"Vary", b"vary", b"Set-Cookie"]), texts), max_size=5))
def test_a_response_s_headers_are_forwarded_unchanged_except_vary(said: list[tuple[bytes, bytes]]) -> None:
    said = [(name, bytes(byte for byte in value if 0x20 < byte < 0x7F)) for name, value in said]
    head = ResponseHead(200, said, bodiless=False)
    said = [*said, (b"via", b"1.1 gatehouse")]
    assert fields_of(head.block(view(varies=False))) == said
    varied = fields_of(head.block(view(varies=True)))
    assert [pair for pair in varied if pair[0].lower() != b"vary"] == [
        pair for pair in said if pair[0].lower() != b"vary"
    ]
    fields = {field.strip().lower() for name, value in varied if name.lower() == b"vary" for field in value.split(b",")}
    assert fields & {b"accept", b"*"}
