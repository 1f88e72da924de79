"""The fast door, over real connections, in front of services that send exactly the bytes of a test."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from tests.gateway.proxy.client import Client, access_lines, ask, opened, request_of
from tests.gateway.runtimes import runtime
from tests.gateway.upstreams.origin import Origin, Wire, on_a_loop, responding, until

from gateway import gate
from gateway.policy.routes import Match, RouteTable
from gateway.portal.prometheus import REGISTRY

SignedIn = Callable[..., dict[str, str]]
RouteTo = Callable[..., None]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PAGE = ("accept", "text/html")


class Django:
    """What is behind the door."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["raw_path"].decode())
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"a page"})


@on_a_loop
async def test_a_request_goes_through_and_its_response_comes_back(route_to: RouteTo) -> None:
    said = OK.replace(b"Content-Type", b"X-Request-ID: theirs\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Type")
    async with Origin(responding(said)) as origin:
        route_to(origin.url)
        async with opened() as door:
            got = await ask(door, "POST", "/api/v1/things?a=%20b", [("x-a", "\xe9"), ("content-length", "3")], b"abc")
        assert (got.status, got.body, got.is_whole) == (200, b"ok", True)
        (seen,) = origin.seen
    assert set(got.headers) == {"content-type", "content-length", "vary", "via", "x-request-id", "date"}
    assert got.headers["vary"] == "Accept"
    assert (seen.method, seen.target, seen.body) == ("POST", "/api/things?a=%20b", b"abc")
    assert seen.header("x-request-id") == got.headers["x-request-id"] != "theirs"
    assert (seen.header("x-a"), seen.header("x-forwarded-for")) == ("\xe9", "127.0.0.1")
    assert seen.header("host") == origin.url.removeprefix("http://")


@pytest.mark.parametrize(
    ("method", "target", "headers", "asked"),
    [
        ("GET", "/nothing", [], True),
        ("GET", "/", [], True),
        ("GET", "/api/things", [PAGE], True),
        ("GET", "/api/mine", [PAGE], True),
        ("DELETE", "/api/things", [PAGE], True),
        ("OPTIONS", "/api/things", [PAGE], True),
        ("GET", "/pages/a", [PAGE], False),
        ("GET", "/api/things", [("accept", "application/json, text/html;q=0.9")], False),
        ("GET", "/api/things", [], False),
    ],
)
@on_a_loop
async def test_pages_and_unknown_routes_are_served_by_django(
    route_to: RouteTo, method: str, target: str, headers: list[tuple[str, str]], asked: bool
) -> None:
    django = Django()
    async with Origin(responding(OK)) as origin:
        route_to(origin.url)
        async with opened(django) as door:
            got = await ask(door, method, target, headers)
        assert (got.status, django.asked) == ((299, [target]) if asked else (200, []))
        assert len(origin.seen) == (0 if asked else 1)


REJECTED: list[tuple[str, str, list[tuple[str, str]], int]] = [
    ("GET", "/api/mine", [], 401),
    ("GET", "/api/mine", [("authorization", "Bearer nonsense")], 401),
    ("PATCH", "/api/things", [], 405),
    ("GET", "/api/../things", [], 400),
    ("GET", "/api/things?a#b", [], 400),
    ("GET", "/api/things", [("expect", "everything")], 417),
    ("POST", "/api/small", [("content-length", "11")], 413),
    ("POST", "/api/small", [("transfer-encoding", "chunked")], 413),
]


@pytest.mark.parametrize(("method", "target", "headers", "status"), REJECTED)
@on_a_loop
async def test_a_rejected_request_is_a_problem_and_reaches_no_service(
    route_to: RouteTo, method: str, target: str, headers: list[tuple[str, str]], status: int
) -> None:
    async with Origin(responding(OK)) as origin:
        route_to(origin.url)
        async with opened() as door:
            got = await ask(door, method, target, headers, *([b"x" * 11] if method == "POST" else []))
        assert origin.wires == []
    assert (got.status, got.headers["content-type"]) == (status, "application/problem+json")
    said = got.json()
    assert (said["status"], said["origin"], said["instance"]) == (status, "gateway", target.partition("?")[0])
    assert said["request_id"] == got.headers["x-request-id"]
    assert int(got.headers["content-length"]) == len(got.body)
    assert "service" not in said


