"""Orders behind a gateway, on all cores: this one's behind this gateway, FastAPI's behind FastAPI's."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.conformance.gateways import Gateway, free_port

from .orders import BODY, PLACING, TEN, Case, Options, exposing, in_turn, service
from .peers import HERE, Place, fastapi
from .processes import BenchError, Server, ask, served
from .report import table

OWN = "Gatehouse"
LIST, PLACE = "list of 10", "place"
# What FastAPI's are measured with: a name, which `fastapi_*.py` is the gateway, and where the service has its orders.
IN_MEMORY, IN_A_FILE = "sqlite://:memory:", "sqlite://{directory}/orders.sqlite3"
PEERS = (
    ("FastAPI as usual, in memory", "usual", IN_MEMORY),
    ("FastAPI as usual, in a file", "usual", IN_A_FILE),
    ("FastAPI, shared aiohttp, in memory", "aiohttp", IN_MEMORY),
    ("FastAPI, shared aiohttp, in a file", "aiohttp", IN_A_FILE),
    ("FastAPI, shared HTTPX, in memory", "httpx", IN_MEMORY),
)


@dataclass(frozen=True)
class Chain:
    """A gateway and the service behind it: `servers`, the gateway first, and what each request is measured with."""

    title: str
    servers: Sequence[Server]
    cases: Mapping[str, Case]


def chain(title: str, servers: Sequence[Server], gateway: Gateway) -> Chain:
    """Return the chain, once it has shown that it lists ten orders to their owner, places one, and wants a token."""
    headers = {user: {"Authorization": f"Bearer {gateway.token(user, ttl=86400)}"} for user in (TEN, PLACING)}
    status, body = ask(servers[0].port, "/api/orders", headers[TEN])
    found = json.loads(body)
    if status != 200 or len(found["results"] if isinstance(found, dict) else found) != 10:
        raise BenchError(f"{title}: expected ten orders, got {status} {body[:200]}")
    status, body = ask(servers[0].port, "/api/orders", headers[PLACING] | {"Content-Type": "application/json"}, BODY)
    if status != 201 or json.loads(body)["created_by"] != int(PLACING):
        raise BenchError(f"{title}: expected an order to be placed, got {status} {body[:200]}")
    if (status := ask(servers[0].port, "/api/orders", {})[0]) != 401:
        raise BenchError(f"{title}: expected 401 without a token, got {status}")
    cases = {LIST: Case(title, servers, headers[TEN]), PLACE: Case(title, servers, headers[PLACING], body=BODY)}
    return Chain(title, servers, cases)


@contextmanager
def fastapi_orders(place: Place, database: str) -> Iterator[Server]:
    """Start the FastAPI service, where one user has 10 orders."""
    own, port = place.own("fastapi-orders"), place.upstream_port
    uvicorn = [str(place.installed / "venv/bin/python"), "-m", "uvicorn", "--app-dir", str(HERE)]
    options = ["--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    environ = {"DATABASE_URL": database.format(directory=own)}
    with served([*uvicorn, *options, "fastapi_orders:app"], port, own / "log", environ) as server:
        for _ in range(10):
            status, body = ask(port, "/api/orders", {"request-user-id": TEN, "Content-Type": "application/json"}, BODY)
            if status != 201:
                raise BenchError(f"FastAPI's orders: expected 201, got {status} {body[:200]}")
        yield server


def measured(directory: Path, installed: Path, options: Options) -> list[Chain]:
    """Start all chains, and measure them in turn, round by round."""
    directory.mkdir()
    with ExitStack() as running:
        port = free_port()
        gateway = running.enter_context(Gateway("fast", directory / "gateway", exposing(port), measured=False))
        orders = running.enter_context(service(directory / "orders", gateway, port, 10, workers=2))
        chains = [chain(OWN, [Server(gateway.port, gateway.pid), orders], gateway)]
        (key_file,) = (gateway.var / "gateway" / "keys").glob("*.pem")
        for number, (title, kind, database) in enumerate(PEERS):
            (own := directory / f"peer-{number}").mkdir()
            place = Place(own, installed, free_port(), key_file, ())
            behind = running.enter_context(fastapi_orders(place, database))
            peer = running.enter_context(fastapi(kind)(place))
            chains.append(chain(title, [peer, behind], gateway))
        in_turn([case for each in chains for case in each.cases.values()], options)
        return chains


def text(chains: Sequence[Chain]) -> str:
    """Return the table as Markdown."""
    own = chains[0]
    rates = [f"{what}, requests/s" for what in (LIST, PLACE)]
    heads = ["gateway and orders, all cores", *rates, "Gatehouse's by this", "CPU µs/list", "p99 ms/list", "failed"]
    body = []
    for each in chains:
        listed, placed = each.cases[LIST], each.cases[PLACE]
        ratios = [
            median(mine / theirs for mine, theirs in zip(own.cases[what].rates, each.cases[what].rates, strict=True))
            for what in (LIST, PLACE)
        ]
        figures = [f"{median(listed.rates):,.0f}", f"{median(placed.rates):,.0f}"]
        compared = " and ".join(f"{ratio:.2f}" for ratio in ratios) if each is not own else ""
        failed = sum(sum(case.failed) for case in each.cases.values())
        body.append(
            [each.title, *figures, compared, f"{median(listed.cpus):,.0f}", f"{median(listed.p99s):.1f}", str(failed)]
        )
    return table(heads, body)
