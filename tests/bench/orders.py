"""`./manage_all.sh bench --orders`: what the orders service costs, alone, through the gateway, and with many orders."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.conformance.gateways import Gateway, free_port

from .load import request_text, wrk
from .processes import Server, cpu_seconds, served
from .report import table

PROJECT = Path(__file__).resolve().parents[2] / "orders_project"
BEGIN = "<!-- results of the orders, written by ./manage_all.sh bench --orders --publish -->"
END = "<!-- end of the results of the orders -->"
# Users: one has 10 orders, one places them, one has as many as there are.
TEN, PLACING, MANY = "7", "8", "9"
FEW_ROWS = 100
BODY = '{"item":"book","address":"Main street 1"}'
FILL = """
INSERT INTO orders_order (item, quantity, address, status, created_by, created_at, updated_at)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :rows)
SELECT 'book', 1, 'Main street 1', 'placed', :owner, datetime('2020-01-01', i || ' seconds'), datetime('2020-01-01')
FROM n
"""


@dataclass(frozen=True)
class Case:
    """A request to measure: `servers` are those whose processes do the work, the first is the one that is asked."""

    title: str
    servers: Sequence[Server]
    headers: Mapping[str, str]
    path: str = "/api/orders"
    body: str = ""
    rates: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)

    def load(self, connections: int, seconds: float, *, count: bool) -> None:
        """Send the request over and over; keep the figures if they count."""
        used = sum(cpu_seconds(server.session) for server in self.servers)
        text = request_text(self.path, self.headers, self.body)
        result = wrk(self.servers[0].port, text, connections, seconds)
        used = sum(cpu_seconds(server.session) for server in self.servers) - used
        if count:
            self.rates.append(result["requests"] / result["seconds"])
            self.cpus.append(used / result["requests"] * 1e6)
            self.p99s.append(result["p99_ms"])
            self.failed.append(result["refused"] + result["broken"])


@contextmanager
def service(
    directory: Path, gateway: Gateway, port: int, rows: int, pin: Sequence[str] = (), workers: int = 1
) -> Iterator[Server]:
    """Start orders, on a database where one user has 10 orders and one has `rows`."""
    directory.mkdir()
    environ = {
        "GATEHOUSE_VAR": str(directory),
        "PYTHONPATH": str(PROJECT),
        "ORDERS_PORT": str(port),
        "ORDERS_WORKERS": str(workers),
        "JWKS_URL": f"{gateway.url}/.well-known/jwks.json",
        "DATABASE_URL": "",
        "ORDERS_DATABASE_URL": "",
    }
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, cwd=PROJECT, env=os.environ | environ, check=True)
    with closing(sqlite3.connect(directory / "orders" / "orders.sqlite3")) as database:
        for owner, count in ((TEN, 10), (MANY, rows)):
            database.execute(FILL, {"owner": int(owner), "rows": count})
        database.commit()
    command = [*pin, sys.executable, "-m", "gunicorn", "-c", str(PROJECT / "gunicorn.conf.py")]
    with served([*command, "orders_project.wsgi"], port, directory / "log", environ) as server:
        yield server


def cases(gateway: Gateway, few: Server, many: Server, rows: int) -> list[Case]:
    """Return what is measured."""

    def passport(user_id: str) -> dict[str, str]:
        token = gateway.token(user_id, ttl=86400, token_type="passport", aud="orders")
        return {"Authorization": f"Bearer {token}", "Request-User-Id": user_id}

    def access(user_id: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {gateway.token(user_id, ttl=86400)}"}

    through = [Server(gateway.port, gateway.pid), few]
    page = "/api/orders?limit=10"
    return [
        Case("list of 10", [few], passport(TEN)),
        Case("place", [few], passport(PLACING), body=BODY),
        Case("list of 10, through the gateway", through, access(TEN)),
        Case("place, through the gateway", through, access(PLACING), body=BODY),
        Case(f"page of 10 of {FEW_ROWS}", [few], passport(MANY), page),
        Case(f"page of 10 of {rows:,}", [many], passport(MANY), page),
        Case(f"page of 10 amid {rows:,}", [many], passport(MANY), f"{page}&created_before=2020-01-10"),
    ]


def exposing(port: int) -> dict[str, Any]:
    """Return the gateway.yaml that exposes orders on that port."""
    route = {"path": "/api/orders", "methods": ["GET", "POST"], "service": "orders", "allow": "authenticated"}
    return {
        "services": {"orders": {"url": f"http://127.0.0.1:{port}"}},
        "versions": {"current": "v1"},
        "routes": [route],
    }


def in_turn(cases: Sequence[Case], options: "Options") -> None:
    """Measure all, round by round; there and back, so that a drift of the machine's speed hits all alike."""
    for number in range(options.rounds):
        for case in cases[:: 1 if number % 2 == 0 else -1]:
            case.load(options.connections, options.warm_up, count=False)
            case.load(options.connections, options.seconds, count=True)


def measured(directory: Path, options: "Options", pin: Sequence[str]) -> list[Case]:
    """Start a gateway and two services, and measure all cases in turn, round by round."""
    port = free_port()
    with (
        Gateway("fast", directory / "gateway", exposing(port), wrapper=tuple(pin), measured=False) as gateway,
        service(directory / "few", gateway, port, FEW_ROWS, pin) as few,
        service(directory / "many", gateway, free_port(), options.rows, pin) as many,
    ):
        found = cases(gateway, few, many, options.rows)
        in_turn(found, options)
        return found


@dataclass(frozen=True)
class Options:
    """How it is measured: `rows` of the large table, seconds, rounds and connections."""

    rows: int
    rounds: int
    seconds: float
    warm_up: float
    connections: int


def text(run: str, found: Sequence[Case]) -> str:
    """Return the report as Markdown."""
    heads = ["one worker, one core", "requests/s", "p99 ms", "CPU µs/request", "of a whole core/s", "failed"]
    body = [
        [
            case.title,
            f"{median(case.rates):,.0f}",
            f"{median(case.p99s):.1f}",
            f"{median(case.cpus):,.0f}",
            f"{1e6 / median(case.cpus):,.0f}",
            str(sum(case.failed)),
        ]
        for case in found
    ]
    few, many = found[-3:-1]
    ratio = median(mine / theirs for mine, theirs in zip(many.cpus, few.cpus, strict=True))
    return "\n\n".join([run, table(heads, body), f"A page of the large table by one of the small, CPU: {ratio:.2f}."])
