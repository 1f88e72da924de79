"""Clients that leave, stall, or send malformed or ambiguous requests."""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from tests.conformance.client import Client
from tests.conformance.gateways import DOORS, Door, Gateway
from tests.conformance.upstream import Answer, Upstream

# More than Django has threads.
MANY = 40
OK = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The fast door, before the recording service."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as silent:
        config = {
            "services": {
                "echo": {"url": upstream.url},
                "silent": {"url": f"http://127.0.0.1:{silent.getsockname()[1]}"},
            },
            "routes": [
                {"path": "/api/open", "service": "echo", "allow": "public"},
                {"path": "/api/sent", "service": "silent", "allow": "public", "methods": ["POST"]},
                {"path": "/api/silent", "service": "silent", "allow": "public"},
            ],
        }
        with Gateway("fast", tmp_path_factory.mktemp("server") / "var", config) as gateway:
            yield gateway


def healthy(gateway: Gateway) -> bool:
    """Return whether Django, behind the fast door, answers."""
    with Client(gateway.port) as client:
        client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return client.reply().status == 200


def test_clients_that_leave_within_a_body_occupy_no_thread(gateway: Gateway) -> None:
    login = (
        b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    leavers = []
    for _ in range(MANY):
        leaver = socket.create_connection(("127.0.0.1", gateway.port))
        leaver.sendall(login)
        leavers.append(leaver)
    for leaver in leavers:
        leaver.close()
    assert healthy(gateway)


def test_a_malformed_chunk_within_a_body_occupies_no_thread(gateway: Gateway) -> None:
    login = (
        b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
    )
    for _ in range(MANY):
        with Client(gateway.port) as client:
            client.send(login)
            client.send(b"xyz\r\n")
            assert client.reply().status in {400, 411}
    assert healthy(gateway)


def test_the_access_log_has_the_request_id_of_the_response(gateway: Gateway, upstream: Upstream) -> None:
    upstream.begin((OK,))
    with Client(gateway.port) as client:
        client.send(b"GET /api/open HTTP/1.1\r\nHost: localhost\r\n\r\n")
        identifier = client.reply().get("X-Request-ID")
    gateway.wait_for_lines(identifier)
    (line,) = [line for line in gateway.log_lines() if line.get("request_id") == identifier]
    assert (line["message"], line["status"], line["user_id"]) == ("GET /api/open 200", 200, None)


def test_the_log_has_the_trace_that_the_service_was_sent(gateway: Gateway, upstream: Upstream) -> None:
    upstream.begin((OK,) * 2)
    traces = []
    with Client(gateway.port) as client:
        for header in b"", b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n":
            client.send(b"GET /api/open HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\n")
            (line,) = gateway.wait_for_lines(client.reply().get("X-Request-ID"))
            sent = upstream.seen[-1].get("traceparent")
            assert sent is not None
            traces.append(line["trace_id"])
            assert sent.startswith(f"00-{line['trace_id']}-")
    assert traces[1] == "0af7651916cd43dd8448eb211c80319c" != traces[0]


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_a_client_that_closes_its_sending_direction_counts_as_gone(gateway: Gateway, accept: str) -> None:
    with Client(gateway.port) as client:
        client.send(b"GET /api/silent HTTP/1.1\r\nHost: localhost\r\nAccept: %b\r\n\r\n" % accept.encode())
        client.finish()
        assert client.ends()
    assert healthy(gateway)


ENDLESS = [
    (b"0\r\na: ", "a trailer's value"),
    (b"0\r\n", "a trailer's name"),
    (b"1;", "a chunk's extension"),
    (b"0000", "a chunk's size"),
]


def sent_until_refused(client: socket.socket) -> int:
    """Send zeros until there is a response or the connection ends; return how many bytes were accepted."""
    sent = 0
    # Not `select`, which takes no descriptor above 1,023.
    poll = select.poll()
    poll.register(client, select.POLLIN)
    with suppress(ConnectionError):
        while sent < 16 * 2**20 and not poll.poll(0):
            sent += client.send(b"0" * 2**16)
    return sent


@pytest.mark.parametrize("beginning", [each for each, _ in ENDLESS], ids=[what for _, what in ENDLESS])
def test_endless_framing_within_a_body_is_bounded(gateway: Gateway, beginning: bytes) -> None:
    head = b"POST /api/sent HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as client:
        client.sendall(head + b"2\r\nab\r\n" + beginning)
        assert sent_until_refused(client) < 16 * 2**20
    assert healthy(gateway)


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_the_bound_on_headers_does_not_depend_on_packets(gateway: Gateway, pieces: int) -> None:
    fields = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 6000) for number in range(15))
    head = b"GET /api/open HTTP/1.1\r\nHost: localhost\r\n" + fields
    with Client(gateway.port) as client:
        for number in range(pieces):
            step = -(-len(head) // pieces)
            client.send(head[number * step : (number + 1) * step])
            # So that it arrives in pieces; the expectation holds for any pieces.
            time.sleep(0.02)
        assert client.reply().status == 431


BOUNDS = {"MAX_HEADER_BYTES": "20000", "MAX_HEADER_FIELD_BYTES": "12000", "MAX_HEADER_FIELDS": "30"}


def with_fields(*sizes: int) -> bytes:
    """Return a request whose fields, with their names, have these sizes."""
    names = [f"X-{number}" for number in range(len(sizes))]
    lines = [f"{name}: {'a' * (size - len(name))}" for name, size in zip(names, sizes, strict=True)]
    return "\r\n".join(["GET /api/open HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


@pytest.mark.parametrize("door", DOORS)
def test_the_bounds_on_headers_are_settings(door: Door, upstream: Upstream, tmp_path: Path) -> None:
    # gunicorn counts the colon, the space and the line's end too, and has no bound for all fields together.
    over = {"fast": (12_001, 400), "drf": (12_100, 400)}[door]
    config = {
        "services": {"echo": {"url": upstream.url}},
        "routes": [{"path": "/api/open", "service": "echo", "allow": "public"}],
    }

    def status(request: bytes) -> int:
        upstream.begin([OK])
        with Client(gateway.port) as client:
            client.send(request)
            return client.reply().status

    with Gateway(door, tmp_path / "var", config, environ=BOUNDS) as gateway:
        assert status(with_fields(11_900)) == 200
        assert status(with_fields(*[20] * 29)) == 200
        assert status(with_fields(over[0])) in {431, over[1]}
        assert status(with_fields(*[20] * 30)) in {431, over[1]}
        if door == "fast":
            assert status(with_fields(11_900, 8_000)) == 200
            assert [status(with_fields(*sizes)) for sizes in ([11_900, 8_100], [12_001], [20] * 30)] == [431] * 3
    assert upstream.seen == []


def test_browsers_waiting_for_a_slow_service_do_not_delay_the_gateway_s_own_responses(gateway: Gateway) -> None:
    page = b"GET /api/silent HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n"
    with ExitStack() as waiting:
        for _ in range(MANY):
            client = waiting.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
            client.sendall(page)
        assert healthy(gateway)


UNCLEAR = [
    ([fields], status)
    for status, listed in {
        400: [
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: ,chunked",
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding: chunked, gzip",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length:",
        ],
        501: [
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: gzip,chunked",
            "Transfer-Encoding: identity, chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding: xchunked",
        ],
    }.items()
    for fields in listed
] + [
    (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], 400),
    (["Transfer-Encoding:", "Transfer-Encoding: chunked"], 400),
    (["Transfer-Encoding: chunked", "Content-Length: 5"], 400),
    (["Content-Length: 0", "Transfer-Encoding: chunked"], 400),
    (["Content-Length: 5", "Content-Length: 5"], 400),
    (["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], 501),
    (["Transfer-Encoding: chunked", "Transfer-Encoding: gzip"], 400),
]


@pytest.mark.parametrize(("fields", "status"), UNCLEAR, ids=[", ".join(fields) for fields, _ in UNCLEAR])
@pytest.mark.parametrize("path", ["/api/open", "/api/login", "/nothing"])
def test_an_ambiguous_framing_ends_the_connection(
    gateway: Gateway, upstream: Upstream, path: str, fields: list[str], status: int
) -> None:
    upstream.begin((OK,))
    head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *fields]) + "\r\n\r\n"
    with Client(gateway.port) as client:
        client.send(head.encode() + b"5\r\nabcde\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reply = client.reply()
        assert (reply.status, reply.get("Connection")) == (status, "close")
        assert client.ends()
    assert upstream.seen == []
    assert healthy(gateway)


@pytest.mark.parametrize(
    ("version", "status"),
    [("HTTP/1.0", 200), ("HTTP/1.1", 200), ("HTTP/1.2", 200), ("HTTP/1.9", 200), ("HTTP/1.10", 400), ("HTTP/0.9", 400),
     ("HTTP/2.0", 505), ("HTTP/3.1", 505), ("http/1.1", 400), ("RTSP/1.0", 400), ("ICE/1.0", 400)],
)  # fmt: skip
def test_only_versions_of_http_1_are_served(gateway: Gateway, upstream: Upstream, version: str, status: int) -> None:
    upstream.begin((OK,))
    with Client(gateway.port) as client:
        client.send(f"GET /api/open {version}\r\nHost: localhost\r\n\r\n".encode())
        assert client.reply().status == status
    assert len(upstream.seen) == (status == 200)


def test_a_later_minor_version_is_treated_as_http_1_1(gateway: Gateway, upstream: Upstream) -> None:
    upstream.begin((OK,))
    with Client(gateway.port) as client:
        for _ in range(2):
            client.send(
                b"POST /api/open HTTP/1.2\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
            )
            assert client.reply().status == 200
    assert [seen.body for seen in upstream.seen] == [b"ab", b"ab"]


TYPES = [["Content-Type: text/a", "Content-Type: text/b"], ["Content-Type: text/a", "Content-Type: text/a"]]


@pytest.mark.parametrize("fields", [*TYPES, ["Content-Type: text/a, text/b"]])
@pytest.mark.parametrize("path", ["/api/open", "/api/login", "/login/", "/healthz"])
@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_a_repeated_content_type_is_a_400(
    gateway: Gateway, upstream: Upstream, accept: str, path: str, fields: list[str]
) -> None:
    upstream.begin((OK,))
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Accept: {accept}", "Content-Length: 2", *fields]
    with Client(gateway.port) as client:
        client.send("\r\n".join(head).encode() + b"\r\n\r\n{}")
        assert client.reply().status == 400
    assert upstream.seen == []


def test_a_content_type_may_have_a_comma_in_a_parameter(gateway: Gateway, upstream: Upstream) -> None:
    upstream.begin((OK,))
    with Client(gateway.port) as client:
        client.send(
            b'POST /api/open HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/a; x="1,\\"2"\r\n'
            b"Content-Length: 2\r\n\r\n{}"
        )
        assert client.reply().status == 200
    assert upstream.seen[0].get("Content-Type") == 'text/a; x="1,\\"2"'


OTHER_PROTOCOL = b"OPTIONS /api/open RTSP/1.0\r\nHost: localhost\r\nCSeq: 1\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [OTHER_PROTOCOL],
        [OTHER_PROTOCOL[:20], OTHER_PROTOCOL[20:]],
        [OTHER_PROTOCOL[:40], OTHER_PROTOCOL[40:]],
        [b"\r\n" + OTHER_PROTOCOL],
        [OTHER_PROTOCOL.replace(b"OPTIONS", b"DESCRIBE")],
        [OTHER_PROTOCOL.replace(b"OPTIONS", b"SOURCE").replace(b"RTSP", b"ICE")],
    ],
)
def test_a_request_of_another_protocol_is_a_400(gateway: Gateway, upstream: Upstream, pieces: list[bytes]) -> None:
    upstream.begin((OK,))
    with Client(gateway.port) as client:
        for piece in pieces:
            client.send(piece)
            # So that it arrives in pieces; the expectation holds for any pieces.
            time.sleep(0.02)
        reply = client.reply()
        assert (reply.status, reply.get("Connection")) == (400, "close")
        assert client.ends()
    assert upstream.seen == []


def test_the_name_of_another_protocol_is_allowed_elsewhere(gateway: Gateway, upstream: Upstream) -> None:
    upstream.begin((OK,))
    body = b"/api/open RTSP/1.0\r\n"
    with Client(gateway.port) as client:
        client.send(
            b"POST /api/open HTTP/1.1\r\nHost: localhost\r\nUser-Agent: POST /api/open RTSP/1.0\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        assert client.reply().status == 200
