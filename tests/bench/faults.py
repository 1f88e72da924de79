"""Addresses of a service that fail under load, behind this gateway and behind Envoy with the same policies.

`./manage_all.sh bench --faults`. Each gateway has addresses of its own, and both meet each fault at the same time: a
machine with other work is slower for both. Requests come at a constant rate, and their times count from when they were
due (`paced` says why).
"""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from statistics import median
from tempfile import mkdtemp

from tests.conformance.gateways import Gateway
from tests.ports import free_port, swallowing_port

from . import envoy_faults
from .paced import is_whole
from .processes import BenchError, served
from .report import table

BEGIN, END = (
    "<!-- results of the faults, written by ./manage_all.sh bench --faults --publish -->",
    ("<!-- end of the results of the faults -->"),
)
OURS, ENVOY = "Gatehouse", "Envoy"
# Requests a second to each gateway; seconds before the fault; and how long a gateway has to forget it.
RATE = 50
BEFORE = 4.0
PATIENCE = 40.0
# The timeouts of both gateways, in seconds.
CONNECT, TOTAL = 1.0, 2.0
# What two figures may differ by without one being worse: a share, milliseconds and seconds.
SHARE, MS, SECONDS = 0.1, 10.0, 0.5


@dataclass(frozen=True)
class Fault:
    """What happens to the first of `addresses`; `dead` ones drop SYNs or refuse connections all the time."""

    name: str
    title: str
    addresses: int
    seconds: float
    # Nothing happens without one.
    how: signal.Signals | None = None
    dead: tuple[str, ...] = ()

    @property
    def is_outage(self) -> bool:
        """Whether no address is left."""
        return self.how is not None and self.addresses == 1


FAULTS = (
    Fault("killed", "one of three addresses killed for 5 s", 3, 5, signal.SIGKILL),
    Fault("dead", "one of four swallows SYNs, one refuses", 2, 10, dead=("swallows", "refuses")),
    Fault("hangs", "one of two hangs for 6 s", 2, 6, signal.SIGSTOP),
    Fault("outage", "the only one is down for 10 s", 1, 10, signal.SIGKILL),
)


