"""Measure this gateway beside others: `./manage_all.sh bench --help`."""

import argparse
import os
import platform
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import jwt
from tests.conformance.gateways import Gateway, free_port

from gateway.identity.key_storage import KeyFiles
from gateway.identity.keys import key_create

from . import chains, compare, faults, orders, report
from .idle import Idle, idle, raise_descriptors, visit
from .load import CROWD, HALF, LOADS, MANY, Load, Sample, measure
from .peers import BODY, PATH, PEERS, SCALED, WHOAMI, Peer, Place, nginx
from .processes import BenchError, Server, ask, interpreter, kill_children
from .report import Samples

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT, CHART = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks.svg"
NAMES = [peer.name for peer in PEERS]
# Those that are measured with hundreds of busy connections and with thousands of idle ones.
CROWDED = {"envoy", "nginx", "fastify", "fast"}


def say(text: str) -> None:
    """Say how it goes, beside the report."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="manage_all.sh bench", description="Measure this gateway beside others.")
    parser.add_argument(
        "--rounds", type=int, help="how often each is measured (5; 20 in a comparison; 3 with --faults)"
    )
    parser.add_argument("--seconds", type=int, default=2, help="how long each time (2)")
    parser.add_argument(
        "--only", action="append", metavar="NAME", choices=NAMES, help=f"may repeat: {', '.join(NAMES)}"
    )
    parser.add_argument(
        "--against", type=Path, metavar="PATH", help="compare the fast door with that of another checkout instead"
    )
    parser.add_argument("--policies", action="store_true", help="compare all policies with the defaults instead")
    parser.add_argument("--tracing", action="store_true", help="compare spans with none instead")
    parser.add_argument(
        "--faults", action="store_true", help="let addresses of a service fail, behind the gateway and behind Envoy"
    )
    parser.add_argument("--orders", action="store_true", help="measure the orders service instead")
    parser.add_argument(
        "--rows", type=int, default=5_000_000, help="with --orders: orders in its large table (5000000)"
    )
    parser.add_argument("--publish", action="store_true", help="put the results into docs/benchmarks.md")
    return parser.parse_args()


def chosen(only: Sequence[str] | None) -> tuple[list[Peer], list[str]]:
    """Return the gateways to measure, and what the report has to say about those that are not."""
    peers = [peer for peer in PEERS if not only or peer.name in only]
    missing = [peer for peer in peers if peer.needs and not shutil.which(peer.needs)]
    return [peer for peer in peers if peer not in missing], [
        f"{peer.title} was left out: there is no `{peer.needs}` here." for peer in missing
    ]


def pinning() -> tuple[tuple[str, ...], list[str]]:
    """Keep this process, the load program and nginx on one core; return what keeps a gateway on another."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return (), ["Not pinned: there is one core for the load program, nginx and the gateways."]
    os.sched_setaffinity(0, {cores[0]})
    return ("taskset", "-c", str(cores[1])), []


def checked(peer: Peer, server: Server, place: Place, token: str) -> None:
    """Raise `BenchError` unless the gateway forwards what it should, and nothing else."""
    claims = jwt.decode(token, options={"verify_signature": False})
    head = {"kid": place.key.kid}
    expired = jwt.encode(claims | {"exp": int(time.time()) - 3600}, place.key.private, "ES256", head)
    # A well-formed signature, of other claims.
    forged = ".".join([*token.split(".")[:2], expired.rpartition(".")[2]])
    told = {"Authorization": f"Bearer {token}", "request-user-id": "1"}
    cases = [
        ("a good token", PATH, told, (200, BODY)),
        ("who is asking", WHOAMI, told, (200, "2")),
        ("no token", PATH, {}, (401, None)),
        ("a forged token", PATH, {"Authorization": f"Bearer {forged}"}, (401, None)),
        ("an expired token", PATH, {"Authorization": f"Bearer {expired}"}, (401, None)),
    ]
    # The good token twice: what is remembered of it must not let the others in.
    for what, path, headers, (status, body) in [*cases, *cases]:
        got = ask(server.port, path, headers)
        if got[0] != status or (body is not None and got[1] != body):
            raise BenchError(f"{peer.name}, {what}: expected {status} {body or ''}, got {got[0]} {got[1][:200]}")


