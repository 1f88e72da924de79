"""The decisions on a request: what each door receives, and what a service is sent."""

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from tests.gateway.runtimes import runtime
from tests.gateway.upstreams.origin import parsed

from gateway import gate
from gateway.admission import Decision, Request
from gateway.gate import Gate
from gateway.identity.keys import KeyRing
from gateway.policy.rejections import (
    BadRequest,
    ExpectationFailed,
    Forbidden,
    InvalidToken,
    MethodNotAllowed,
    RateLimited,
    RequestRejected,
    RouteNotFound,
    Unauthenticated,
)
from gateway.upstreams import Body, UpstreamRequest

Configure = Callable[..., None]
SignedIn = Callable[..., dict[str, str]]
Pairs = list[tuple[str, str]]

PROXY = "10.0.0.1"
ROUTES: list[dict[str, Any]] = [
    {"path": "/api/open", "methods": ["GET", "POST"], "allow": "public"},
    {"path": "/api/things/{id}", "methods": ["GET"], "allow": "authenticated"},
    {"path": "/api/admin", "methods": ["GET"], "allow": ["admin"]},
    {"path": "/api/few", "methods": ["GET"], "allow": "public", "rate_limit": "2/hour"},
    {"path": "/api/own", "methods": ["GET"], "allow": "authenticated", "rate_limit": "1/hour"},
    {"path": "/api/own2", "methods": ["GET"], "allow": "authenticated", "rate_limit": "2/hour"},
    {"path": "/api/ruled", "methods": ["GET"], "allow": "authenticated", "headers": {"request": {"remove": ["X-A"]}}},
    {"path": "/api/others", "methods": ["GET"], "allow": "authenticated", "service": "others"},
]


@pytest.fixture(autouse=True)
def configured(configure: Configure, settings: Any) -> None:
    """Routes to one service, and a trusted proxy in front."""
    settings.ALLOWED_HOSTS = ["api.example.org", ".example.com"]
    settings.TRUSTED_PROXIES = (ip_network("10.0.0.0/8"),)
    configure(
        services={"things": {"url": "http://things:8000/base"}, "others": {"url": "http://others:8000"}},
        versions={"current": "v1"},
        routes=[{"service": "things"} | route for route in ROUTES],
    )


def request(
    headers: Iterable[tuple[str, str]] = (),
    *,
    method: str = "GET",
    path: str = "/api/open",
    query: str = "",
    host: str = "api.example.org",
    peer: str = "192.0.2.1",
) -> Request:
    """Return a request as a door takes it apart."""
    parsed_headers = runtime().gate.read_headers([("Host", host), *headers], peer)
    return Request(method, path, query, host, parsed_headers, "http", "0123456789abcdef", "")


def admitted(asked: Request) -> Decision:
    """Return what the gate makes of it."""
    its = runtime().gate
    return its.authorize(asked, its.route(asked.method, asked.path))


@pytest.mark.parametrize(
    ("method", "path", "query", "target"),
    [
        ("GET", "/api/open", "", "/api/open"),
        ("POST", "/api/v1/open", "a=b&c", "/api/open?a=b&c"),
        ("HEAD", "/api/open", "?", "/api/open??"),
        ("GET", "/api/open", "a=%0d%0a&b=%zz", "/api/open?a=%0d%0a&b=%zz"),
    ],
)
def test_a_request_goes_to_the_service_of_its_route(method: str, path: str, query: str, target: str) -> None:
    assert admitted(request(method=method, path=path, query=query)).target == target


def test_the_parameters_are_encoded_in_one_form(signed_in: SignedIn) -> None:
    asked = request(signed_in().items(), path="/api/things/%61%c3%a9%20b")
    assert admitted(asked).target == "/api/things/a%C3%A9%20b"


@pytest.mark.parametrize("query", ["a b", "a#b", "\xe9", "a\tb", "a\r\nb", "\x00", "\x7f"])
def test_an_invalid_query_is_rejected(query: str) -> None:
    with pytest.raises(BadRequest):
        admitted(request(query=query))


