"""One measurement: a load against one server, and the CPU time of its processes during it."""

import json
import os
import random
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .paced import paced
from .peers import PATH, VARIED
from .processes import BenchError, Server, ask, cpu_seconds

SCRIPT = Path(__file__).parent / "wrk.lua"


@dataclass(frozen=True)
class Load:
    """Requests of one kind. A varied one has another path, query and ETag each time; `users` is a file of tokens."""

    name: str
    title: str
    size: int = 0
    varied: bool = True
    connections: int = 32
    users: str = "user"
    routes: int = 9

    def text(self, token: str) -> str:
        """Return the request as it is sent, with `@PATH@` and `@TOKEN@` where it varies."""
        path = f"{VARIED}@PATH@" if self.varied else PATH
        headers = {"Authorization": f"Bearer {'@TOKEN@' if self.varied else token}"}
        return request_text(path, headers, '{"note":"' + "x" * (self.size - 11) + '"}' if self.size else "")


LOADS = (
    Load("get", "GET, repeated", varied=False),
    Load("varied", "GET, varied"),
    Load("post-200", "POST of 200 bytes, varied", size=200),
    Load("post-20k", "POST of 20 KiB, varied", size=20 * 1024),
)
CROWD = Load("crowd", "GET, varied, 512 connections", connections=512)
MANY = Load("many", "GET, varied, 1,000 routes and 10,000 users", users="many", routes=999)
# Measured at half the rate that the same gateway has with the load `varied`.
HALF = Load("half", "GET, varied, at half load")


@dataclass(frozen=True)
class Sample:
    """`rate` is in requests a second, `cpu` in microseconds a request, `busy` in cores, `failed` in requests."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu: float
    busy: float
    requests: int
    failed: int


def request_text(path: str, headers: Mapping[str, str], body: str = "") -> str:
    """Return a GET, or a POST of the JSON body, as it is sent."""
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", "Host: localhost", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body])


def upstream_requests(upstream: Server) -> int:
    """Return how many requests nginx has received, this one included (its `stub_status`)."""
    found = re.search(r"\n \d+ \d+ (\d+) \n", ask(upstream.port, "/status")[1])
    if not found:
        raise BenchError("expected nginx's stub_status")
    return int(found[1])


def wrk(port: int, text: str, connections: int, seconds: float, tokens: Path | None = None, routes: int = 1) -> Any:
    """Return wrk's figures for that request, sent as fast as it is answered."""
    # wrk takes whole seconds.
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds:g}s", "--timeout", "10s", "-s", str(SCRIPT)]
    environ = {
        "BENCH_REQUEST": text,
        "BENCH_TOKENS": str(tokens),
        "BENCH_ROUTES": str(routes),
        "BENCH_START": str(random.randrange(100_003)),
    }
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/"],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed\n{done.stdout}{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    if not result["requests"]:
        raise BenchError(f"expected responses, got none\n{done.stdout}{done.stderr}")
    return result


def measure(
    server: Server, upstream: Server, load: Load, users: Path, seconds: float, rate: float | None = None
) -> Sample:
    """Load the server for that long, fully or with `rate` requests a second.

    A request fails with a bad status, a broken connection, or no visit to the upstream.
    """
    tokens = users / load.users
    with tokens.open() as file:
        token = file.readline().strip()
    text = load.text(token)
    seen, used = upstream_requests(upstream), cpu_seconds(server.session)
    if rate is None:
        result = wrk(server.port, text, load.connections, seconds, tokens, load.routes)
    else:
        result = paced(server.port, varied(text, token, load.routes), load.connections, rate, seconds)
    used = cpu_seconds(server.session) - used
    seen = upstream_requests(upstream) - seen - 1
    requests = result["requests"]
    return Sample(
        rate=requests / result["seconds"],
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
        cpu=used / requests * 1e6,
        busy=used / result["seconds"],
        requests=requests,
        failed=result["broken"] + max(result["refused"], requests - seen),
    )


def varied(text: str, token: str, routes: int) -> Callable[[int], bytes]:
    """Return what makes the varied request of a number, as wrk.lua does."""
    before, _, after = text.replace("@TOKEN@", token).partition("@PATH@")
    start = random.randrange(100_003)

    def request(number: int) -> bytes:
        number += start
        return f"{before}{number % routes}/{number % 100_003}?page={number % 50}{after}".encode()

    return request
