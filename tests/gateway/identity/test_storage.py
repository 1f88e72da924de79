"""A database of sessions that is full, locked or away: what cannot be stored is said, all else goes on."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from django.db import connection
from tests.conformance.gateways import Gateway
from tests.disks import fill
from tests.gateway.login import LoginService
from tests.gateway.service import Reply, Seen, Service

from gateway.identity.models import Attempts, Session

ON_SQLITE = connection.vendor == "sqlite"
on_sqlite = pytest.mark.skipif(not ON_SQLITE, reason="of SQLite")
on_postgresql = pytest.mark.skipif(ON_SQLITE, reason="of PostgreSQL")
PAIR = {"username": "user", "password": "secret"}


class Asking:
    """A client of the gateway, over one connection."""

    def __init__(self, gateway: Gateway) -> None:
        self.url = gateway.url
        self.client = requests.Session()
        self.client.trust_env = False

    def ask(self, method: str, path: str, **sent: Any) -> requests.Response:
        return self.client.request(method, self.url + path, timeout=30, **sent)

    def sign_in(self) -> requests.Response:
        return self.ask("POST", "/api/login", json=PAIR)

    def refresh(self, token: str) -> requests.Response:
        return self.ask("POST", "/api/token/refresh", json={"refresh_token": token})

    def log_out(self, token: str) -> requests.Response:
        return self.ask("POST", "/api/logout", headers={"Authorization": f"Bearer {token}"})

    def status(self, path: str, token: str) -> int:
        return self.ask("GET", path, headers={"Authorization": f"Bearer {token}"}).status_code


Deployed = Callable[..., AbstractContextManager[tuple[Gateway, Asking]]]


@pytest.fixture
def deployed(serve: Callable[..., Service], settings: Any) -> Deployed:
    """Run a gateway as it is deployed, with all its state, its log too, in that directory."""
    login = LoginService()

    def answer(seen: Seen) -> Reply | None:
        return login(seen) if seen.target.startswith("/internal/") else Reply()

    route = {"path": "/api/things", "methods": ["GET"], "service": "people"}
    config = {
        "services": {"people": {"url": serve(answer).url}},
        "login": {"service": "people"},
        "routes": [
            {**route, "allow": "authenticated"},
            {**route, "path": "/api/limited", "allow": "authenticated", "rate_limit": "100000/minute"},
        ],
    }

    @contextmanager
    def run(var: Path, **environ: str) -> Iterator[tuple[Gateway, Asking]]:
        settings.KEYS = var / "gateway" / "keys"
        with Gateway("fast", var, config, workers=2, environ=environ) as running:
            asking = Asking(running)
            with asking.client:
                yield running, asking

    return run


@on_sqlite
def test_a_full_disk_is_a_507_for_what_must_be_stored_and_no_other_request_fails(
    deployed: Deployed, disk: Path
) -> None:
    with deployed(disk) as (gateway, client):
        pair = client.sign_in().json()
        access, refresh = pair["access_token"], pair["refresh_token"]
        workers = set(gateway.worker_pids())
        fill(disk / "ballast")
        # The database's log may have room left in its last block.
        rejected = [answer for _ in range(30) if (answer := client.sign_in()).status_code != 200]
        rejected += [client.refresh(refresh), client.log_out(access)]
        assert len(rejected) > 2
        for answer in rejected:
            assert (answer.status_code, answer.headers["Retry-After"]) == (507, "60"), answer.text
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["code"] == "storage_full"
        for _ in range(6):
            for path in ("/api/things", "/api/limited", "/api/sessions", "/.well-known/jwks.json", "/metrics"):
                assert client.status(path, access) == 200, path
            assert client.status("/nothing", access) == 404
            assert client.status("/api/things", "x") == 401
        assert set(gateway.worker_pids()) == workers, "none has died of memory that there is no room for"
        (disk / "ballast").unlink()
        assert client.sign_in().status_code == 200
        assert client.refresh(refresh).status_code == 200, "one that was not stored has used nothing up"
        assert client.log_out(access).status_code == 204


@contextmanager
def write_lock(var: Path) -> Iterator[None]:
    """Hold what a write waits for."""
    if ON_SQLITE:
        with closing(sqlite3.connect(var / "gateway" / "sessions.sqlite3", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            yield
    else:
        with psycopg.connect(os.environ["GATEWAY_DATABASE_URL"]) as holder:
            holder.execute(f"LOCK TABLE {Session._meta.db_table}, {Attempts._meta.db_table} IN EXCLUSIVE MODE")
            yield


def test_a_locked_database_is_a_503_after_a_wait_and_tokens_stay_valid(deployed: Deployed, tmp_path: Path) -> None:
    with deployed(tmp_path / "var") as (_, client), ThreadPoolExecutor(3) as threads:
        pair = client.sign_in().json()
        access, refresh = pair["access_token"], pair["refresh_token"]
        with write_lock(tmp_path / "var"):
            asked = [(client.sign_in,), (client.refresh, refresh), (client.log_out, access)]
            waiting = [threads.submit(*each) for each in asked]
            assert client.status("/api/things", access) == client.status("/api/sessions", access) == 200
            for answer in (each.result() for each in waiting):
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), answer.text
                assert answer.json()["code"] == "database_unavailable"
        assert client.sign_in().status_code == 200
        assert client.refresh(refresh).status_code == 200
        assert client.log_out(access).status_code == 204


@on_postgresql
def test_a_postgresql_that_is_down_is_a_503_and_tokens_stay_valid(deployed: Deployed, tmp_path: Path) -> None:
    url = os.environ["GATEWAY_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as postgresql:
        postgresql.execute("CREATE DATABASE away")
        try:
            with deployed(tmp_path / "var", GATEWAY_DATABASE_URL=f"{url.rpartition('/')[0]}/away") as (_, client):
                pair = client.sign_in().json()
                access, refresh = pair["access_token"], pair["refresh_token"]
                postgresql.execute("ALTER DATABASE away WITH ALLOW_CONNECTIONS false")
                postgresql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'away'")
                assert client.status("/api/things", access) == 200
                for answer in (client.sign_in(), client.refresh(refresh), client.log_out(access)):
                    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), answer.text
                deadline = time.monotonic() + 10
                # A worker reads its sessions twice a second.
                while client.status("/readyz", access) != 503:
                    assert time.monotonic() < deadline
                postgresql.execute("ALTER DATABASE away WITH ALLOW_CONNECTIONS true")
                assert client.sign_in().status_code == 200
                assert client.refresh(refresh).status_code == 200
        finally:
            postgresql.execute("DROP DATABASE away WITH (FORCE)")
