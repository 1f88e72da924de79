"""One measurement: wrk against one server, and what that server's processes used meanwhile."""

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .peers import PATH
from .processes import BenchError, Server, ask, cpu_seconds

SCRIPT = Path(__file__).parent / "wrk.lua"


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


def upstream_requests(upstream: Server) -> int:
    """Return how many requests nginx has had, this one included (its `stub_status`)."""
    found = re.search(r"\n \d+ \d+ (\d+) \n", ask(upstream.port, "/status")[1])
    if not found:
        raise BenchError("expected nginx's stub_status")
    return int(found[1])


def measure(server: Server, upstream: Server, *, token: str, connections: int, seconds: float) -> Sample:
    """Load the server for that long. A request fails with a bad status, a broken connection, or no visit upstream."""
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds:g}s", "-s", str(SCRIPT)]
    seen, used, began = upstream_requests(upstream), cpu_seconds(server.session), time.monotonic()
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}{PATH}"],
        env={**os.environ, "BENCH_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    used, lasted = cpu_seconds(server.session) - used, time.monotonic() - began
    seen = upstream_requests(upstream) - seen - 1
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed\n{done.stdout}{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    requests = result["requests"]
    if not requests:
        raise BenchError(f"expected answers, got none\n{done.stdout}{done.stderr}")
    return Sample(
        rate=requests / result["seconds"],
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
        cpu=used / requests * 1e6,
        busy=used / lasted,
        requests=requests,
        failed=result["broken"] + max(result["refused"], requests - seen),
    )