MALFORMED = [
    ("GET /api/things?a b HTTP/1.1\r\nhost: testserver\r\n", 400),
    ("GET /api/things HTTP/1.1\r\nhost: testserver\r\na b: c\r\n", 400),
    *(
        (f"POST /api/things HTTP/1.1\r\nhost: testserver\r\n{fields}\r\n", status)
        for fields, status in [
            ("content-length: 1\r\ncontent-length: 1", 400),
            ("content-length: 0\r\ncontent-length: 0", 400),
            ("content-length: +1", 400),
            ("content-length: -1", 400),
            ("content-length:", 400),
            ("content-length: 1_0", 400),
            ("content-length: \xb2", 400),
            ("content-length: 1, 1", 400),
            (f"content-length: {'9' * 5000}", 400),
            ("content-length: 1\r\ntransfer-encoding: chunked", 400),
            ("transfer-encoding: chunked\r\ntransfer-encoding: chunked", 400),
            ("transfer-encoding: chunked, chunked", 400),
            ("transfer-encoding:", 400),
            ("transfer-encoding: gzip, chunked", 501),
            ("transfer-encoding: identity", 501),
            ("connection: Upgrade\r\nupgrade: websocket\r\ncontent-length: 1", 400),
            ("connection: Upgrade\r\nupgrade: h2c\r\ntransfer-encoding: chunked", 400),
        ]
    ),
]


@pytest.mark.parametrize(("head", "status"), MALFORMED)
@on_a_loop
async def test_a_malformed_request_is_a_problem_and_ends_the_connection(
    route_to: RouteTo, head: str, status: int
) -> None:
    async with Origin(responding(OK)) as origin:
        route_to(origin.url)
        async with opened() as door, Client(door) as client:
            await client.send(head.encode("latin-1") + b"\r\n1\r\na\r\n0\r\n\r\n")
            got = await client.reply()
            assert (got.status, got.headers["connection"]) == (status, "close")
            assert got.json()["request_id"] == got.headers["x-request-id"]
            assert await client.reader.read() == b""
        assert origin.wires == []


@on_a_loop
async def test_another_host_is_rejected_and_an_absolute_target_names_the_host(route_to: RouteTo) -> None:
    async with Origin(responding(OK)) as origin:
        route_to(origin.url)
        async with opened() as door:
            statuses = {
                (target, host): (await ask(door, "GET", target, host=host)).status
                for target in ("/api/things", "http://testserver/api/things", "http://evil.example/api/things")
                for host in ("testserver", "evil.example", "")
            }
    assert {asked for asked, status in statuses.items() if status == 200} == {
        ("/api/things", "testserver"),
        ("http://testserver/api/things", "testserver"),
        ("http://testserver/api/things", "evil.example"),
    }
    assert set(statuses.values()) == {200, 400}


@on_a_loop
async def test_a_problem_names_the_path_encoded_again(route_to: RouteTo) -> None:
    route_to("http://127.0.0.1:1")
    async with opened() as door:
        got = await ask(door, "GET", "/api/%ff%C3%A9")
    assert (got.status, got.json()["instance"]) == (400, "/api/%EF%BF%BD%C3%A9")


@on_a_loop
async def test_the_gateway_responds_to_options_that_no_route_lists(route_to: RouteTo) -> None:
    route_to("http://127.0.0.1:1")
    async with opened() as door:
        got = await ask(door, "OPTIONS", "/api/things")
    assert (got.status, got.headers["allow"], got.body) == (204, "GET, HEAD, OPTIONS, POST", b"")
    assert "content-length" not in got.headers


