"""Django's side of the ASGI server: WSGI as PEP 3333 has it, whatever the client does."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.gateway.proxy.asgi import DISCONNECT, Server, ask, scope_of
from tests.gateway.upstreams.origin import on_a_loop, until

from gateway.policy.rejections import RequestTimeout
from gateway.proxy.environ import environ
from gateway.proxy.wsgi import PIECE, THREADS, ThreadedWSGI, WSGIApplication

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


@asynccontextmanager
async def threaded(application: WSGIApplication) -> Any:
    """The application in its threads, which end with the test."""
    server = ThreadedWSGI(application, THREADS)
    try:
        yield server
    finally:
        server.close()
        await asyncio.to_thread(server.threads.shutdown)


def responding(
    *pieces: bytes, status: str = "200 OK", headers: Iterable[tuple[str, str]] = ()
) -> Callable[[Environ, StartResponse], Iterable[bytes]]:
    """Return an application that answers in these pieces."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, list(headers))
        return iter(pieces)

    return application


# What the application gets.


@pytest.mark.parametrize(
    ("target", "path", "query", "raw", "host"),
    [
        ("/a", "/a", "", "/a", "testserver"),
        ("/a?b=%20c&d", "/a", "b=%20c&d", "/a?b=%20c&d", "testserver"),
        ("/%C3%A9%2F%00", "/\xc3\xa9/\x00", "", "/%C3%A9%2F%00", "testserver"),
        # As gunicorn's own WSGI workers have it.
        ("/\xe9", "/\xc3\xa9", "", "/\xe9", "testserver"),
        ("*", "*", "", "*", "testserver"),
        ("http://other:81/a%20b?c", "/a b", "c", "http://other:81/a%20b?c", "other:81"),
        ("https://other", "/", "", "https://other", "other"),
        ("http:///a", "/a", "", "http:///a", ""),
        ("//other/a", "//other/a", "", "//other/a", "testserver"),
    ],
)
def test_a_target_is_taken_apart(target: str, path: str, query: str, raw: str, host: str) -> None:
    made = environ(scope_of("GET", target), None)
    assert (made["PATH_INFO"], made["QUERY_STRING"], made["RAW_URI"]) == (path, query, raw)
    assert (made["HTTP_HOST"], made["SCRIPT_NAME"]) == (host, "")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("x-a", "1")], {"HTTP_X_A": "1"}),
        ([("x-a", "1"), ("x-b", "2"), ("x-a", "3")], {"HTTP_X_A": "1,3", "HTTP_X_B": "2"}),
        ([("X-A", "1"), ("x-a", "")], {"HTTP_X_A": "1,"}),
        ([("cookie", "a=1"), ("cookie", "b=2")], {"HTTP_COOKIE": "a=1; b=2"}),
        ([("content-type", "text/plain")], {"CONTENT_TYPE": "text/plain"}),
        ([("content-length", "3")], {"CONTENT_LENGTH": "3"}),
        ([("content-length", "3"), ("content-length", "4")], {"CONTENT_LENGTH": "3,4"}),
        ([("transfer-encoding", "chunked")], {"HTTP_TRANSFER_ENCODING": "chunked"}),
        ([("x-a", "\xe9")], {"HTTP_X_A": "\xe9"}),
        ([("authorization", "a"), ("authorization", "b")], {"HTTP_AUTHORIZATION": "a,b"}),
    ],
)
def test_headers_are_named_as_wsgi_has_it_and_repeated_ones_joined(
    headers: list[tuple[str, str]], expected: dict[str, str]
) -> None:
    made = environ(scope_of("GET", "/", headers), None)
    named = {name for name in made if name.startswith(("HTTP_", "CONTENT_"))} - {"HTTP_HOST"}
    assert {name: made[name] for name in named} == expected


def test_the_connection_s_ends_are_named_where_they_are_known() -> None:
    made = environ(scope_of("POST", "/", scheme="https", http_version="1.0"), None)
    assert (made["REMOTE_ADDR"], made["SERVER_NAME"], made["SERVER_PORT"]) == ("127.0.0.1", "127.0.0.1", "8001")
    assert (made["REQUEST_METHOD"], made["SERVER_PROTOCOL"], made["wsgi.url_scheme"]) == ("POST", "HTTP/1.0", "https")
    assert made["wsgi.input_terminated"] is True
    made = environ(scope_of("GET", "/", client=None, server=None), None)
    assert (made["REMOTE_ADDR"], made["SERVER_NAME"], made["SERVER_PORT"]) == ("", "localhost", "0")


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ([b""], b""),
        ([b"abc"], b"abc"),
        ([b"a", b"", b"bc"], b"abc"),
        ([b"a", b"b", b""], b"ab"),
        ([b"x" * 100_000, b"y" * 100_000], b"x" * 100_000 + b"y" * 100_000),
    ],
)
@pytest.mark.parametrize("size", [-1, 3, 70_000, None])
@on_a_loop
async def test_a_body_is_read_as_it_comes(pieces: list[bytes], body: bytes, size: int | None) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        read = []
        stream = environ["wsgi.input"]
        while piece := stream.readline() if size is None else stream.read(size):
            read.append(piece)
        assert stream.read() == b""
        start_response("200 OK", [])
        return [str(len(b"".join(read)) if b"".join(read) == body else "another").encode()]

    async with threaded(application) as server:
        got = await ask(server, "POST", "/", [], *pieces)
    assert got.body == b"%d" % len(body)


