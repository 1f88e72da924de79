"""Measure what slow clients cost all other clients of a running gateway.

Each attack opens connections as a slow client does, and holds them. During the attack another client sends one request
of each kind after the other. The output is the longest time of each kind before and during the attack, and the
statuses that the slow clients got. The exit status is 1 if a request took longer than `--within`.

Start the gateway with ./manage_all.sh up: the demo users sign in. Attack only your own gateway.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import json
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

MAX_CONNECTIONS: Final = 2000
MAX_SECONDS: Final = 300.0
# Seconds after which a request of the other client counts as failed.
GIVE_UP: Final = 20.0
# One of the largest files that the gateway serves.
STATIC: Final = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
JSON: Final = "Content-Type: application/json"
ORDER: Final = json.dumps({"item": "book", "address": "Main street 1"}).encode()


@dataclass
class Target:
    """The gateway, and the tokens of the attackers' user and of the other client."""

    host: str
    port: int
    attacker: str = ""
    other: str = ""

    async def open(self, receive_buffer: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect. With a `receive_buffer` the kernel accepts about that many bytes for a client that does not read."""
        found = (await asyncio.get_running_loop().getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM))[0]
        made = socket.socket(found[0], socket.SOCK_STREAM)
        made.setblocking(False)
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(made, found[4])
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return await asyncio.open_connection(sock=made, limit=4096)
        except BaseException:
            made.close()
            raise

    async def ask(self, line: str, *headers: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return status and content of a request on a connection of its own."""
        reader, writer = await self.open()
        try:
            writer.write(head(line, *headers, "Connection: close", f"Content-Length: {len(body)}") + body)
            response = await reader.read(-1)
        finally:
            writer.transport.abort()
        return status_of(response), response.partition(b"\r\n\r\n")[2]

    async def sign_in(self, username: str, password: str) -> str:
        """Return an access token."""
        status, content = await self.ask(
            "POST /api/login", JSON, body=json.dumps({"username": username, "password": password}).encode()
        )
        if status != 200:
            sys.exit(f"Signing in as {username} failed with {status}. Start the gateway with its demo users.")
        token = re.search(rb'"access_token": ?"([^"]+)"', content)
        assert token
        return token[1].decode()


def head(line: str, *headers: str) -> bytes:
    """Return a request's headers."""
    return "\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def status_of(response: bytes) -> int:
    """Return a response's status, or 0 without one."""
    final = re.sub(rb"\AHTTP/1\.1 100 [^\r]*\r\n\r\n", b"", response)
    return int(final[9:12]) if final.startswith(b"HTTP/1.1 ") else 0


# What the attackers send.

Sends = Callable[[Target, asyncio.StreamWriter], Awaitable[None]]


def slow_body(path: str, *headers: str, kind: str = JSON) -> Sends:
    """Announce a body of a thousand bytes and send one."""

    async def send(target: Target, writer: asyncio.StreamWriter) -> None:
        writer.write(head(f"POST {path}", kind, "Content-Length: 1000", *headers))
        writer.write(b"{")

    return send


def stopped_upload(request: str, *headers: str) -> Sends:
    """Send 90,000 of 200,000 bytes, signed in."""

    async def send(target: Target, writer: asyncio.StreamWriter) -> None:
        writer.write(
            head(request, JSON, f"Authorization: Bearer {target.attacker}", "Content-Length: 200000", *headers)
        )
        writer.write(b" " * 90_000)

    return send


def drip(request: str, *headers: str) -> Sends:
    """Send one byte every five seconds."""

    async def send(target: Target, writer: asyncio.StreamWriter) -> None:
        writer.write(head(request, JSON, f"Authorization: Bearer {target.attacker}", "Content-Length: 1000", *headers))
        while True:
            writer.write(b" ")
            await asyncio.sleep(5)

    return send


async def unread(target: Target, writer: asyncio.StreamWriter) -> None:
    """Request a large file a hundred times and read nothing."""
    writer.write(head(f"GET {STATIC}") * 100)


HTML: Final = "Accept: text/html"
FORM: Final = "Content-Type: application/x-www-form-urlencoded"
ATTACKS: Final[Mapping[str, Sends]] = {
    "slow-body": slow_body("/api/login"),
    "slow-form": slow_body("/login/", "Origin: http://localhost", kind=FORM),
    "slow-refresh": slow_body("/api/token/refresh"),
    "slow-expect": slow_body("/api/login", "Expect: 100-continue"),
    "stopped-upload": stopped_upload("POST /api/orders"),
    # Not an order: the rate limit of that route would reject most of the attackers.
    "stopped-upload-page": stopped_upload("PATCH /api/users/me", HTML),
    "drip": drip("PATCH /api/users/me"),
    "drip-page": drip("PATCH /api/users/me", HTML),
    "unread": unread,
}

DESCRIPTIONS: Final[Mapping[str, str]] = {
    "slow-body": "a login with one byte of its body",
    "slow-form": "a login form with one byte of its body",
    "slow-refresh": "a token refresh with one byte of its body",
    "slow-expect": "a login that expects 100-continue and sends one byte",
    "stopped-upload": "an upload to the orders service that stops half-way",
    "stopped-upload-page": "the same from a browser",
    "drip": "a body of one byte every five seconds",
    "drip-page": "the same from a browser",
    "unread": "a hundred large responses that the client does not read",
}

# What the other client sends.

Ask = Callable[[Target], Awaitable[tuple[int, bytes]]]
KINDS: Final[Mapping[str, Ask]] = {
    "/healthz": lambda target: target.ask("GET /healthz"),
    "JWKS": lambda target: target.ask("GET /.well-known/jwks.json"),
    "sign-in page": lambda target: target.ask("GET /login/", HTML),
    "sign-in": lambda target: target.ask("POST /api/login", JSON, body=b'{"username": "user", "password": "u"}'),
    "API GET": lambda target: target.ask("GET /api/users/me", f"Authorization: Bearer {target.other}"),
    "API POST": lambda target: target.ask(
        "POST /api/orders", JSON, f"Authorization: Bearer {target.other}", body=ORDER
    ),
    "API page": lambda target: target.ask("GET /api/orders", HTML, f"Authorization: Bearer {target.other}"),
}


@dataclass
class Outcome:
    """The longest time of each kind of request before and during the attack, and the statuses of the attackers."""

    before: dict[str, float] = field(default_factory=dict)
    during: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    memory_before: int = 0
    memory: int = 0

    @property
    def slowest(self) -> float:
        """The longest time of any request during the attack."""
        return max(self.during.values())


async def each_kind(target: Target, times: dict[str, float], wrong: list[str]) -> None:
    """Send a request of each kind; record how long it took, and any status but 200 and 201."""
    for kind, ask in KINDS.items():
        began = time.monotonic()
        try:
            async with asyncio.timeout(GIVE_UP):
                status, _ = await ask(target)
        except (TimeoutError, OSError) as exc:
            status = 0
            wrong.append(f"{kind}: {exc!r}")
        times[kind] = max(times.get(kind, 0.0), time.monotonic() - began)
        if status not in {0, 200, 201}:
            wrong.append(f"{kind}: {status}")


async def hold(target: Target, sends: Sends, statuses: Counter[int], *, reads: bool) -> None:
    """Act as one slow client until the task is cancelled or the gateway closes the connection."""
    with contextlib.suppress(OSError):
        reader, writer = await target.open(0 if reads else 4096)
        response = b""
        sending = asyncio.create_task(sends(target, writer))  # type: ignore[arg-type]  # they are coroutines
        try:
            if not reads:
                await asyncio.Event().wait()
            while piece := await reader.read(4096):
                response += piece
        finally:
            statuses[status_of(response)] += 1
            sending.cancel()
            writer.transport.abort()


async def attack(target: Target, name: str, *, connections: int, seconds: float, pids: list[int]) -> Outcome:
    """Run the attack for this many seconds, or for one request of each kind if that takes longer."""
    outcome = Outcome(memory_before=memory(pids))
    # The first requests fill caches, so they are not measured.
    await each_kind(target, {}, outcome.wrong)
    await each_kind(target, outcome.before, outcome.wrong)
    held = [
        asyncio.create_task(hold(target, ATTACKS[name], outcome.statuses, reads=name != "unread"))
        for _ in range(connections)
    ]
    try:
        # Wait until all are connected.
        await asyncio.sleep(min(1.0, seconds))
        ends = time.monotonic() + seconds
        while True:
            await each_kind(target, outcome.during, outcome.wrong)
            outcome.memory = max(outcome.memory, memory(pids))
            if time.monotonic() >= ends:
                return outcome
            # The route of the orders accepts 120 requests a minute.
            await asyncio.sleep(1.0)
    finally:
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)


