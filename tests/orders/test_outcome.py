"""PostgreSQL goes away between a write and its answer, or does not come to one: what is said of what was stored."""

import re
import socket
import threading
from contextlib import suppress
from urllib.parse import unquote

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from tests.orders.serving import ON_SQLITE, Service

pytestmark = pytest.mark.skipif(ON_SQLITE, reason="of PostgreSQL")
BOOK = {"item": "book", "address": "Main street 1"}
KEY = {"Idempotency-Key": "a-key"}


class Wire:
    """Forwards a TCP port to PostgreSQL's socket. The first message with the word still gets through, its answer not.

    The server executes it; its response is lost.
    """

    def __init__(self, target: str) -> None:
        self.target, self.word = target, b""
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.clients: list[socket.socket] = []
        self.threads = [threading.Thread(target=self.serve)]
        self.threads[0].start()

    def serve(self) -> None:
        with suppress(OSError), self.listening:
            while True:
                self.clients.append(self.listening.accept()[0])
                self.threads.append(threading.Thread(target=self.connect, args=self.clients[-1:]))
                self.threads[-1].start()

    def connect(self, client: socket.socket) -> None:
        """Forward both ways until one of them ends."""
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self.target)
            back = threading.Thread(target=self.forward, args=(server, client))
            back.start()
            self.forward(client, server)
            back.join()

    def forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.word and source in self.clients and self.word in data:
                    self.word = b""
                    source.shutdown(socket.SHUT_RDWR)
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End all connections; there will be no others."""
        for end in (self.listening, *self.clients):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(30)


@pytest.fixture(scope="module")
def wired(issuer, tmp_path_factory):
    """The service, to whose database there is a wire."""
    host, name = re.fullmatch(r"postgres://gatehouse@([^/]+)/(.+)", settings.DATABASE_URL).groups()
    wire = Wire(f"{unquote(host)}/.s.PGSQL.5432")
    url = f"postgres://gatehouse@127.0.0.1:{wire.port}/{name}?sslmode=disable&gssencmode=disable"
    with Service(issuer, tmp_path_factory.mktemp("var"), workers=1, environ={"ORDERS_DATABASE_URL": url}) as service:
        yield wire, service
        wire.close()


def test_a_connection_that_breaks_leaves_the_outcome_unknown(wired):
    wire, service = wired
    wire.word = b'INSERT INTO "orders_order"'
    refused = service.ask("POST", "/api/orders", BOOK | {"item": "plain"}, user_id=20)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1"), refused.body
    assert refused.json["code"] == "outcome_unknown"
    assert "Idempotency-Key" in refused.json["detail"]


def test_with_a_key_a_retry_stores_the_order_once(wired):
    wire, service = wired
    wire.word = b"COMMIT\x00"
    refused = service.ask("POST", "/api/orders", BOOK, user_id=21, **KEY)
    assert refused.status == 503, refused.body
    assert refused.json["code"] == "outcome_unknown"
    again = service.ask("POST", "/api/orders", BOOK, user_id=21, **KEY)
    while again.status == 409:
        again = service.ask("POST", "/api/orders", BOOK, user_id=21, **KEY)
    assert again.status == 201
    assert service.items(21) == ["book"]


def test_a_failed_list_does_not_mention_storing(wired):
    wire, service = wired
    wire.word = b"SELECT id, item"
    refused = service.ask("GET", "/api/orders", user_id=22)
    assert refused.status == 503, refused.body
    assert "stored" not in refused.json["detail"]
    assert service.ask("GET", "/api/orders", user_id=22).status == 200


def test_without_a_connection_nothing_is_stored(wired):
    wire, service = wired
    wire.close()
    refused = service.ask("POST", "/api/orders", BOOK, user_id=23)
    assert refused.status == 503
    assert "Nothing was stored" in refused.json["detail"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("synchronous_commit", "on"),  # the server of the tests has it off
        ("statement_timeout", "15s"),
        ("lock_timeout", "5s"),
    ],
)
def test_commits_are_durable_and_every_wait_is_limited(name, value):
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", [name])
        assert cursor.fetchone() == (value,)
    assert connection.connection.info.get_parameters()["tcp_user_timeout"] == "15000"


def test_a_statement_that_takes_too_long_is_503_and_stores_nothing(issuer, tmp_path):
    url = f"{settings.DATABASE_URL}?options=-c%20statement_timeout%3D200ms"
    with (
        Service(issuer, tmp_path, workers=1, environ={"ORDERS_DATABASE_URL": url}) as service,
        psycopg.connect(settings.DATABASE_URL) as holder,
    ):
        holder.execute("LOCK TABLE orders_order IN EXCLUSIVE MODE")
        refused = service.ask("POST", "/api/orders", BOOK, user_id=24)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1"), refused.body
        assert "Nothing was stored" in refused.json["detail"]
        assert service.items(24) == []