@on_a_loop
async def test_a_body_that_stops_coming_is_late() -> None:
    late: list[bool] = []

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        assert environ["wsgi.input"].read(2) == b"ab"
        try:
            environ["wsgi.input"].read()
        except RequestTimeout:
            late.append(True)
        start_response("408 Request Timeout", [])
        return [b"late"]

    async with threaded(application) as server:
        got = await ask(server, "POST", "/", [], b"ab", then=DISCONNECT)
    assert (got.status, got.body, late) == (408, b"late", [True])


# What it answers.


@pytest.mark.parametrize(
    ("pieces", "sent"),
    [
        ([], [(b"", False)]),
        ([b"a"], [(b"a", False)]),
        ([b"a", b"", b"bc"], [(b"abc", False)]),
        ([b"x" * PIECE], [(b"x" * PIECE, False)]),
        ([b"x" * PIECE, b"y" * PIECE, b"z"], [(b"x" * PIECE, True), (b"y" * PIECE, True), (b"z", False)]),
    ],
)
@on_a_loop
async def test_a_response_leaves_its_thread_whole_and_is_sent_in_pieces(
    pieces: list[bytes], sent: list[tuple[bytes, bool]]
) -> None:
    async with threaded(responding(*pieces, status="201 Created")) as server:
        got = await ask(server, "GET", "/")
    assert got.status == 201
    assert [(message["body"], message["more_body"]) for message in got.sent[1:]] == sent


@on_a_loop
async def test_a_response_s_headers_are_forwarded_unchanged() -> None:
    headers = [("X-A", "\xe9"), ("Set-Cookie", "a"), ("Set-Cookie", "b")]
    async with threaded(responding(b"a", headers=headers)) as server:
        got = await ask(server, "GET", "/")
    assert got.sent[0]["headers"] == [(b"x-a", b"\xe9"), (b"set-cookie", b"a"), (b"set-cookie", b"b")]


class Pieces:
    """A response made piece by piece that notes whether it has been closed, and what has been taken of it."""

    streaming = True

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces
        self.taken = 0
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.taken += 1
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def close(self) -> None:
        """Note it."""
        assert not self.closed.is_set()
        self.closed.set()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return self


@on_a_loop
async def test_a_response_is_closed_when_it_has_been_sent() -> None:
    pieces = Pieces(b"a", b"b")
    async with threaded(pieces) as server:
        assert (await ask(server, "GET", "/")).body == b"ab"
    assert pieces.closed.is_set()


@on_a_loop
async def test_a_response_that_fails_is_closed_and_gets_no_end() -> None:
    pieces = Pieces(b"a", ValueError("a fault"))
    server = Server()
    async with threaded(pieces) as application:
        with pytest.raises(ValueError, match="a fault"):
            await application(scope_of("GET", "/"), server.receive, server.send)
    assert pieces.closed.is_set()
    assert (server.body, server.is_whole) == (b"a", False)


@on_a_loop
async def test_the_server_responds_for_an_application_that_fails() -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise ValueError("a fault")

    server = Server()
    async with threaded(application) as threads:
        with pytest.raises(ValueError, match="a fault"):
            await threads(scope_of("GET", "/"), server.receive, server.send)
    assert server.sent == []


@on_a_loop
async def test_a_client_that_leaves_ends_the_response_which_is_closed() -> None:
    first, go_on = threading.Event(), threading.Event()

    class Waiting(Pieces):
        def __iter__(self) -> Iterator[bytes]:
            self.taken += 1
            yield b"a"
            first.set()
            assert go_on.wait(5)
            while True:
                self.taken += 1
                yield b"b"

    pieces = Waiting()
    server = Server()
    async with threaded(pieces) as application:
        going = asyncio.create_task(application(scope_of("GET", "/"), server.receive, server.send))
        await asyncio.to_thread(first.wait, 5)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        go_on.set()
        await until(pieces.closed.is_set)
    assert pieces.taken == 2
    assert server.body == b"a"