@on_a_loop
async def test_an_exhausted_limit_is_429_with_retry_after(route_to: RouteTo) -> None:
    async with Origin(responding(OK)) as origin:
        route_to(origin.url)
        async with opened() as door:
            first, second = [await ask(door, "GET", "/api/few") for _ in range(2)]
    assert (first.status, second.status) == (200, 429)
    assert 1 <= int(second.headers["retry-after"]) <= 3600


@pytest.mark.parametrize(
    ("response_bytes", "status"), [(b"", 502), (b"hello\r\n\r\n", 502), (None, 504), (OK[:-1], 502)], ids=str
)
@on_a_loop
async def test_a_service_that_fails_is_named_in_the_problem(
    route_to: RouteTo, response_bytes: bytes | None, status: int
) -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        if response_bytes is None:
            await wire.ended()
        else:
            await wire.send(response_bytes)

    async with Origin(behave) as origin:
        route_to(origin.url)
        async with opened() as door:
            got = await ask(door, "POST", "/api/things")
            assert (got.status, got.json()["service"], got.json()["origin"]) == (status, "things", "gateway")
            await until(lambda: not door.pools.of("things").pools[0].live)


@on_a_loop
async def test_a_body_that_stops_coming_is_a_408(route_to: RouteTo) -> None:
    async with Origin(responding(OK)) as origin:
        route_to(origin.url)
        async with opened() as door, Client(door) as client:
            await client.send(request_of("POST", "/api/things", [("content-length", "5")]) + b"abc")
            await until(lambda: client.connection.current)
            exchange = client.connection.current
            assert exchange is not None
            body = exchange.message.body
            assert body is not None
            await until(lambda: body.waiter)
            exchange.on_timeout()
            got = await client.reply()
        assert (got.status, origin.wires) == (408, [])


# Internal errors.


class Faulty(RouteTable):
    """Routes with a fault."""

    def __init__(self) -> None:
        self.services = {}

    def match(self, method: str, path: str) -> Match:
        """Fail."""
        raise RuntimeError("secret of the program")


def faulty_gate() -> gate.Gate:
    """Return a gate with a fault."""
    its = runtime().gate
    return gate.Gate(
        Faulty(), its.authentication, its.passports, its.counters, trusted_proxies=(), allowed_hosts=("*",)
    )


@on_a_loop
async def test_an_internal_error_is_a_problem_without_its_details(
    route_to: RouteTo, caplog: pytest.LogCaptureFixture
) -> None:
    route_to("http://127.0.0.1:1")
    async with opened(its_gate=faulty_gate()) as door:
        got = await ask(door, "GET", "/api/th%C3%AFngs")
    assert (got.status, got.headers["content-type"]) == (500, "application/problem+json")
    said = got.json()
    assert (said["instance"], said["request_id"]) == ("/api/th%C3%AFngs", got.headers["x-request-id"])
    assert set(said) == {"type", "title", "status", "code", "detail", "instance", "request_id", "origin"}
    assert b"secret" not in got.body
    assert b"RuntimeError" not in got.body
    assert "secret of the program" in caplog.text