REJECTED: list[tuple[str, str, Pairs, type[RequestRejected]]] = [
    ("GET", "/nothing", [], RouteNotFound),
    ("PATCH", "/api/open", [], MethodNotAllowed),
    ("GET", "/api/../open", [], BadRequest),
    ("GET", "/api/open", [("Expect", "100-continue"), ("Expect", "gold")], ExpectationFailed),
    ("GET", "/api/open", [("A b", "c")], BadRequest),
    ("GET", "/api/open", [("A", "b\x00")], BadRequest),
    ("GET", "/api/things/1", [], Unauthenticated),
    ("GET", "/api/things/1", [("Authorization", "Basic dTpw")], Unauthenticated),
    ("GET", "/api/things/1", [("Authorization", "Bearer nonsense")], InvalidToken),
    # An invalid token is rejected on a public route too.
    ("GET", "/api/open", [("Authorization", "Bearer nonsense")], InvalidToken),
    ("GET", "/api/open", [("Authorization", "Bearer a"), ("Authorization", "Bearer b")], InvalidToken),
]


@pytest.mark.parametrize(("method", "path", "headers", "rejection"), REJECTED)
def test_a_rejected_request_is_rejected_each_time(
    method: str, path: str, headers: Pairs, rejection: type[RequestRejected]
) -> None:
    asked = request(headers, method=method, path=path)
    for _ in range(2):
        with pytest.raises(rejection):
            admitted(asked)


def test_a_role_that_the_route_does_not_name_is_rejected(signed_in: SignedIn) -> None:
    with pytest.raises(Forbidden):
        admitted(request(signed_in(role="default").items(), path="/api/admin"))
    identity = admitted(request(signed_in(role="admin").items(), path="/api/admin")).identity
    assert identity
    assert identity.role == "admin"


def test_expect_100_continue_is_not_forwarded() -> None:
    names = {name.lower() for name, _ in admitted(request([("Expect", "100-Continue")])).headers}
    assert "expect" not in names


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("api.example.org", True),
        ("API.example.org:8001", True),
        ("a.example.com", True),
        ("example.org", False),
        ("api.example.org.evil.example", False),
        ("api.example.org,api.example.org", False),
        ("api.example.org@evil.example", False),
        ("api.example.org/", False),
        ("", False),
        (" api.example.org", False),
        ("api.example.org\n", False),
        ("api.example.org:80\n", False),
    ],
)
def test_only_an_allowed_host_is_accepted(host: str, ours: bool) -> None:
    assert gate.is_one_of(host, ("api.example.org", ".example.com")) is ours


