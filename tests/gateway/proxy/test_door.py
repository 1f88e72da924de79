"""The fast door, asked as an ASGI server asks it, in front of services that say exactly what they are told to."""

import asyncio
import json
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from tests.gateway.proxy.asgi import LEFT, Server, ask, opened, scope_of
from tests.gateway.runtimes import runtime
from tests.gateway.upstreams.origin import Origin, Wire, answering, on_a_loop, until

from gateway import gate
from gateway.policy.rejections import BadRequest
from gateway.policy.routes import Match, RouteTable
from gateway.portal.metrics import REGISTRY
from gateway.proxy import door as doors

Configure = Callable[..., None]
SignedIn = Callable[..., dict[str, str]]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PAGE = ("accept", "text/html")
ROUTES: list[dict[str, Any]] = [
    {"path": "/api/things", "methods": ["GET", "POST"], "allow": "public"},
    {"path": "/api/mine", "methods": ["GET"], "allow": "authenticated"},
    {"path": "/api/small", "methods": ["POST"], "allow": "public", "max_body": 10},
    {"path": "/api/few", "methods": ["GET"], "allow": "public", "rate_limit": "1/hour"},
    {"path": "/pages/{path...}", "methods": ["GET"], "allow": "public", "browser": "passthrough"},
]


@pytest.fixture
def put(configure: Configure) -> Callable[[str], None]:
    """Put the service at a URL behind every route."""

    def put(url: str) -> None:
        configure(
            services={"things": {"url": url, "timeouts": {"total": "200ms"}}},
            versions={"current": "v1"},
            routes=[route | {"service": "things"} for route in ROUTES],
        )

    return put


Put = Callable[[str], None]


class Django:
    """What is behind the door."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"a page"})


class Client:
    """A connection of the gateway's own server."""

    def __init__(self) -> None:
        self.heard: Any = None
        self.flushed = 0

    def flush(self) -> None:
        """Note it."""
        self.flushed += 1

    def give_up_body(self) -> None:
        """Wait no more."""


@on_a_loop
async def test_a_request_goes_through_and_its_answer_comes_back(put: Put) -> None:
    said = OK.replace(b"Content-Type", b"X-Request-ID: theirs\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Type")
    async with Origin(answering(said)) as origin:
        put(origin.url)
        async with opened() as door:
            got = await ask(
                door.answer, "POST", "/api/v1/things?a=%20b", [("x-a", "\xe9"), ("content-length", "3")], b"abc"
            )
        assert (got.status, got.body, got.is_whole) == (200, b"ok", True)
        (seen,) = origin.seen
    assert set(got.headers) == {"content-type", "content-length", "vary", "via", "x-request-id"}
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
async def test_pages_for_people_and_what_is_no_route_are_django_s(
    put: Put, method: str, target: str, headers: list[tuple[str, str]], asked: bool
) -> None:
    django = Django()
    async with Origin(answering(OK)) as origin:
        put(origin.url)
        async with opened(django) as door:
            got = await ask(door.answer, method, target, headers)
        assert (got.status, django.asked) == ((299, [target]) if asked else (200, []))
        assert len(origin.seen) == (0 if asked else 1)


REFUSED: list[tuple[str, str, list[tuple[str, str]], int]] = [
    ("GET", "/api/mine", [], 401),
    ("GET", "/api/mine", [("authorization", "Bearer nonsense")], 401),
    ("PATCH", "/api/things", [], 405),
    ("GET", "/api/../things", [], 400),
    ("GET", "/api/things?a b", [], 400),
    ("GET", "/api/things", [("expect", "everything")], 417),
    ("GET", "/api/things", [("a b", "c")], 400),
    ("POST", "/api/things", [("content-length", "1"), ("content-length", "1")], 400),
    ("POST", "/api/things", [("content-length", "+1")], 400),
    ("POST", "/api/things", [("content-length", "1"), ("transfer-encoding", "chunked")], 400),
    ("POST", "/api/things", [("transfer-encoding", "gzip, chunked")], 400),
    ("POST", "/api/small", [("content-length", "11")], 413),
    ("POST", "/api/small", [("content-length", "9" * 5000)], 413),
    ("POST", "/api/small", [("transfer-encoding", "chunked")], 413),
]


@pytest.mark.parametrize(("method", "target", "headers", "status"), REFUSED)
@on_a_loop
async def test_what_is_refused_is_a_problem_and_reaches_no_service(
    put: Put, method: str, target: str, headers: list[tuple[str, str]], status: int
) -> None:
    async with Origin(answering(OK)) as origin:
        put(origin.url)
        async with opened() as door:
            got = await ask(door.answer, method, target, headers, b"x" * 11)
        assert origin.wires == []
    assert (got.status, got.headers["content-type"]) == (status, "application/problem+json")
    said = got.json()
    assert (said["status"], said["origin"], said["instance"]) == (status, "gateway", target.partition("?")[0])
    assert said["request_id"] == got.headers["x-request-id"]
    assert int(got.headers["content-length"]) == len(got.body)
    assert "service" not in said


