"""Every case of the table, through both doors of a real gateway."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import jwt
import pytest
from tests.conformance import tokens
from tests.conformance.cases import CASES
from tests.conformance.cases.case import OK, Case, Expectations, Expected, Gets, Sees
from tests.conformance.client import Client, ConnectionBroken, Reply, once
from tests.conformance.conftest import Fleet
from tests.conformance.gateways import DOORS, Door, Gateway
from tests.conformance.upstream import Seen, Upstream

NAMED = re.compile(rb"<([a-z0-9-]+)>")
# Asks whether the connection is still in step: anything left over would come before the answer.
PING = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
# Hop-by-hop and reserved headers: not in a request or a response unless the case expects them.
# draft-ietf-httpapi-ratelimit-headers-11, section 5.1.
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
BETWEEN_NEIGHBOURS = ["Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Upgrade", "Expect", "Forwarded", "X-Real-IP"]
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


@pytest.fixture(scope="session")
def filled(fleet: Fleet) -> Callable[[Gateway, bytes], bytes]:
    """Put a gateway's tokens into a request."""
    made = cache(lambda port: tokens.tokens(next(one for one in fleet.values() if one.port == port)))

    def fill(gateway: Gateway, request: bytes) -> bytes:
        names = made(gateway.port)
        return NAMED.sub(
            lambda found: names[found[1].decode()].encode() if found[1].decode() in names else found[0], request
        )

    return fill


