"""A row of the table, and the functions that rows are written with.

`<name>` in a request is the token of that name (see `tokens`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.upstream import Answer

# What a header must be: exactly this, matching this, or absent.
Expected = str | re.Pattern[str] | None
Expectations = Mapping[str, Expected]

OK_BODY = b'{"ok": true}'


@dataclass(frozen=True)
class Sees:
    """The one request that the service receives. It has a passport if a user is signed in."""

    line: str
    headers: Expectations = field(default_factory=dict)
    body: bytes = b""
    passport: Mapping[str, object] | None = None
    framing: str | None = None


@dataclass(frozen=True)
class Gets:
    """One response. `problem` are members that the problem must have beside those of every problem. With `server`,
    the HTTP server may respond instead of the gateway, or close the connection.
    """

    statuses: frozenset[int]
    headers: Expectations = field(default_factory=dict)
    body: bytes | None = None
    problem: Mapping[str, object] | None = None
    server: bool = False
    framing: str | None = None


@dataclass(frozen=True)
class Case:
    """One row. `sees` is empty where nothing may reach the service, not even the beginning of a request, and `None`
    where it does not matter.
    """

    name: str
    sends: bytes
    sees: Sees | Sequence[Sees] | None = ()
    gets: Gets | Sequence[Gets] = ()
    answers: Sequence[Answer] = ()
    # Requests that are sent before, each on a connection of its own.
    before: Sequence[bytes] = ()
    # The gateway that trusts this machine as a proxy.
    trusted: bool = False
    # Sent after 100 (Continue).
    body: bytes | None = None
    # The client closes its sending direction.
    finishes: bool = False
    # The gateway may have begun to send the request on when it finds the fault.
    may_begin: bool = False


def ask(line: str, *headers: str | bytes, body: bytes | None = None, version: str = "1.1") -> bytes:
    """Return a request. It gets a `Host`, and a `Content-Length` where it has a body, unless the headers have them."""
    lines = [header.encode() if isinstance(header, str) else header for header in headers]
    names = {one.partition(b":")[0].lower() for one in lines}
    if b"host" not in names:
        lines.insert(0, b"Host: localhost")
    if body is not None and not names & {b"content-length", b"transfer-encoding"}:
        lines.append(b"Content-Length: %d" % len(body))
    head = b"\r\n".join([f"{line} HTTP/{version}".encode("latin-1"), *lines])
    return head + b"\r\n\r\n" + (body or b"")


def in_chunks(*parts: bytes, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """Return a body in chunked framing."""
    framed = [b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts]
    return b"".join(framed) + b"0\r\n" + trailers + b"\r\n"


def chunked(line: str, framed: bytes, *headers: str) -> bytes:
    """Return a request with that body, which is framed already."""
    return ask(line, "Transfer-Encoding: chunked", *headers, body=framed)


def answer(status: str, *headers: str | bytes, body: bytes | None = b"", **how: Any) -> Answer:
    """Return a response with a `Content-Length`; with `body=None`, without body and length."""
    lines = [header.encode() if isinstance(header, str) else header for header in headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return Answer(b"\r\n".join([f"HTTP/1.1 {status}".encode(), *lines]) + b"\r\n\r\n" + (body or b""), **how)


OK = answer("200 OK", "Content-Type: application/json", body=OK_BODY)


def sees(
    line: str,
    headers: Expectations | None = None,
    *,
    body: bytes = b"",
    passport: Mapping[str, object] | None = None,
    framing: str | None = None,
) -> Sees:
    """What the service must have seen."""
    return Sees(line, headers or {}, body, passport, framing)


def gets(
    status: int = 200, headers: Expectations | None = None, body: bytes | None = OK_BODY, framing: str | None = None
) -> Gets:
    """What the client must receive."""
    return Gets(frozenset({status}), headers or {}, body, framing=framing)


def problem(status: int, headers: Expectations | None = None, **members: object) -> Gets:
    """What the client must receive if the gateway rejects the request."""
    return Gets(frozenset({status}), headers or {}, problem=members)


def rejected(*statuses: int) -> Gets:
    """What the client must receive if the HTTP server may reject the request first."""
    return Gets(frozenset(statuses or {400}), server=True)


def signed(token: str) -> str:
    """Return the header with the token of that name."""
    return f"Authorization: Bearer <{token}>"


INVALID_TOKEN = {"WWW-Authenticate": re.compile(r'Bearer realm="api", error="invalid_token".*')}
USER = {"aud": "echo", "sub": "2", "role": "default", "username": "user2", "iss": "gatehouse", "token_type": "passport"}


def path(name: str, sent: str, seen: str) -> Case:
    """A path that is forwarded, in its canonical form."""
    return Case(name, ask(f"GET {sent}"), sees(f"GET {seen} HTTP/1.1"), gets())


def bad_path(name: str, sent: str) -> Case:
    """A path that can be read in two ways."""
    return Case(name, ask(f"GET {sent}"), gets=problem(400))