@pytest.mark.parametrize(
    ("peer", "forwarded", "address", "scheme", "host", "request_id"),
    [
        (PROXY, True, "203.0.113.9", "https", "a.example.com", "from-the-proxy"),
        ("192.0.2.1", True, "192.0.2.1", "http", "api.example.org", None),
        (PROXY, False, PROXY, "http", "api.example.org", ""),
        ("", True, "", "http", "api.example.org", None),
    ],
)
def test_only_a_trusted_proxy_s_headers_are_used(
    peer: str, forwarded: bool, address: str, scheme: str, host: str, request_id: str | None
) -> None:
    said = [
        ("X-Forwarded-For", "6.6.6.6, 203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "a.example.com"),
        ("X-Request-ID", "from-the-proxy"),
    ]
    asked = request(said if forwarded else [], peer=peer)
    sent = dict(admitted(asked).headers)
    assert (sent["x-forwarded-for"], sent["x-forwarded-proto"], sent["x-forwarded-host"]) == (address, scheme, host)
    assert (asked.headers.address, asked.headers.request_id) == (address, request_id)


CHECKED: list[tuple[dict[str, Any], Pairs, int | None]] = [
    ({}, [], None),
    ({"version": "1.0"}, [], None),
    ({"host": "evil.example"}, [], 400),
    ({"host": ""}, [], 400),
    ({"host": "", "version": "1.0"}, [], 400),
    ({"host": "evil.example", "path": "/healthz"}, [], None),
    ({"host": "evil.example", "path": "/%72eadyz"}, [], None),
    ({"host": "evil.example", "path": "/healthz/x"}, [], 400),
    ({"host": "", "path": "/healthz"}, [], 400),
    ({"host": "", "path": "/healthz", "version": "1.0"}, [], None),
    ({"path": "/healthz"}, [("host", "api.example.org")], 400),
    ({"target_scheme": "http"}, [], None),
    ({"target_scheme": "https"}, [], 421),
    ({"target_scheme": "ftp"}, [], 421),
    ({"target_scheme": "https", "peer": PROXY}, [("X-Forwarded-Proto", "https")], None),
    ({"target_scheme": "http", "peer": PROXY}, [("X-Forwarded-Proto", "https")], 421),
    ({"target_scheme": "https"}, [("X-Forwarded-Proto", "https")], 421),
    ({}, [("Content-Type", "text/a")], None),
    ({}, [("Content-Type", 'text/a; b="1,\\",2"')], None),
    ({}, [("Content-Type", "text/a"), ("content-type", "text/a")], 400),
    # As a WSGI server joins them.
    ({}, [("Content-Type", "text/a,text/a")], 400),
]


@pytest.mark.parametrize(("asked", "said", "status"), CHECKED)
def test_a_target_for_another_scheme_or_host_is_rejected(
    asked: dict[str, Any], said: Pairs, status: int | None
) -> None:
    of_request = {name: asked[name] for name in asked if name in {"version", "target_scheme"}}
    plain = request(said, **{name: asked[name] for name in asked if name not in of_request})
    checked = replace(plain, **of_request)
    # Once more: what the headers mean is remembered.
    for _ in range(2):
        try:
            runtime().gate.check(checked)
            found = None
        except RequestRejected as refused:
            found = refused.status
        assert found == status


def test_cached_headers_do_not_decide_an_absolute_form_target() -> None:
    checked = request()
    runtime().gate.check(checked)
    with pytest.raises(RequestRejected):
        runtime().gate.check(replace(checked, target_scheme="https"))
    with pytest.raises(RequestRejected):
        runtime().gate.check(replace(checked, target_scheme="http", host="evil.example"))


def test_a_forwarded_host_must_be_allowed_too() -> None:
    with pytest.raises(BadRequest):
        admitted(request([("X-Forwarded-Host", "evil.example")], peer=PROXY))


def test_a_rate_limit_counts_each_client_and_each_user_alone(signed_in: SignedIn) -> None:
    for peer in ("192.0.2.1", "192.0.2.2"):
        for _ in range(2):
            admitted(request(path="/api/few", peer=peer))
        with pytest.raises(RateLimited):
            admitted(request(path="/api/few", peer=peer))
    for user in ("2", "3"):
        # From wherever a user asks.
        admitted(request(signed_in(user).items(), path="/api/own", peer="192.0.2.1"))
        with pytest.raises(RateLimited):
            admitted(request(signed_in(user).items(), path="/api/own", peer="192.0.2.3"))


def test_what_headers_were_granted_ends_with_the_session(signed_in: SignedIn) -> None:
    asked = request(signed_in().items(), path="/api/things/1")
    first, second = admitted(asked), admitted(asked)
    assert first.grant is second.grant
    assert first.identity is not None
    revocations = runtime().revocations
    revocations.ended = frozenset({first.identity.session})
    with pytest.raises(InvalidToken):
        admitted(asked)


def test_what_headers_were_granted_ends_with_the_token_and_with_its_key(signed_in: SignedIn) -> None:
    asked = request(signed_in().items(), path="/api/things/1")
    grant = admitted(asked).grant
    # No longer than a passport, which is valid for 60 s.
    assert grant.valid_until - time.monotonic() < 60
    grant.valid_until = time.monotonic() - 1
    again = admitted(asked).grant
    assert again is not grant
    again.keys = KeyRing(())
    assert admitted(asked).grant is not again


def test_what_headers_were_granted_is_for_the_routes_of_the_same_terms(signed_in: SignedIn) -> None:
    asked = request(signed_in().items(), path="/api/things/1")
    grant = admitted(asked).grant
    with pytest.raises(Forbidden):
        admitted(replace(asked, path="/api/admin"))
    assert admitted(replace(asked, path="/api/open")).grant is not grant
    assert admitted(replace(asked, path="/api/ruled")).grant is not grant
    assert admitted(replace(asked, path="/api/others")).grant is not grant
    assert admitted(replace(asked, path="/api/own")).grant is grant
    # The host of a target in absolute form is another one than that of the headers.
    absolute = admitted(replace(asked, host="b.example.com", target_scheme="http"))
    assert dict(absolute.headers)["x-forwarded-host"] == "b.example.com"
    assert dict(admitted(asked).headers)["x-forwarded-host"] == "api.example.org"


def test_routes_of_the_same_terms_count_by_their_own_limits(signed_in: SignedIn) -> None:
    asked = request(signed_in().items(), path="/api/own")
    other = replace(asked, path="/api/own2")
    for each in (other, asked, other):
        admitted(each)
    for each in (asked, other):
        with pytest.raises(RateLimited):
            admitted(each)
    admitted(replace(asked, path="/api/things/1"))


def test_a_grant_by_a_cookie_is_not_kept(signed_in: SignedIn) -> None:
    token = signed_in()["Authorization"].removeprefix("Bearer ")
    asked = request([("Cookie", f"gatehouse-access={token}")], path="/api/things/1")
    assert admitted(asked).grant is not admitted(asked).grant
    assert asked.headers.grants == {}


def test_the_addresses_of_one_ipv6_network_are_one_client() -> None:
    for last in (1, 2):
        admitted(request(path="/api/few", peer=f"2001:db8::{last}"))
    with pytest.raises(RateLimited):
        admitted(request(path="/api/few", peer="2001:db8:0:0:3::1"))
    admitted(request(path="/api/few", peer="2001:db8:0:1::1"))


def test_a_rejected_request_does_not_count_against_the_rate_limit(signed_in: SignedIn) -> None:
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            admitted(request(path="/api/own"))
    admitted(request(signed_in().items(), path="/api/own"))


@pytest.mark.parametrize(
    ("headers", "host", "authorization", "page"),
    [
        ([], "api.example.org", None, False),
        ([("accept", "text/html")], "api.example.org", None, True),
        ([("Accept", "application/json"), ("accept", "text/html;q=0.5")], "api.example.org", None, False),
        ([("authorization", "")], "api.example.org", "", False),
        ([("authorization", "a"), ("Authorization", "b")], "api.example.org", "a,b", False),
        ([("host", "b")], "api.example.org,b", None, False),
    ],
)
def test_repeated_headers_are_joined(headers: Pairs, host: str, authorization: str | None, page: bool) -> None:
    seen = runtime().gate.read_headers([("Host", "api.example.org"), *headers], "192.0.2.1")
    assert (seen.host, seen.authorization, seen.prefers_page) == (
        host,
        authorization,
        page,
    )


# Whatever a client says, a service is sent one request.

HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t\x20-\x7e\x80-\xff]*)")
OURS = {
    "x-request-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-path", "request-user-id",
    "x-envoy-expected-rq-timeout-ms",
    "authorization", "traceparent", "via",
}  # fmt: skip
names = st.one_of(
    st.sampled_from(
        [
            "X-A", "Connection", "connection", "Content-Length", "Transfer-Encoding", "Host", "Request-User-Id",
            "request_user_id", "REQUEST-USER-ID", "Upgrade", "Keep-Alive", "TE", "Trailer", "Forwarded",
            "X-Forwarded-For", "X-Forwarded-Host", "x_forwarded_for", "X-Request-Id", "Expect", "Cookie",
            "Proxy-Connection",
        ]
    ),
    st.binary(min_size=0, max_size=8).map(lambda name: name.decode("latin-1")),
)  # fmt: skip
contents = st.one_of(
    st.sampled_from(
        [
            "", "1", "chunked", "close, X-A", "keep-alive", "request-user-id", "X-Forwarded-For, Host", "100-continue",
            "a\r\nRequest-User-Id: 1", "a\nb", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "\x00", "a\r", "\t a \t",
            "203.0.113.9", "evil.example",
        ]
    ),
    st.binary(max_size=12).map(lambda value: value.decode("latin-1")),
)  # fmt: skip
queries = st.one_of(st.just(""), st.binary(max_size=12).map(lambda query: query.decode("latin-1")))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@example([("X-A", "a\r\nRequest-User-Id: 1")], "", b"", "192.0.2.1", "api.example.org")
@example([("Connection", "x-forwarded-for, request-user-id, host")], "", b"x", "192.0.2.1", "api.example.org")
@example([], "", b"", "192.0.2.1", "api.example.org\n")
@given(
    st.lists(st.tuples(names, contents), max_size=6),
    queries,
    st.sampled_from([b"", b"abc", b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"]),
    st.sampled_from(["192.0.2.1", PROXY]),
    st.just("api.example.org"),
)
def test_any_headers_of_a_client_give_one_valid_request(
    headers: Pairs, query: str, body: bytes, peer: str, host: str
) -> None:
    its = runtime().gate
    seen = its.read_headers(headers, peer)
    try:
        passed = its.authorize(
            Request("POST", "/api/open", query, host, seen, "http", "0123456789abcdef", ""),
            its.route("POST", "/api/open"),
        )
    except RequestRejected:
        return
    outgoing = UpstreamRequest(
        "things", "POST", passed.target, passed.headers, Body.of(body), passed.match.route.timeouts
    )
    message, _ = outgoing.message("things:8000", "/base")
    head, _, rest = message.partition(b"\r\n\r\n")
    assert rest == body
    line, *lines = head.split(b"\r\n")
    assert line == b"POST /base/api/open%b HTTP/1.1" % (f"?{query}".encode() if query else b"")
    fields = [HEADER.fullmatch(each) for each in lines]
    assert None not in fields
    found = [(field[1].decode().lower(), field[2].decode("latin-1")) for field in fields if field]
    named = [name for name, _ in found]
    # Each name that frames the message or says who asks is there at most once, and as the gateway has it.
    assert {name: named.count(name) for name in ("host", "content-length", "transfer-encoding")} == {
        "host": 1, "content-length": 1, "transfer-encoding": 0,
    }  # fmt: skip
    assert ("content-length", str(len(body))) in found
    assert ("host", "things:8000") in found
    assert not [name for name in named if "_" in name]
    assert not {"request-user-id", "authorization", "forwarded", "connection", "upgrade", "te", "expect"} & set(named)
    assert ("x-envoy-expected-rq-timeout-ms", "10000") in found
    for name in ("x-request-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"):
        assert named.count(name) == 1
    # What is left is the client's own, in its order.
    own = [pair for pair in found if pair[0] not in OURS | {"host", "content-length"}]
    said = iter([(name.lower(), value) for name, value in headers])
    assert all(pair in said for pair in own)
    # A parser that is not ours reads the same.
    seen = parsed(message)
    assert (seen.method, seen.body) == ("POST", body)
    assert [name.lower() for name, _ in seen.headers] == named


@given(st.text(max_size=30), st.sampled_from(["*", ".example.org", "api.example.org"]))
def test_any_host_is_accepted_or_rejected(host: str, allowed: str) -> None:
    assume(host != "*")
    if gate.is_one_of(host, (allowed,)):
        assert re.fullmatch(r"[a-z0-9.:\[\]_-]+", host.lower())


def test_without_trusted_proxies_forwarding_headers_are_ignored() -> None:
    its = runtime().gate
    alone = Gate(its.table, its.authentication, its.passports, its.counters, trusted_proxies=(), allowed_hosts=("*",))
    seen = alone.read_headers([("x-forwarded-for", "203.0.113.9"), ("x-request-id", "from-a-client")], PROXY)
    assert (seen.trusted, seen.address, seen.request_id) == (False, PROXY, None)
    assert alone.origin("http", "anything.example", seen) == ("http", "anything.example")
