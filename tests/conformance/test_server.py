"""What clients do to the server itself: leave, dawdle, ask for more than one thing at once."""

import socket
import time
from collections.abc import Iterator

import pytest
from tests.conformance.client import Client
from tests.conformance.gateways import Gateway
from tests.conformance.upstream import Answer, Upstream

# More than Django has threads.
MANY = 40
OK = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The fast door, before the recording service."""
    config = {
        "services": {"echo": {"url": upstream.url}},
        "routes": [{"path": "/api/open", "service": "echo", "allow": "public"}],
    }
    with Gateway("fast", tmp_path_factory.mktemp("server") / "var", config) as gateway:
        yield gateway


def healthy(gateway: Gateway) -> bool:
    """Return whether Django, behind the fast door, answers."""
    with Client(gateway.port, patience=5) as client:
        client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return client.reply().status == 200


def test_clients_that_leave_amid_a_body_hold_none_of_django_s_threads(gateway: Gateway) -> None:
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


def test_a_malformed_chunk_amid_a_body_holds_none_of_django_s_threads(gateway: Gateway) -> None:
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


def test_the_access_log_has_a_line_for_each_request_with_the_id_that_the_client_was_told(
    gateway: Gateway, upstream: Upstream
) -> None:
    upstream.begin((OK,))
    with Client(gateway.port) as client:
        client.send(b"GET /api/open HTTP/1.1\r\nHost: localhost\r\n\r\n")
        identifier = client.reply().get("X-Request-ID")
    deadline = time.monotonic() + 5
    while not any(line.get("request_id") == identifier for line in gateway.log_lines()):
        assert time.monotonic() < deadline
    (line,) = [line for line in gateway.log_lines() if line.get("request_id") == identifier]
    assert (line["message"], line["status"], line["user_id"]) == ("GET /api/open 200", 200, None)