@contextmanager
def place(directory: Path, pin: tuple[str, ...]) -> Iterator[Place]:
    """Yield where the gateways run, with a key that all of them accept tokens of."""
    with TemporaryDirectory(dir=directory, prefix="run-") as own:
        keys = Path(own) / "keys"
        keys.mkdir()
        key = key_create(KeyFiles(keys))
        yield Place(Path(own), directory, free_port(), keys / f"{key.kid}.pem", pin)


def write_users(place: Place) -> Path:
    """Return a directory with files of tokens, a token a line: of one user, and of 10,000."""
    directory = place.own("users")
    signer = Gateway("drf", directory, {})
    head = {"kid": place.key.kid}
    for name, count in (("user", 1), ("many", 10_000)):
        tokens = (
            jwt.encode(signer.claims(str(number), ttl=86400), place.key.private, "ES256", head)
            for number in range(2, 2 + count)
        )
        (directory / name).write_text("".join(f"{token}\n" for token in tokens))
    return directory


def in_rounds(
    options: argparse.Namespace, servers: Mapping[str, Server], loads: Mapping[str, Sequence[Load]], users: Path
) -> Samples:
    """Measure all in turn, round by round; `loads` are those of each server. The first round warms up."""
    samples: dict[str, dict[str, list[Sample]]] = {}
    upstream = servers[report.DIRECT]
    for number in range(options.rounds + 1):
        # There and back, so that a drift of the machine's speed hits all alike.
        for name, server in list(servers.items())[:: 1 if number % 2 else -1]:
            rate = 0.0
            for load in loads.get(name, ()):
                # Half of what the load before it, the same at full rate, has reached.
                paced = rate / 2 if load is HALF else None
                sample = measure(server, upstream, load, users, options.seconds, paced)
                rate = sample.rate
                if number:
                    samples.setdefault(load.name, {}).setdefault(name, []).append(sample)
                    say(f"{number}/{options.rounds}  {name:16} {load.title:45} {rate:9,.0f}/s  {sample.cpu:8.1f} µs")
    return samples


def measured(
    options: argparse.Namespace, peers: Sequence[Peer], place: Place, loads: Mapping[str, Sequence[Load]]
) -> tuple[Samples, dict[str, tuple[float, Idle | None]]]:
    """Start all, check all, measure them; return the samples, and of each the seconds of its start and its memory."""
    with ExitStack() as running:
        servers = {report.DIRECT: running.enter_context(nginx(place))}
        users = write_users(place)
        token = (users / "user").read_text().strip()
        for peer in peers:
            say(f"starting {peer.name}")
            servers[peer.name] = running.enter_context(peer.start(place))
            checked(peer, servers[peer.name], place, token)
            if MANY in loads[peer.name]:
                visit(servers[peer.name], MANY, users)
        samples = in_rounds(options, servers, loads, users)
        found = {
            peer.name: (servers[peer.name].started, idle(servers[peer.name], token) if peer.name in CROWDED else None)
            for peer in peers
        }
        return samples, found


def processor() -> str:
    """Return what the processor calls itself."""
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def bench(options: argparse.Namespace, directory: Path) -> int:
    """Measure, print, write; return the exit status."""
    cores = len(os.sched_getaffinity(0))
    peers, notes = chosen(options.only)
    pin, unpinned = pinning()
    notes += unpinned
    if (load := os.getloadavg()[0]) > cores / 2:
        notes.append(f"Other programs used the machine (load average {load:.1f}): compare ratios, not rates.")
    for note in notes:
        say(note)
    raise_descriptors()
    every = (*LOADS[:2], HALF, *LOADS[2:])
    loads = {peer.name: (*every, CROWD) if peer.name in CROWDED else every for peer in peers}
    loads |= {report.DIRECT: LOADS[1:2], "fast-1000": (MANY,)}
    with place(directory, pin) as where:
        samples, found = measured(options, peers, where, loads)
    if pin and not options.only:
        os.sched_setaffinity(0, range(cores))
        with place(directory, ()) as where:
            scaled = replace(LOADS[1], name="scaled")
            more, _ = measured(options, SCALED, where, {peer.name: (scaled,) for peer in SCALED})
            samples = {**samples, **more}
    titles = {peer.name: peer.title for peer in peers if peer.name != "fast-1000"}
    run = {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "cores": cores,
        "python": interpreter(),
        "notes": notes,
        "rounds": options.rounds,
        "seconds": options.seconds,
    }
    text = report.text(run, samples, titles, found)
    print(text)  # noqa: T201
    report.write(directory, run, samples, titles)
    if failed := report.failures(samples):
        say(f"requests failed: {failed}")
        return 1
    if options.publish:
        DOCUMENT.write_text(report.published(DOCUMENT.read_text(), text))
        CHART.write_text(report.chart(samples, titles))
    return 0