@pytest.fixture(scope="session")
def public_key(fleet: Fleet) -> Callable[[Gateway], Any]:
    """The key that a gateway's passports are checked with, as it publishes it."""

    @cache
    def published(port: int) -> Any:
        (key,) = once(port, b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n\r\n").json()["keys"]
        return jwt.PyJWK(key)

    return lambda gateway: published(gateway.port)


def listed(value: Any) -> list[Any]:
    """Return one as a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]


def methods_of(case: Case) -> list[str]:
    """Return the methods of the case's requests, of which only HEAD matters to framing."""
    return ["HEAD" if case.sends.startswith(b"HEAD ") else "GET"] * len(listed(case.gets))


def exchange(client: Client, case: Case, sends: bytes) -> list[Reply]:
    """Send the case's bytes and return the responses: fewer than expected if the connection ends before."""
    client.send(sends)
    if case.finishes:
        client.finish()
    replies: list[Reply] = []
    interim = []
    if case.body is not None:
        first = client.one_head()
        if first.status == 100:
            client.send(case.body)
        else:
            return [client.body_of(Reply(**vars(first)))]
        interim = [first]
    for method, expected in zip(methods_of(case), listed(case.gets), strict=True):
        try:
            replies.append(client.reply(method))
        except ConnectionBroken:
            if not (expected.server and client.ended and not client.buffer):
                raise
            break
        replies[-1].interim[:0] = interim
    return replies


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_holds_at_each_door(
    case: Case,
    door: Door,
    fleet: Fleet,
    upstream: Upstream,
    filled: Callable[[Gateway, bytes], bytes],
    public_key: Callable[[Gateway], Any],
) -> None:
    gateway = fleet[door, case.trusted]
    for request in case.before:
        upstream.begin([OK])
        once(gateway.port, filled(gateway, request))
    upstream.begin(case.answers or [OK])
    with Client(gateway.port) as client:
        replies = exchange(client, case, filled(gateway, case.sends))
        if not (case.body is not None and not replies[-1].interim):
            check_connection(client, case, replies)
    assert not upstream.malformed
    check_seen(case, upstream, lambda token: claims_of(token, public_key(gateway)))
    for expected, reply in zip(listed(case.gets), replies, strict=False):
        check_reply(expected, reply, method=methods_of(case)[0])
    assert len(replies) == len(listed(case.gets)) or listed(case.gets)[0].server
    if case.sees and not isinstance(case.sees, list):
        assert upstream.seen[0].get("X-Request-ID") == replies[0].get("X-Request-ID")


def check_connection(client: Client, case: Case, replies: list[Reply]) -> None:
    """Assert that the connection ends if a response announced that, and otherwise serves the next request.

    Not checked after a rejected body that was not sent: then the client can only close (RFC 9110, section 10.1.1).
    """
    if replies and not replies[-1].closes and not case.finishes:
        client.send(PING)
        try:
            assert client.reply().status == 200, "the connection is out of step"
        except ConnectionBroken:
            # After an invalid request the HTTP server closes, also where the response does not announce that.
            if not (listed(case.gets)[-1].server and client.ended and not client.buffer):
                raise
    assert client.ends(), "the connection should have ended, with nothing more to say"


def claims_of(token: str, key: Any) -> dict[str, Any]:
    """Return a passport's claims, checked as a service would."""
    claims: dict[str, Any] = jwt.decode(token, key, ["ES256"], options={"verify_aud": False})
    assert claims["exp"] - claims["iat"] == 60
    return claims


def check_seen(case: Case, upstream: Upstream, claims: Callable[[str], dict[str, Any]]) -> None:
    """Assert that the service has seen the expected requests and no others."""
    if case.sees is None:
        return
    if not case.may_begin:
        assert not upstream.begun, "the service was sent the beginning of a request"
    expected = listed(case.sees)
    assert [seen.line for seen in upstream.seen] == [one.line for one in expected]
    for seen, wanted in zip(upstream.seen, expected, strict=True):
        check_request(seen, wanted, claims)


def check_request(seen: Seen, wanted: Sees, claims: Callable[[str], dict[str, Any]]) -> None:
    """Assert that a request is as expected, with the headers that only the gateway may set."""
    always: Expectations = {
        **dict.fromkeys(BETWEEN_NEIGHBOURS),
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Host": "localhost",
        "X-Forwarded-Proto": "http",
        "Via": re.compile(r"1\.[01] gatehouse"),
        "X-Forwarded-Path": re.compile("/.*"),
        "X-Request-ID": REQUEST_ID,
        "X-Envoy-Expected-Rq-Timeout-Ms": "10000",
    }
    for name, expected in {**always, **wanted.headers}.items():
        check_header(name, seen.all(name), expected, joined=",")
    assert seen.body == wanted.body
    if wanted.framing:
        assert seen.framing == wanted.framing
    if not wanted.body and wanted.line.startswith(("GET", "HEAD", "OPTIONS")):
        assert seen.framing == "none"
    if wanted.passport is None:
        assert (seen.get("Authorization"), seen.get("Request-User-Id")) == (None, None)
        return
    (authorization,) = seen.all("Authorization")
    said = claims(authorization.removeprefix("Bearer "))
    assert {name: said[name] for name in wanted.passport} == wanted.passport
    assert seen.all("Request-User-Id") == [said["sub"]]


def check_header(name: str, values: list[str], expected: Expected, joined: str) -> None:
    """Assert that a header is as expected."""
    value = joined.join(values) if values else None
    if isinstance(expected, re.Pattern):
        assert value is not None, f"{name} is missing"
        assert expected.fullmatch(value), f"{name}: {value}"
    else:
        assert value == expected, name


def check_reply(expected: Gets, reply: Reply, method: str) -> None:
    """Assert that a response is as expected."""
    assert reply.status in expected.statuses, (reply.status, reply.body[:500])
    assert len(reply.all("Date")) <= 1
    assert len(reply.all("Server")) <= 1
    if expected.server:
        return
    always: Expectations = {**dict.fromkeys(BETWEEN_NEIGHBOURS), "X-Request-ID": REQUEST_ID, "Date": re.compile(".+")}
    for name, wanted in {**always, **expected.headers}.items():
        check_header(name, reply.all(name), wanted, joined="\n")
    if expected.body is not None:
        assert reply.body == (b"" if method == "HEAD" else expected.body)
    if expected.framing:
        assert reply.framing == expected.framing
    if expected.problem is not None:
        check_header("Content-Type", reply.all("Content-Type"), "application/problem+json", joined="\n")
        if method != "HEAD":
            check_problem(expected, reply)


def check_problem(expected: Gets, reply: Reply) -> None:
    """Assert that a problem has every member that each has (RFC 9457), and those of this one."""
    said = reply.json()
    assert expected.problem is not None
    assert reply.get("Via") is None
    assert said["status"] == reply.status
    assert said["type"] == (QUOTA_EXCEEDED if reply.status == 429 else "about:blank")
    assert said["title"]
    assert said["detail"]
    assert re.fullmatch("[a-z_]+", said["code"])
    assert said["instance"].startswith("/") or said["instance"] == "*"
    assert said["origin"] == "gateway"
    assert said["request_id"] == reply.get("X-Request-ID")
    assert {name: said.get(name) for name in expected.problem} == expected.problem