@on_a_loop
async def test_another_host_is_refused_and_an_absolute_target_names_the_host(put: Put) -> None:
    async with Origin(answering(OK)) as origin:
        put(origin.url)
        async with opened() as door:
            statuses = {
                (target, host): (await ask(door.answer, "GET", target, host=host)).status
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
async def test_a_problem_names_the_path_encoded_anew(put: Put) -> None:
    put("http://127.0.0.1:1")
    async with opened() as door:
        got = await ask(door.answer, "GET", "/api/%ff%C3%A9\xff")
    assert (got.status, got.json()["instance"]) == (400, "/api/%EF%BF%BD%C3%A9%C3%BF")


@on_a_loop
async def test_options_that_no_route_has_are_the_gateway_s_to_answer(put: Put) -> None:
    put("http://127.0.0.1:1")
    async with opened() as door:
        got = await ask(door.answer, "OPTIONS", "/api/things")
    assert (got.status, got.headers["allow"], got.body) == (204, "GET, HEAD, OPTIONS, POST", b"")
    assert "content-length" not in got.headers


@on_a_loop
async def test_a_used_up_limit_says_when_to_come_again(put: Put) -> None:
    async with Origin(answering(OK)) as origin:
        put(origin.url)
        async with opened() as door:
            first, second = [await ask(door.answer, "GET", "/api/few") for _ in range(2)]
    assert (first.status, second.status) == (200, 429)
    assert 1 <= int(second.headers["retry-after"]) <= 3600


@pytest.mark.parametrize(
    ("says", "status"), [(b"", 502), (b"hello\r\n\r\n", 502), (None, 504), (OK[:-1], 502)], ids=str
)
@on_a_loop
async def test_a_service_that_fails_is_named_in_the_problem(put: Put, says: bytes | None, status: int) -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        if says is None:
            await wire.ended()
        else:
            await wire.say(says)

    async with Origin(behave) as origin:
        put(origin.url)
        async with opened() as door:
            got = await ask(door.answer, "POST", "/api/things")
            assert (got.status, got.json()["service"], got.json()["origin"]) == (status, "things", "gateway")
            await until(lambda: not door.pools.of("things")[0].live)


@on_a_loop
async def test_a_body_that_stops_coming_is_a_408(put: Put) -> None:
    async with Origin(answering(OK)) as origin:
        put(origin.url)
        async with opened() as door:
            got = await ask(door.answer, "POST", "/api/things", [("content-length", "5")], b"abc", then=LEFT)
        assert (got.status, origin.wires) == (408, [])


# Answers on their way.


@on_a_loop
async def test_an_answer_goes_on_as_it_comes(put: Put) -> None:
    taken = [asyncio.Event() for _ in range(3)]

    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.say(CHUNKED)
        for number, event in enumerate(taken):
            await event.wait()
            await wire.say(b"1\r\n%d\r\n" % number)
        await wire.say(b"0\r\n\r\n")
        await wire.ended()

    async with Origin(behave) as origin:
        put(origin.url)
        async with opened() as door:
            server, client = Server(), Client()
            scope = scope_of("GET", "/api/things") | {"gatehouse.client": client}
            going = asyncio.create_task(door.answer(scope, server.receive, server.send))
            # The head is out before there is any of the body.
            await until(lambda: client.flushed)
            assert (server.status, server.body) == (200, b"")
            for number, event in enumerate(taken):
                event.set()
                await until(lambda: server.body.endswith(b"%d" % number))  # noqa: B023
                assert server.is_whole <= (number == 2)
            await going
            assert (server.body, server.is_whole, client.flushed) == (b"012", True, 1)
            assert door.pools.of("things")[0].kept(repeatable=False)


@on_a_loop
async def test_an_answer_that_is_broken_off_gets_no_end(put: Put, caplog: pytest.LogCaptureFixture) -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.say(CHUNKED + b"2\r\nab\r\n")

    async with Origin(behave) as origin:
        put(origin.url)
        async with opened() as door:
            got = await ask(door.answer, "GET", "/api/things")
    assert (got.status, got.body, got.is_whole) == (200, b"ab", False)
    assert "broken off" in caplog.text


@on_a_loop
async def test_a_client_that_is_slow_holds_the_service_back(put: Put) -> None:
    size = 4 * 2**20
    takes = asyncio.Event()

    class Slow(Server):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if message["type"] == "http.response.body":
                await takes.wait()

    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        await wire.say(b"x" * size)
        await wire.ended()

    async with Origin(behave) as origin:
        put(origin.url)
        async with opened() as door:
            server = Slow()
            going = asyncio.create_task(door.answer(scope_of("GET", "/api/things"), server.receive, server.send))
            (pool,) = door.pools.of("things")
            await until(lambda: pool.live)
            (connection,) = pool.live
            await until(lambda: not connection.transport.is_reading())
            assert len(server.body) < size // 2
            takes.set()
            await going
            assert (len(server.body), server.is_whole) == (size, True)


# Clients that leave.


@on_a_loop
async def test_a_client_that_leaves_takes_its_request_with_it(put: Put, capfd: pytest.CaptureFixture[str]) -> None:
    async def behave(wire: Wire) -> None:
        wire.origin.seen.append(await wire.request())
        await wire.ended()

    async with Origin(behave) as origin:
        put(origin.url)
        async with opened() as door:
            server = Server()
            going = asyncio.create_task(door.answer(scope_of("GET", "/api/things"), server.receive, server.send))
            await until(lambda: origin.seen)
            going.cancel()
            with pytest.raises(asyncio.CancelledError):
                await going
            await until(lambda: not door.pools.of("things")[0].live)
            assert server.sent == []
    assert [line["status"] for line in access_lines(capfd)] == [499]


@on_a_loop
async def test_a_client_that_leaves_amid_its_answer_ends_it_for_the_service(put: Put) -> None:
    async def behave(wire: Wire) -> None:
        await wire.request()
        await wire.say(CHUNKED + b"2\r\nab\r\n")
        await wire.ended()

    async with Origin(behave) as origin:
        put(origin.url)
        async with opened() as door:
            server = Server()
            going = asyncio.create_task(door.answer(scope_of("GET", "/api/things"), server.receive, server.send))
            await until(lambda: server.body)
            going.cancel()
            with pytest.raises(asyncio.CancelledError):
                await going
            await until(lambda: not door.pools.of("things")[0].live)


# Faults of ours.


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
async def test_a_fault_of_ours_is_a_problem_with_nothing_of_it_inside(
    put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    put("http://127.0.0.1:1")
    async with opened(its_gate=faulty_gate()) as door:
        got = await ask(door.answer, "GET", "/api/th%C3%AFngs")
    assert (got.status, got.headers["content-type"]) == (500, "application/problem+json")
    said = got.json()
    assert (said["instance"], said["request_id"]) == ("/api/th%C3%AFngs", got.headers["x-request-id"])
    assert set(said) == {"type", "title", "status", "code", "detail", "instance", "request_id", "origin"}
    assert b"secret" not in got.body
    assert b"RuntimeError" not in got.body
    assert "secret of the program" in caplog.text


@on_a_loop
async def test_a_fault_once_the_answer_has_begun_is_left_to_the_server(
    put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Server):
        async def send(self, message: Any) -> None:
            await super().send(message)
            raise RuntimeError("no more")

    async with Origin(answering(OK)) as origin:
        put(origin.url)
        async with opened() as door:
            server = Broken()
            with pytest.raises(RuntimeError, match="no more"):
                await door.answer(scope_of("GET", "/api/things"), server.receive, server.send)
    assert len(server.sent) == 1
    assert "GET /api/things failed" in caplog.text


@on_a_loop
async def test_a_fault_of_django_s_is_left_to_the_server(put: Put, caplog: pytest.LogCaptureFixture) -> None:
    async def django(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("a fault")

    put("http://127.0.0.1:1")
    async with opened(django) as door:
        with pytest.raises(RuntimeError):
            await ask(door.answer, "GET", "/login/")
    assert "GET /login/ failed" in caplog.text


# What is heard once.


@on_a_loop
async def test_headers_that_a_connection_repeats_mean_the_same_and_others_do_not(put: Put, signed_in: SignedIn) -> None:
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
    async with Origin(answering(OK)) as origin:
        put(origin.url)
        async with opened(Django()) as door:
            client = Client()
            got = [
                await ask(door.answer, "GET", "/api/mine", headers, **{"gatehouse.client": client}) for headers in asked
            ]
    assert [each.status for each in got] == [200, 200, 200, 401, 200, 200, 417, 417, 299, 200]
    assert [seen.header("request-user-id") for seen in origin.seen] == ["2", "2", "3", "2", "2", "3"]
    assert [seen.header("x-a") for seen in origin.seen] == [None, None, None, "1", "2", None]
    ids = [each.headers["x-request-id"] for each in got if each.status != 299]
    assert len(set(ids)) == len(ids)


@on_a_loop
async def test_a_body_is_framed_anew_for_each_request_of_a_connection(put: Put) -> None:
    async with Origin(answering(OK)) as origin:
        put(origin.url)
        async with opened() as door:
            client = Client()
            for content in (b"abc", b"xyz"):
                await ask(
                    door.answer,
                    "POST",
                    "/api/things",
                    [("content-length", "3")],
                    content,
                    **{"gatehouse.client": client},
                )
            await ask(
                door.answer, "POST", "/api/things", [("transfer-encoding", "chunked")], b"a", b"b",
                **{"gatehouse.client": client},
            )  # fmt: skip
    assert [seen.body for seen in origin.seen] == [b"abc", b"xyz", b"ab"]


@on_a_loop
async def test_a_proxy_of_ours_names_the_request_and_its_client(put: Put, settings: Any) -> None:
    settings.TRUSTED_PROXIES = (ip_network("127.0.0.0/8"),)
    headers = [
        ("x-request-id", "from-the-proxy"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "testserver"),
    ]
    async with Origin(answering(OK)) as origin:
        put(origin.url)
        async with opened() as door:
            trusted = await ask(door.answer, "GET", "/api/things", headers)
            other = await ask(door.answer, "GET", "/api/things", headers, client=("192.0.2.1", 1))
            hidden = await ask(door.answer, "GET", "/api/things", headers, client=None)
        first, second, third = origin.seen
    assert trusted.headers["x-request-id"] == first.header("x-request-id") == "from-the-proxy"
    assert (first.header("x-forwarded-for"), first.header("x-forwarded-proto")) == ("203.0.113.9", "https")
    assert other.headers["x-request-id"] != "from-the-proxy" != hidden.headers["x-request-id"]
    assert (second.header("x-forwarded-for"), second.header("x-forwarded-proto")) == ("192.0.2.1", "http")
    assert third.header("x-forwarded-for") in {"", None}


# What is written down.


def access_lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the access log's lines."""
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["logger"] == "access"]


@on_a_loop
async def test_each_request_is_logged_and_counted_once(
    put: Put, signed_in: SignedIn, capfd: pytest.CaptureFixture[str]
) -> None:
    def count(method: str, route: str, status: int) -> float:
        labels = {"method": method, "route": route, "status": str(status)}
        return REGISTRY.get_sample_value("gateway_requests_total", labels) or 0

    counted = [
        ("GET", "/api/things", 200), ("PATCH", "none", 405), ("GET", "/api/mine", 200), ("GET", "/api/mine", 401),
        ("GET", "none", 400),
    ]  # fmt: skip
    before = [count(*labels) for labels in counted]
    async with Origin(answering(OK)) as origin:
        put(origin.url)
        async with opened() as door:
            await ask(door.answer, "GET", "/api/things?q=secret")
            await ask(door.answer, "PATCH", "/api/things")
            await ask(door.answer, "GET", "/api/mine", signed_in("7").items())
            await ask(door.answer, "GET", "/api/mine")
            await ask(door.answer, "GET", '/api/"\x7f\xe9')
    lines = access_lines(capfd)
    assert [(line["method"], line["path"], line["status"], line["user_id"]) for line in lines] == [
        ("GET", "/api/things", 200, None),
        ("PATCH", "/api/things", 405, None),
        ("GET", "/api/mine", 200, "7"),
        ("GET", "/api/mine", 401, None),
        ("GET", '/api/"\x7f\xe9', 400, None),
    ]
    assert len({line["request_id"] for line in lines}) == len(lines)
    assert [count(*labels) - was for labels, was in zip(counted, before, strict=True)] == [1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("pairs", "length"),
    [
        ([], 0),
        ([("Content-Length", "0")], 0),
        ([("content-length", "12")], 12),
        ([("content-length", "0012")], 12),
        ([("content-length", "9" * 18)], int("9" * 18)),
        ([("content-length", "9" * 5000)], 10**18),
        ([("Transfer-Encoding", "Chunked")], None),
    ],
)
def test_a_body_s_length_is_as_it_was_said(pairs: list[tuple[str, str]], length: int | None) -> None:
    assert doors.length_of(pairs) == length


@pytest.mark.parametrize(
    "pairs",
    [
        [("content-length", "")],
        [("content-length", "-1")],
        [("content-length", "1_0")],
        [("content-length", "\xb2")],
        [("content-length", "1, 1")],
        [("content-length", "1"), ("Content-Length", "1")],
        [("content-length", "1"), ("transfer-encoding", "chunked")],
        [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        [("transfer-encoding", "identity")],
        [("transfer-encoding", "chunked, chunked")],
        [("transfer-encoding", "")],
    ],
)
def test_an_unclear_length_is_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(BadRequest):
        doors.length_of(pairs)