def memory(pids: list[int]) -> int:
    """Return the resident memory of the largest of the processes, in bytes."""
    sizes = [0]
    for pid in pids:
        found = re.search(r"^VmRSS:\s+([0-9]+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        sizes.append(int(found[1]) * 1024 if found else 0)
    return max(sizes)


def is_loopback(host: str) -> bool:
    """Return whether all addresses of the host are loopback addresses."""
    addresses = {found[4][0] for found in socket.getaddrinfo(host, None)}
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.attacks",
        usage="%(prog)s [options] URL",
        description=__doc__,
        epilog="attacks:\n" + "\n".join(f"  {name:21} {text}" for name, text in DESCRIPTIONS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="the gateway, for example http://localhost:8001")
    parser.add_argument(
        "--attack",
        metavar="NAME",
        action="append",
        choices=ATTACKS,
        help="run this one; may be repeated (default: all)",
    )
    parser.add_argument("--connections", metavar="N", type=int, default=200, help="slow clients at once (200)")
    parser.add_argument("--seconds", metavar="N", type=float, default=10.0, help="length of each attack (10)")
    parser.add_argument(
        "--within", metavar="N", type=float, default=0.5, help="seconds that other requests may take (0.5)"
    )
    parser.add_argument(
        "--pid", type=int, action="append", default=[], help="print the memory of this worker; may be repeated"
    )
    parser.add_argument("--not-loopback", action="store_true", help="accept a URL of another machine, which is yours")
    given = parser.parse_args()
    given.host, given.port = urlsplit(given.url).hostname, urlsplit(given.url).port or 80
    if urlsplit(given.url).scheme != "http" or not given.host:
        parser.error(f"{given.url} is not an http:// URL. Use one like http://localhost:8001.")
    if not (given.not_loopback or is_loopback(given.host)):
        parser.error(f"{given.host} is not a loopback address. If the gateway is yours, add --not-loopback.")
    if not (0 < given.connections <= MAX_CONNECTIONS and 0 < given.seconds <= MAX_SECONDS):
        parser.error(f"Use 1 to {MAX_CONNECTIONS} connections and at most {MAX_SECONDS:.0f} seconds.")
    return given


async def main() -> int:
    """Run the attacks of the command line."""
    given = arguments()
    target = Target(given.host, given.port)
    target.attacker, target.other = await target.sign_in("user", "u"), await target.sign_in("admin", "a")
    failed = False
    for name in given.attack or ATTACKS:
        outcome = await attack(target, name, connections=given.connections, seconds=given.seconds, pids=given.pid)
        is_slow = outcome.slowest > given.within or bool(outcome.wrong)
        failed |= is_slow
        print(f"{name}: {'SLOW' if is_slow else 'ok'}")  # noqa: T201  # a command
        for kind, seconds in outcome.during.items():
            print(f"  {kind:13} {outcome.before[kind] * 1000:8.1f} ms before, {seconds * 1000:8.1f} ms at most during")  # noqa: T201
        statuses = ", ".join(f"{count} x {status or 'none'}" for status, count in outcome.statuses.items())
        print(f"  statuses of the slow clients: {statuses}")  # noqa: T201
        if given.pid:
            print(f"  memory: {outcome.memory_before / 2**20:.0f} MiB before, {outcome.memory / 2**20:.0f} at most")  # noqa: T201
        for what in sorted(set(outcome.wrong)):
            print(f"  expected 200: {what}")  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