@pytest.mark.parametrize("begun", [False, True])
@on_a_loop
async def test_a_fault_of_django_s_is_a_500_unless_the_response_has_begun(
    route_to: RouteTo, begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def django(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        raise RuntimeError("a fault")

    route_to("http://127.0.0.1:1")
    async with opened(django) as door:
        got = await ask(door, "GET", "/login/")
    assert (got.status, got.is_whole) == ((200, False) if begun else (500, True))
    assert "GET /login/ failed" in caplog.text


# Request headers that a connection repeats.


@on_a_loop
async def test_headers_that_a_connection_repeats_mean_the_same_and_others_do_not(
    route_to: RouteTo, signed_in: SignedIn
) -> None:
    one, other = signed_in("2")["Authorization"], signed_in("3")["Authorization"]
    asked = [
        [("authorization", one)],
        [("authorization", one)],
        [("authorization", other)],
        [],
        [("authorization", one), ("x-a", "1")],
        [("authorization", one), ("x-a", "2")],
        [("authorization", one), ("expect", "x")],
        [("authorization", one), ("expect", "x")],
        [PAGE],
        [("authorization", other)],
    ]
    async with Origin(responding(OK)) as origin:
        route_to(origin.url)
        async with opened(Django()) as door, Client(door) as client:
            got = [await client.ask("GET", "/api/mine", headers) for headers in asked]
    assert [each.status for each in got] == [200, 200, 200, 401, 200, 200, 417, 417, 299, 200]
    assert [seen.header("request-user-id") for seen in origin.seen] == ["2", "2", "3", "2", "2", "3"]
    assert [seen.header("x-a") for seen in origin.seen] == [None, None, None, "1", "2", None]
    ids = [each.headers["x-request-id"] for each in got if each.status != 299]
    assert len(set(ids)) == len(ids)


@on_a_loop
async def test_a_body_is_framed_for_each_request_of_a_connection(route_to: RouteTo) -> None:
    async with Origin(responding(OK)) as origin:
        route_to(origin.url)
        async with opened() as door, Client(door) as client:
            for content in (b"abc", b"xyz"):
                await client.ask("POST", "/api/things", [("content-length", "3")], content)
            await client.ask("POST", "/api/things", [("transfer-encoding", "chunked")], b"a", b"b")
    assert [seen.body for seen in origin.seen] == [b"abc", b"xyz", b"ab"]


@on_a_loop
async def test_a_trusted_proxy_names_the_request_and_its_client(route_to: RouteTo, settings: Any) -> None:
    settings.TRUSTED_PROXIES = (ip_network("127.0.0.0/8"),)
    headers = [
        ("x-request-id", "from-the-proxy"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "testserver"),
    ]
    async with Origin(responding(OK)) as origin:
        route_to(origin.url)
        async with opened() as door:
            trusted = await ask(door, "GET", "/api/things", headers)
            other = await ask(door, "GET", "/api/things", headers, peer="192.0.2.1")
            hidden = await ask(door, "GET", "/api/things", headers, peer="")
        first, second, third = origin.seen
    assert trusted.headers["x-request-id"] == first.header("x-request-id") == "from-the-proxy"
    assert (first.header("x-forwarded-for"), first.header("x-forwarded-proto")) == ("203.0.113.9", "https")
    assert other.headers["x-request-id"] != "from-the-proxy" != hidden.headers["x-request-id"]
    assert (second.header("x-forwarded-for"), second.header("x-forwarded-proto")) == ("192.0.2.1", "http")
    assert third.header("x-forwarded-for") in {"", None}


# The access log.


@on_a_loop
async def test_each_request_is_logged_and_counted_once(
    route_to: RouteTo, signed_in: SignedIn, capfd: pytest.CaptureFixture[str]
) -> None:
    def count(method: str, route: str, status: int) -> float:
        labels = {"method": method, "route": route, "status": str(status)}
        return REGISTRY.get_sample_value("gateway_requests_total", labels) or 0

    counted = [
        ("GET", "/api/things", 200), ("PATCH", "none", 405), ("GET", "/api/mine", 200), ("GET", "/api/mine", 401),
        ("GET", "none", 400),
    ]  # fmt: skip
    before = [count(*labels) for labels in counted]
    async with Origin(responding(OK)) as origin:
        route_to(origin.url)
        async with opened() as door:
            await ask(door, "GET", "/api/things?q=secret")
            await ask(door, "PATCH", "/api/things")
            await ask(door, "GET", "/api/mine", signed_in("7").items())
            await ask(door, "GET", "/api/mine")
            await ask(door, "GET", '/api/"%7f')
    lines = access_lines(capfd)
    assert [(line["method"], line["path"], line["status"], line["user_id"]) for line in lines] == [
        ("GET", "/api/things", 200, None),
        ("PATCH", "/api/things", 405, None),
        ("GET", "/api/mine", 200, "7"),
        ("GET", "/api/mine", 401, None),
        ("GET", '/api/"%7f', 400, None),
    ]
    assert len({line["request_id"] for line in lines}) == len(lines)
    assert [count(*labels) - was for labels, was in zip(counted, before, strict=True)] == [1, 1, 1, 1, 1]