class Address:
    """One address of a service, as a process."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.port = free_port()
        self.start()

    def start(self) -> None:
        script = str(Path(__file__).with_name("address.py"))
        self.process = subprocess.Popen([sys.executable, "-S", script, str(self.port), str(self.number)])

    async def ready(self) -> None:
        """Return once it accepts connections."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.005)

    def fail(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        if how == signal.SIGKILL:
            self.process.wait()

    async def recover(self) -> float:
        """Let it work again; return when it did."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        else:
            self.start()
        await self.ready()
        return time.monotonic()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Request:
    """One request: when it was due, its seconds, its status (0 without a response) and the address that responded."""

    due: float
    seconds: float
    status: int
    body: str = ""


@dataclass
class Run:
    """What one gateway made of one fault: its requests, and when the fault began and ended."""

    fault: Fault
    requests: list[Request] = field(default_factory=list)
    begin: float = inf
    end: float = inf

    @property
    def failed(self) -> int:
        """How many requests failed; in an outage, of those after it."""
        first = self.end if self.fault.is_outage else 0.0
        return sum(each.status != 200 for each in self.requests if each.due >= first)

    def p99_ms(self, begin: float, end: float) -> float:
        """Return the 99th percentile of the times of requests that were due then; 0 without any."""
        times = sorted(each.seconds for each in self.requests if begin <= each.due < end)
        return times[int(len(times) * 0.99)] * 1000 if times else 0.0

    @property
    def before_ms(self) -> float:
        # A request that is due just before the fault may meet it.
        return self.p99_ms(self.begin - 0.75 * BEFORE, self.begin - 0.25 * BEFORE)

    @property
    def during_ms(self) -> float:
        return self.p99_ms(self.begin, self.end)

    @property
    def forgotten(self) -> float | None:
        """The seconds from the end of the fault to the first response of its address; `None` if there is no end."""
        if self.fault.how is None:
            return None
        ends = (
            each.due + each.seconds
            for each in self.requests
            if each.due >= self.end and each.status == 200 and each.body == "0"
        )
        return min(ends, default=inf) - self.end


class Client:
    """Sends requests to one gateway at a constant rate, each on an idle connection or a new one."""

    def __init__(self, port: int, run: Run) -> None:
        self.port = port
        self.run = run
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def load(self, until: Callable[[], bool]) -> None:
        """Send until the condition holds, and return once all is over."""
        begin, sent = time.monotonic(), 0
        while not until():
            due = begin + sent / RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self.send(due))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            sent += 1
        await asyncio.gather(*self.tasks)
        for _, writer in self.idle:
            writer.close()

    async def send(self, due: float) -> None:
        status, body = 0, ""
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(3 * TOTAL):
                status, body = await self.exchange()
        self.run.requests.append(Request(due, time.monotonic() - due, status, body))

    async def exchange(self) -> tuple[int, str]:
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /things HTTP/1.1\r\nHost: localhost\r\n\r\n")
        response = b""
        while not is_whole(response):
            data = await reader.read(65536)
            if not data:
                writer.close()
                return 0, ""
            response += data
        self.idle.append((reader, writer))
        return int(response[9:12]), response.rpartition(b"\r\n\r\n")[2].decode(errors="replace")


@contextmanager
def gatehouse(directory: Path, ports: Sequence[int]) -> Iterator[int]:
    """Run the fast door with one worker; its policies are the defaults."""
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    config = {
        "services": {"things": {"url": urls, "timeouts": {"connect": f"{CONNECT:g}s", "total": f"{TOTAL:g}s"}}},
        "routes": [{"path": "/things", "service": "things", "allow": "public"}],
    }
    with Gateway("fast", Path(mkdtemp(dir=directory)) / "var", config, measured=False) as gateway:
        yield gateway.port


def envoy(installed: Path) -> Callable[[Path, Sequence[int]], "Iterator[int]"]:
    """Return what runs Envoy with one thread."""

    @contextmanager
    def start(directory: Path, ports: Sequence[int]) -> Iterator[int]:
        own, port = Path(mkdtemp(dir=directory)), free_port()
        config = own / "envoy.json"
        config.write_text(json.dumps(envoy_faults.config(port, ports, CONNECT, TOTAL)))
        (program,) = installed.glob("venv/lib/python3*/site-packages/envoy/_bin/envoy")
        command = [str(program), "-c", str(config), "--concurrency", "1", "--disable-hot-restart"]
        with served([*command, "--log-level", "warn"], port, own / "log"):
            yield port

    return start


async def meet(fault: Fault, port: int, addresses: Sequence[Address]) -> Run:
    """Load one gateway before, during and after the fault."""
    run = Run(fault)
    over = asyncio.Event()
    loading = asyncio.create_task(Client(port, run).load(over.is_set))
    if fault.how is None:
        run.begin = time.monotonic()
        await asyncio.sleep(fault.seconds)
        run.end = time.monotonic()
    else:
        await asyncio.sleep(BEFORE)
        run.begin = time.monotonic()
        addresses[0].fail(fault.how)
        await asyncio.sleep(fault.seconds)
        run.end = await addresses[0].recover()
        deadline = run.end + PATIENCE
        while run.forgotten == inf and time.monotonic() < deadline:  # noqa: ASYNC110  # of what it notes itself
            await asyncio.sleep(0.1)
        # Whether it stays so.
        await asyncio.sleep(2)
    over.set()
    await loading
    return run


def measured(directory: Path, installed: Path, rounds: int) -> dict[str, dict[str, list[Run]]]:
    """Let both gateways meet each fault; return their runs, by fault and gateway."""
    found: dict[str, dict[str, list[Run]]] = {}
    for number in range(rounds):
        for fault in FAULTS:
            runs = asyncio.run(side_by_side(fault, directory, installed))
            for name, run in runs.items():
                found.setdefault(fault.name, {}).setdefault(name, []).append(run)
                forgotten = "" if run.forgotten is None else f"; forgotten after {run.forgotten:.2f} s"
                print(  # noqa: T201
                    f"{number + 1}/{rounds}  {fault.title:40} {name:10} {run.failed} failed; "
                    f"p99 {run.during_ms:.0f} ms{forgotten}",
                    file=sys.stderr,
                    flush=True,
                )
    return found


async def side_by_side(fault: Fault, directory: Path, installed: Path) -> dict[str, Run]:
    """Let both gateways meet the fault at the same time."""
    with ExitStack() as running:
        dead = {"swallows": running.enter_context(swallowing_port()), "refuses": free_port()}
        meeting = {}
        for name, start in ((OURS, gatehouse), (ENVOY, envoy(installed))):
            addresses = [Address(number) for number in range(fault.addresses)]
            for address in addresses:
                running.callback(address.close)
                await address.ready()
            ports = [*(dead[each] for each in fault.dead), *(address.port for address in addresses)]
            meeting[name] = running.enter_context(start(directory, ports)), addresses
        runs = await asyncio.gather(*(meet(fault, port, addresses) for port, addresses in meeting.values()))
        return dict(zip(meeting, runs, strict=True))


# The runs of all rounds, by fault and gateway.
Runs = Mapping[str, Mapping[str, Sequence[Run]]]


def figures(runs: Sequence[Run]) -> dict[str, float]:
    """Return the figures of one row: all failures, and medians over the rounds."""
    row = {
        "failed": float(sum(run.failed for run in runs)),
        "before": median(run.before_ms for run in runs),
        "p99": median(run.during_ms for run in runs),
    }
    times = [run.forgotten for run in runs if run.forgotten is not None]
    return row | ({"forgotten": median(times)} if times else {})


def worse(found: Runs) -> list[str]:
    """Return in which figures of which faults this gateway is worse than Envoy."""
    listed = []
    for fault in FAULTS:
        ours, envoy = (figures(found[fault.name][name]) for name in (OURS, ENVOY))
        bounds = {"failed": 0.0, "p99": SHARE * envoy["p99"] + MS, "forgotten": SECONDS}
        for figure, more in bounds.items():
            if ours.get(figure, 0.0) > envoy.get(figure, 0.0) + more:
                listed.append(f"{fault.title} ({figure})")
    return listed


def text(found: Runs) -> str:
    """Return the report as Markdown."""
    heads = ["fault", "gateway", "requests", "failed", "p99 ms before", "p99 ms during it", "forgotten after s"]
    body = []
    for fault in FAULTS:
        for name in (OURS, ENVOY):
            runs = found[fault.name][name]
            row = figures(runs)
            body.append(
                [
                    fault.title,
                    name,
                    str(sum(len(run.requests) for run in runs)),
                    f"{row['failed']:.0f}",
                    f"{row['before']:.1f}" if fault.how else "",
                    f"{row['p99']:.1f}",
                    f"{row['forgotten']:.2f}" if "forgotten" in row else "",
                ]
            )
    listed = worse(found)
    verdict = f"Gatehouse is worse than Envoy in: {', '.join(listed)}." if listed else "Gatehouse is worse in no row."
    return f"{table(heads, body)}\n\n{verdict}"


def check(installed: Path) -> None:
    """Raise `BenchError` unless Envoy is installed."""
    if not list(installed.glob("venv/lib/python3*/site-packages/envoy/_bin/envoy")):
        raise BenchError("Envoy is not installed; its package has no build for this machine")