def bench_orders(options: argparse.Namespace, directory: Path) -> int:
    """Measure the orders service, print, publish; return the exit status."""
    cores = os.sched_getaffinity(0)
    pin, notes = pinning()
    how = orders.Options(options.rows, options.rounds, options.seconds, warm_up=1, connections=32)
    directory.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=directory, prefix="run-") as own:
        found = orders.measured(Path(own), how, pin)
        os.sched_setaffinity(0, cores)
        chained = chains.measured(Path(own) / "chains", directory, how)
    where = f"{datetime.now(UTC).date()}, {processor()}, {len(cores)} cores, {interpreter()}"
    run = f"{where}; {how.connections} connections, {how.rounds} rounds of {how.seconds:g} s each."
    text = "\n\n".join([orders.text("\n\n".join([run, *notes]), found), chains.text(chained)])
    print(text)  # noqa: T201
    if options.publish:
        DOCUMENT.write_text(report.published(DOCUMENT.read_text(), text, orders.BEGIN, orders.END))
    every = [*found, *(case for each in chained for case in each.cases.values())]
    return int(any(sum(case.failed) for case in every))


def bench_faults(options: argparse.Namespace, directory: Path) -> int:
    """Let addresses fail behind this gateway and Envoy, print, publish; return the exit status."""
    faults.check(directory)
    rounds = options.rounds or 3
    with TemporaryDirectory(dir=directory, prefix="run-") as own:
        found = faults.measured(Path(own), directory, rounds)
    cores = len(os.sched_getaffinity(0))
    run = f"{datetime.now(UTC).date()}, {processor()}, {cores} cores, {interpreter()}; {rounds} rounds"
    load = f"load average {os.getloadavg()[0]:.0f}"
    text = f"{run}, {faults.RATE} requests/s to each gateway, {load}.\n\n{faults.text(found)}"
    print(text)  # noqa: T201
    if options.publish:
        DOCUMENT.write_text(report.published(DOCUMENT.read_text(), text, faults.BEGIN, faults.END))
    return int(bool(faults.worse(found)))


def bench_against(options: argparse.Namespace, directory: Path) -> int:
    """Compare the fast door with another checkout's, or policies or spans with none; return the exit status."""
    failed = 0
    comparisons = compare.checkouts(options.against) if options.against else compare.policies()
    for peers in compare.tracing() if options.tracing else comparisons:
        with place(directory, ()) as where, ExitStack() as running:
            users = write_users(where)
            upstream = running.enter_context(nginx(where))
            servers = []
            for peer in peers:
                servers.append(running.enter_context(peer.start(where)))
                checked(peer, servers[-1], where, (users / "user").read_text().strip())
            pairs = compare.measured(servers, upstream, users, options.rounds or 20)
        print(f"{peers[0].title}, load average {os.getloadavg()[0]:.0f}\n\n{compare.text(pairs, peers[1].title)}\n")  # noqa: T201
        failed += sum(sample.failed for pair in pairs for sample in [*pair.ours, *pair.theirs])
    return int(failed > 0)


def leave(number: int, frame: FrameType | None) -> None:
    """End at the first signal, undisturbed by a second one while all that was started is stopped."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> int:
    """Run the benchmark; return the exit status."""
    options = arguments()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, leave)
    directory = Path(os.environ["GATEHOUSE_VAR"]) / "bench"
    try:
        if options.against or options.policies or options.tracing:
            return bench_against(options, directory)
        if options.faults:
            return bench_faults(options, directory)
        options.rounds = options.rounds or 5
        return (bench_orders if options.orders else bench)(options, directory)
    except BenchError as exc:
        say(f"manage_all.sh bench: {exc}")
        return 1
    finally:
        kill_children()


sys.exit(main())
