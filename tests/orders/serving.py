"""The orders service as a real process: gunicorn, workers and all, on a database of its own."""

import atexit
import functools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Self

import psycopg
from django.db import connection
from tests.issuer import Issuer
from tests.ports import free_port
from tests.processes import measured

PROJECT = Path(__file__).resolve().parents[2] / "orders_project"
DEADLINE = 60
ON_SQLITE = connection.vendor == "sqlite"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Service:
    """Runs while it is entered; `kill` takes it down at once, `start` brings it up again on the same database."""

    issuer: Issuer
    state: Path
    workers: int = 2
    environ: dict[str, str] = field(default_factory=dict)
    migrated: bool = True

    def __post_init__(self) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.environ = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "orders_project.settings",
            "GATEHOUSE_VAR": str(self.state),
            "ORDERS_PORT": str(self.port),
            "ORDERS_WORKERS": str(self.workers),
            "JWKS_URL": self.issuer.url,
            **measured(),
            **self.environ,
        }
        if not self.migrated:
            return
        url = self.environ.get("ORDERS_DATABASE_URL")
        if not url:
            if not self.database.exists():
                shutil.copytree(migrated_state(), self.database.parent, dirs_exist_ok=True)
            return
        migrate(url)
        self.execute("TRUNCATE orders_order, orders_storedresponse RESTART IDENTITY")

    @property
    def database(self) -> Path:
        return self.state / "orders" / "orders.sqlite3"

    def execute(self, statement: str) -> None:
        """Change its database."""
        if url := self.environ.get("ORDERS_DATABASE_URL"):
            with psycopg.connect(url, autocommit=True) as opened:
                opened.execute(statement)
        else:
            with closing(sqlite3.connect(self.database, isolation_level=None)) as opened:
                opened.execute(statement)

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=PROJECT, env=self.environ, capture_output=True, text=True, check=check, timeout=4 * DEADLINE
        )

    def start(self, health: int = 200) -> None:
        """Start it, and wait until its health is that status."""
        with (self.state / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "orders_project.wsgi"],
                cwd=PROJECT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + DEADLINE
        while True:
            with suppress(OSError, HTTPException):
                if self.ask("GET", "/healthz").status == health:
                    return
            assert self.process.poll() is None, (self.state / "log").read_text()
            assert time.monotonic() < deadline, (self.state / "log").read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        """End every process of it at once, as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def headers(self, user_id: int = 7) -> dict[str, str]:
        passport = self.issuer.passport(user_id, audience="orders")
        return {"Authorization": f"Bearer {passport}", "Request-User-Id": str(user_id)}

    @contextmanager
    def connected(self) -> Iterator[HTTPConnection]:
        client = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            yield client
        finally:
            client.close()

    def ask(self, method: str, path: str, body: object = None, user_id: int = 7, **headers: str) -> Answer:
        with self.connected() as client:
            return ask(client, method, path, body, self.headers(user_id) | headers)

    def items(self, user_id: int = 7) -> list[str]:
        """Return the items of all orders of the user, over all pages."""
        found, path = [], "/api/orders?limit=200"
        while path:
            page = self.ask("GET", path, user_id=user_id).json
            found += [order["item"] for order in page["results"]]
            path = page["next"] and page["next"].partition(f":{self.port}")[2]
        return found


def run_migrate(**environ: str) -> None:
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    # Tests of the gateway run the service too.
    own = {"DJANGO_SETTINGS_MODULE": "orders_project.settings"}
    subprocess.run(command, cwd=PROJECT, env=os.environ | own | environ, check=True)


@functools.cache
def migrate(url: str) -> None:
    """Make the tables of a PostgreSQL database, once."""
    with tempfile.TemporaryDirectory() as var:
        run_migrate(GATEHOUSE_VAR=var, ORDERS_DATABASE_URL=url)


@functools.cache
def migrated_state() -> Path:
    """Return the service's directory of state with an empty database, for copies."""
    var = Path(tempfile.mkdtemp(prefix="gatehouse-"))
    atexit.register(shutil.rmtree, var, ignore_errors=True)
    run_migrate(GATEHOUSE_VAR=str(var))
    return var / "orders"


def ask(client: HTTPConnection, method: str, path: str, body: object, headers: dict[str, str]) -> Answer:
    """Send the request on that connection, the body as JSON."""
    own = {} if body is None else {"Content-Type": "application/json"}
    client.request(method, path, None if body is None else json.dumps(body), own | headers)
    answer = client.getresponse()
    return Answer(answer.status, dict(answer.getheaders()), answer.read())


@contextmanager
def write_lock(service: Service):
    """Hold what a write waits for."""
    if ON_SQLITE:
        with closing(sqlite3.connect(service.database, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            yield
    else:
        with psycopg.connect(service.environ["ORDERS_DATABASE_URL"]) as holder:
            holder.execute("LOCK TABLE orders_order IN EXCLUSIVE MODE")
            yield