class Untaken(Server):
    """A client that reads none of its response until `takes` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.takes = asyncio.Event()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "http.response.body":
            await self.takes.wait()


@on_a_loop
async def test_a_response_is_produced_no_faster_than_the_client_reads() -> None:
    pieces = Pieces(*[b"x"] * 10)
    server = Untaken()
    async with threaded(pieces) as application:
        going = asyncio.create_task(application(scope_of("GET", "/"), server.receive, server.send))
        await until(lambda: server.body)
        assert pieces.taken == 1
        server.takes.set()
        await going
    assert (server.body, server.is_whole) == (b"x" * 10, True)


class InMemory:
    """A stream that comes over the event loop."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.is_closed = False

    async def pieces_on_loop(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


KINDS: dict[str, Callable[[Environ], Any]] = {
    "whole": lambda environ: [b"x" * PIECE, b"y" * PIECE],
    "a file": lambda environ: environ["wsgi.file_wrapper"](io.BytesIO(b"x" * PIECE + b"y" * PIECE), 8192),
    "a stream": lambda environ: InMemory(b"x" * PIECE, b"y" * PIECE),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@on_a_loop
async def test_a_client_that_takes_nothing_of_its_response_holds_no_thread(kind: Callable[[Environ], Any]) -> None:
    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        response: Iterable[bytes] = kind(environ)
        return response

    servers = [Untaken() for _ in range(THREADS + 1)]
    async with threaded(application) as threads, asyncio.TaskGroup() as tasks:
        for server in servers:
            tasks.create_task(threads(scope_of("GET", "/"), server.receive, server.send))
        # Each of them has a beginning of its response, though there is a thread less.
        await until(lambda: all(server.sent for server in servers))
        for server in servers:
            server.takes.set()
    assert {(server.body, server.is_whole) for server in servers} == {(b"x" * PIECE + b"y" * PIECE, True)}


@pytest.mark.parametrize("takes", [True, False])
@on_a_loop
async def test_a_file_and_a_stream_are_closed_whether_or_not_the_client_takes_them(takes: bool) -> None:
    file, stream = io.BytesIO(b"file"), InMemory(b"stream")

    def application(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file) if environ["PATH_INFO"] == "/file" else stream

    async with threaded(application) as threads:
        for path in "/file", "/stream":
            server = Untaken()
            going = asyncio.create_task(threads(scope_of("GET", path), server.receive, server.send))
            await until(lambda: server.sent)  # noqa: B023
            server.takes.set() if takes else going.cancel()
            await asyncio.wait([going])
    assert (file.closed, stream.is_closed) == (True, True)


@on_a_loop
async def test_a_view_learns_that_its_client_has_left() -> None:
    learned, late = threading.Event(), threading.Event()
    asked = threading.Event()
    file = io.BytesIO(b"unread")

    def application(environ: Environ, start_response: StartResponse) -> Any:
        client = environ["gatehouse.client"]
        assert not client.is_disconnected
        client.on_disconnect(learned.set)
        asked.set()
        assert learned.wait(5)
        assert client.is_disconnected
        client.on_disconnect(late.set)
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file)

    server = Server()
    async with threaded(application) as threads:
        going = asyncio.create_task(threads(scope_of("GET", "/"), server.receive, server.send))
        await asyncio.to_thread(asked.wait, 5)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        await until(late.is_set)
        await until(lambda: file.closed)
    assert server.sent == []


@on_a_loop
async def test_a_request_whose_client_left_while_it_waited_for_a_thread_is_not_run() -> None:
    ran: list[str] = []
    go_on = threading.Event()

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        ran.append(environ["PATH_INFO"])
        assert go_on.wait(5)
        start_response("200 OK", [])
        return [b"ok"]

    async with threaded(application) as threads:
        going = [
            asyncio.create_task(threads(scope_of("GET", f"/{n}"), (server := Server()).receive, server.send))
            for n in range(THREADS + 1)
        ]
        await until(lambda: len(ran) == THREADS)
        going[-1].cancel()
        await asyncio.wait(going[-1:])
        go_on.set()
        await asyncio.wait(going)
    assert len(ran) == THREADS


@on_a_loop
async def test_requests_are_served_side_by_side() -> None:
    together = threading.Barrier(8, timeout=5)

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        together.wait()
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    async with threaded(application) as server:
        got = await asyncio.gather(*(ask(server, "GET", f"/{number}") for number in range(8)))
    assert [each.body for each in got] == [b"/%d" % number for number in range(8)]
