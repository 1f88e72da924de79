"""Requests to services from threads, over an event loop's connections."""

import asyncio
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from tests.gateway.runtimes import runtime
from tests.gateway.service import Reply, Seen, Service
from tests.gateway.upstreams.origin import Origin, Wire, on_a_loop, responding, until

from gateway.config import Timeouts
from gateway.policy.rejections import (
    BadRequest,
    ContentTooLarge,
    UpstreamConnectError,
    UpstreamOverloaded,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from gateway.upstreams import ClientLeft, Upload, pools

Configure = Callable[..., None]
Serve = Callable[..., Service]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PATIENCE = 60


@pytest.fixture
def service(serve: Serve, configure: Configure) -> Service:
    """A service that the gateway knows."""
    service = serve()
    configure(services={"things": {"url": service.url}})
    return service


@contextmanager
def saying(configure: Configure, *pieces: bytes, **options: Any) -> Iterator[Callable[[], bytes]]:
    """Serve one connection, to whose request the pieces are the response; yield what waits for the connection's end."""
    ended = threading.Event()
    rest: list[bytes] = []

    def serve() -> None:
        with listener.accept()[0] as connection:
            connection.settimeout(PATIENCE)
            connection.recv(65536)
            for piece in pieces:
                connection.sendall(piece)
            try:
                rest.append(connection.recv(65536))
            except OSError:
                rest.append(b"")
        ended.set()

    def end() -> bytes:
        assert ended.wait(PATIENCE), "the connection is still open"
        return rest[0]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        # More than the default to connect, for a busy machine.
        configure(services={"things": {"url": url, "timeouts": {"connect": "9s"}} | options})
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield end
        runtime().upstreams.close()
        # An exchange that ended before it connected leaves the thread waiting for a connection.
        socket.create_connection(listener.getsockname()).close()
        thread.join(PATIENCE)


def test_a_request_goes_out_unchanged_with_the_time_that_is_left(service: Service) -> None:
    service.answer = lambda seen: Reply(
        201, b"made", [("X-A", "1"), ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d"), ("Content-Type", "text/plain")]
    )
    answer = runtime().upstreams.send(
        "things", "POST", "/a%20b/../c?x=%41", headers=[("x-a", "\xe9"), ("Content-Length", "99")], body=b"abc"
    )
    assert (answer.status, answer.read()) == (201, b"made")
    assert [value for name, value in answer.headers if name == "Set-Cookie"] == ["a=b", "c=d"]
    (seen,) = service.seen
    assert (seen.method, seen.target, seen.body) == ("POST", "/a%20b/../c?x=%41", b"abc")
    names = {name.lower() for name, _ in seen.headers}
    assert names == {"host", "x-a", "content-length", "x-envoy-expected-rq-timeout-ms"}
    assert (seen.header("Content-Length"), seen.header("x-a")) == ("3", "\xe9")


def test_nothing_is_remembered_and_nothing_followed(service: Service) -> None:
    service.answer = lambda seen: Reply(
        302, b"", [("Location", "http://localhost:1/elsewhere"), ("Set-Cookie", "a=b; Path=/")]
    )
    for _ in range(2):
        answer = runtime().upstreams.send("things", "GET", "/a")
        assert (answer.status, answer.read()) == (302, b"")
    assert [(seen.target, seen.header("Cookie")) for seen in service.seen] == [("/a", None)] * 2


def test_the_environment_names_no_proxy_and_no_password(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "service_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert runtime().upstreams.send("things", "GET", "/a").status == 200
    assert service.seen[0].header("Authorization") is None


def test_requests_of_many_threads_share_the_connections(configure: Configure, serve: Serve) -> None:
    def answer(seen: Seen) -> Reply:
        return Reply.json({"target": seen.target, "body": seen.body.decode()})

    configure(services={"things": {"url": serve(answer).url}})
    session = runtime().upstreams

    def ask(number: int) -> bytes:
        return session.send("things", "PUT", f"/{number}", body=b"%d" % number).read()

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(200)))
    assert answers == [b'{"target": "/%d", "body": "%d"}' % (number, number) for number in range(200)]
    (pool,) = session.pools.of("things").pools
    assert 1 <= len(pool.live) <= 4


def test_a_small_response_releases_its_connection_at_once(service: Service) -> None:
    answers = [runtime().upstreams.send("things", "GET", f"/{number}") for number in range(3)]
    assert [answer.read() for answer in answers] == [b"{}"] * 3
    assert len(runtime().upstreams.pools.of("things").pools[0].live) == 1


def test_a_response_is_read_as_it_arrives(configure: Configure) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with saying(configure, head, b"2\r\nab\r\n", b"1\r\nc\r\n0\r\n\r\n"):
        answer = runtime().upstreams.send("things", "GET", "/")
        assert answer.status == 200
        assert b"".join(answer.body()) == b"abc"
        # Read to its end, the connection is idle.
        (pool,) = runtime().upstreams.pools.of("things").pools
        assert len(pool.live) == 1


@pytest.mark.parametrize("reads", [0, 1])
def test_a_response_that_is_closed_early_closes_its_connection(configure: Configure, reads: int) -> None:
    with saying(configure, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n") as end:
        answer = runtime().upstreams.send("things", "GET", "/")
        body = answer.body()
        for _ in range(reads):
            assert next(body) == b"ab"
            # A WSGI server that stops iterating closes the body.
            body.close()  # type: ignore[attr-defined]
        answer.close()
        answer.close()
        assert end() == b""


FAILURES: list[tuple[tuple[bytes, ...], type[Exception]]] = [
    ((b"hello\r\n\r\n",), UpstreamProtocolError),
    ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",), UpstreamTimeout),
    ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",), UpstreamTimeout),
    ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz",), UpstreamProtocolError),
]


@pytest.mark.parametrize(("pieces", "failure"), FAILURES)
def test_a_response_without_the_beginning_of_its_body_is_an_error(
    configure: Configure, pieces: tuple[bytes, ...], failure: type[Exception]
) -> None:
    with saying(configure, *pieces) as end:
        with pytest.raises(failure):
            runtime().upstreams.send("things", "GET", "/", timeouts=Timeouts.model_construct(total=0.1))
        assert end() == b""


def test_a_response_that_breaks_off_raises_where_it_does(configure: Configure) -> None:
    with saying(configure, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n") as end:
        answer = runtime().upstreams.send("things", "GET", "/", timeouts=Timeouts.model_construct(total=0.1))
        body = answer.body()
        assert next(body) == b"ab"
        with pytest.raises(UpstreamTimeout):
            next(body)
        assert end() == b""


# Uploads.

SIZE = 5_000_000


def upload(read: Callable[[int], bytes], length: int | None = SIZE, most: int = 2 * SIZE) -> Upload:
    return Upload(read, length, most)


@contextmanager
def taking(configure: Configure) -> Iterator[Callable[[], int]]:
    """Serve one connection, and answer once the whole request is here; yield what tells how much of it is."""
    got = bytearray()

    def serve() -> None:
        with suppress(OSError), listener.accept()[0] as connection:
            connection.settimeout(PATIENCE)
            while not got.endswith(b"END"):
                piece = connection.recv(65536)
                if not piece:
                    return
                got.extend(piece)
            connection.sendall(OK)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        configure(services={"things": {"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}})
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield lambda: len(got)
        runtime().upstreams.close()
        # A request that was rejected before its service was asked has made no connection.
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


def test_a_body_is_read_piece_by_piece_in_the_thread_that_sends_it(configure: Configure) -> None:
    source = io.BytesIO(b"x" * (SIZE - 3) + b"END")
    threads = set()
    sizes = set()

    def read(size: int) -> bytes:
        threads.add(threading.current_thread())
        sizes.add(size)
        return source.read(size)

    with taking(configure) as got:
        answer = runtime().upstreams.send("things", "PUT", "/", body=upload(read))
        assert (answer.status, answer.read()) == (200, b"ok")
        assert got() > SIZE
    assert threads == {threading.current_thread()}
    assert max(sizes) < SIZE // 10


def test_a_chunked_body_ends_with_an_empty_piece(configure: Configure) -> None:
    source = io.BytesIO(b"x" * SIZE)
    with taking(configure) as got:
        # Its last chunk is no `END`: the service waits, and is late.
        body = upload(source.read, None)
        with pytest.raises(UpstreamTimeout):
            runtime().upstreams.send("things", "PUT", "/", body=body, timeouts=Timeouts.model_construct(total=0.5))
        assert got() > SIZE


@pytest.mark.parametrize("at", [0, 4_000_000])
def test_what_reading_the_body_raises_ends_the_exchange(configure: Configure, at: int) -> None:
    source = io.BytesIO(b"x" * at)

    def read(size: int) -> bytes:
        if piece := source.read(size):
            return piece
        raise BadRequest("Expected more.")

    with taking(configure), pytest.raises(BadRequest):
        runtime().upstreams.send("things", "PUT", "/", body=upload(read))


def test_more_than_a_route_takes_is_rejected_on_the_way(configure: Configure) -> None:
    source = io.BytesIO(b"x" * SIZE)
    with taking(configure), pytest.raises(ContentTooLarge):
        runtime().upstreams.send("things", "PUT", "/", body=upload(source.read, None, SIZE - 1))
    assert source.tell() <= SIZE


def test_a_client_that_leaves_ends_the_wait_for_the_response(configure: Configure) -> None:
    leave: list[Callable[[], None]] = []

    def leave_once_asked() -> None:
        deadline = time.monotonic() + PATIENCE
        while not runtime().upstreams.pools.of("things").pools[0].live and time.monotonic() < deadline:
            time.sleep(0.01)
        leave[0]()

    with saying(configure) as end:
        leaving = threading.Thread(target=leave_once_asked)
        leaving.start()
        with pytest.raises(ClientLeft):
            runtime().upstreams.send("things", "GET", "/", on_disconnect=leave.append)
        leaving.join()
        assert end() == b""


def test_a_client_that_leaves_ends_the_response(configure: Configure) -> None:
    leave: list[Callable[[], None]] = []
    with saying(configure, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n") as end:
        answer = runtime().upstreams.send("things", "GET", "/", on_disconnect=leave.append)
        leave[0]()
        with pytest.raises(ClientLeft):
            answer.read()
        assert end() == b""


def test_a_client_that_has_left_asks_for_nothing(configure: Configure, serve: Serve) -> None:
    configure(services={"things": {"url": serve().url}})
    with pytest.raises(ClientLeft):
        runtime().upstreams.send("things", "GET", "/", on_disconnect=lambda call: call())


def test_a_service_that_cannot_be_reached_is_down(configure: Configure, serve: Serve) -> None:
    service = serve()
    service.stop()
    configure(services={"things": {"url": service.url}})
    with pytest.raises(UpstreamConnectError):
        runtime().upstreams.send("things", "GET", "/")
    # `stop` runs again with the test's end.
    service.stop = lambda: None  # type: ignore[method-assign]


def test_a_service_with_very_many_requests_is_busy(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MAX_CONNECTIONS", 0)
    with pytest.raises(UpstreamOverloaded):
        runtime().upstreams.send("things", "GET", "/")


def test_the_service_s_own_timeouts_hold_where_none_are_given(configure: Configure) -> None:
    with saying(configure, timeouts={"total": "100ms"}) as end:
        with pytest.raises(UpstreamTimeout):
            runtime().upstreams.send("things", "GET", "/")
        assert end() == b""


def test_the_loop_of_a_thread_ends_with_the_session(service: Service) -> None:
    session = runtime().upstreams
    assert session.send("things", "GET", "/").read() == b"{}"
    loop, thread = session.loop, session.thread
    assert thread is not None
    (pool,) = session.pools.of("things").pools
    (connection,) = pool.live
    session.close()
    assert not thread.is_alive()
    assert loop.is_closed()
    assert connection.closed


@on_a_loop
async def server_s_loop(configure: Configure) -> None:
    """Ask from threads while this loop serves."""
    loop = asyncio.get_running_loop()
    async with Origin(responding(OK)) as origin:
        configure(services={"things": {"url": origin.url}})
        session = runtime().upstreams
        # The server asks first; in threads, too, they are its loop's then.
        assert (session.loop, session.thread) == (loop, None)

        def ask() -> tuple[Any, bytes]:
            answer = session.send("things", "GET", "/")
            return answer.status, answer.read()

        assert await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(5))) == [(200, b"ok")] * 5
        assert 1 <= len(origin.wires) <= 5
        (pool,) = session.pools.of("things").pools
        session.close()
        await until(lambda: not pool.live)
        assert not loop.is_closed()


def test_under_an_asgi_server_the_connections_are_on_its_loop(configure: Configure) -> None:
    server_s_loop(configure)


@on_a_loop
async def slow_reader(configure: Configure) -> None:
    """Take a large answer in a thread, piece by piece."""
    size = 4 * 2**20

    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        await wire.send(b"x" * size)
        await wire.ended()

    async with Origin(behave) as origin:
        configure(services={"things": {"url": origin.url}})
        session = runtime().upstreams
        assert session.loop is asyncio.get_running_loop()
        try:
            answer = await asyncio.to_thread(session.send, "things", "GET", "/")
            response = answer.response
            assert response is not None
            connection = response.connection
            assert connection is not None
            # The body is not read, so reading from the service pauses.
            await until(lambda: not connection.transport.is_reading())
            assert len(await asyncio.to_thread(answer.read)) == size
            assert answer.response is None
            (pool,) = session.pools.of("things").pools
            await asyncio.sleep(0)
            assert pool.acquire_idle(repeatable=True) is connection
        finally:
            session.close()


def test_a_large_response_comes_no_faster_than_it_is_read(configure: Configure) -> None:
    slow_reader(configure)
