"""Health while the database is down, and afterwards."""

import socket
import time

import pytest
from django.db import connection
from django.test import Client
from tests.orders.serving import ON_SQLITE, Service
from tests.postgres import Postgres, programs

BOOK = {"item": "book", "address": "Main street 1"}


def assert_away(service: Service) -> None:
    for path in ("/healthz", "/api/orders"):
        answer = service.ask("GET", path)
        assert (answer.status, answer.headers["Content-Type"]) == (503, "application/problem+json"), answer.body
        assert answer.headers["Retry-After"] == "1"
        assert answer.json["origin"] == "orders"


@pytest.mark.skipif(not ON_SQLITE, reason="of SQLite")
def test_a_database_that_cannot_be_opened_is_503_until_it_can(issuer, tmp_path):
    service = Service(issuer, tmp_path, workers=1)
    for path in service.database.parent.glob("orders.sqlite3*"):
        path.rename(tmp_path / path.name)
    service.database.mkdir()
    service.start(health=503)
    try:
        assert_away(service)
        service.database.rmdir()
        (tmp_path / "orders.sqlite3").rename(service.database)
        assert service.ask("GET", "/healthz").json == {"status": "ok", "service": "orders"}
        assert service.ask("POST", "/api/orders", BOOK).status == 201
    finally:
        service.__exit__()


@pytest.mark.django_db
def test_a_database_without_tables_is_503():
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_migrations RENAME TO elsewhere")
    answer = Client().get("/healthz")
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert answer.json()["origin"] == "orders"


@pytest.mark.skipif(not ON_SQLITE, reason="of a server that does not respond, whatever is tested")
def test_the_probes_respond_in_a_second_while_a_server_accepts_connections_and_sends_nothing(issuer, tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        url = f"postgres://orders@127.0.0.1:{silent.getsockname()[1]}/orders"
        service = Service(issuer, tmp_path, workers=1, environ={"ORDERS_DATABASE_URL": url}, migrated=False)
        service.start(health=503)
        try:
            for path, status in [("/livez", 200), ("/readyz", 503), ("/healthz", 503)]:
                times = []
                for _ in range(2):
                    began = time.monotonic()
                    assert service.ask("GET", path).status == status
                    times.append(time.monotonic() - began)
                # 1 s on an idle machine; a connection is given up after 5 s, each time.
                assert min(times) < 4
        finally:
            service.__exit__()


@pytest.mark.skipif(not ON_SQLITE or programs() is None, reason="PostgreSQL is not installed, or is tested as a whole")
def test_requests_are_503_while_postgresql_is_down(issuer, tmp_path):
    with (
        Postgres() as server,
        Service(issuer, tmp_path, workers=1, environ={"ORDERS_DATABASE_URL": server.database("orders")}) as service,
    ):
        assert service.ask("POST", "/api/orders", BOOK).status == 201
        server.stop()
        for _ in range(3):
            assert_away(service)
        server.serve()
        assert service.ask("GET", "/healthz").json == {"status": "ok", "service": "orders"}
        assert service.items() == ["book"]
