"""The DRF door, in front of a service that records what it was sent."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.test import Client
from tests.gateway.service import Reply, Seen, Service
from tests.ports import free_port

from gateway.identity import keys, revocations

pytestmark = pytest.mark.django_db
SignedIn = Callable[..., dict[str, str]]

ROUTES: list[dict[str, Any]] = [
    {"path": "/api/open", "methods": ["GET", "POST"], "allow": "public"},
    {"path": "/api/things", "methods": ["GET", "POST", "DELETE"], "allow": "authenticated"},
    {"path": "/api/things/{id}", "methods": ["GET", "PUT"], "allow": "authenticated"},
    {"path": "/api/admin", "methods": ["GET"], "allow": ["admin"]},
    {"path": "/api/few", "methods": ["GET"], "allow": "public", "rate_limit": "2/hour"},
    {"path": "/api/small", "methods": ["POST"], "allow": "public", "max_body": 10},
    {"path": "/pages/{path...}", "methods": ["GET"], "allow": "public", "browser": "passthrough"},
    {"path": "/api/shelf/{path...}", "methods": ["GET"], "allow": "public", "browser": "passthrough"},
    {"path": "/api/data/{path...}", "methods": ["GET"], "allow": "public"},
]


@pytest.fixture
def service(serve: Callable[..., Service], configure: Callable[..., None]) -> Service:
    """A service behind every route."""
    service = serve()
    configure(
        services={"things": {"url": service.url}},
        versions={"current": "v1"},
        routes=[route | {"service": "things"} for route in ROUTES],
    )
    return service


def test_a_request_goes_through_and_its_answer_comes_back(
    service: Service, client: Client, signed_in: SignedIn
) -> None:
    service.answer = lambda seen: Reply(
        201, b'{"id": 7}', [("Content-Type", "application/json"), ("Location", "/api/things/7")]
    )
    reply = client.post("/api/things?x=%20a&x=b", b'{"a": 1}', "application/json", headers=signed_in())
    assert (reply.status_code, reply.content, reply["Location"]) == (201, b'{"id": 7}', "/api/things/7")
    (seen,) = service.seen
    assert (seen.method, seen.target, seen.body) == ("POST", "/api/things?x=%20a&x=b", b'{"a": 1}')
    assert seen.header("Content-Type") == "application/json"
    assert seen.header("Content-Length") == "8"
    assert seen.header("X-Request-ID") == reply["X-Request-ID"]
    assert seen.header("X-Forwarded-For") == "127.0.0.1"
    assert seen.header("X-Forwarded-Host") == "testserver"
    assert seen.header("X-Forwarded-Proto") == "http"
    assert seen.header("Accept-Encoding") is None
    assert seen.header("User-Agent") is None


@pytest.mark.parametrize(
    ("path_info", "sent"),
    [
        ("a+b", "a+b"),
        ("a;b=c", "a;b=c"),
        ("é@&", "%C3%A9@&"),
        ("€😀", "%E2%82%AC%F0%9F%98%80"),
        ("100%", "100%25"),
        ('"?#', "%22%3F%23"),
    ],
)
def test_a_server_that_knows_only_the_decoded_path_has_it_encoded_in_one_form(
    service: Service, client: Client, signed_in: SignedIn, path_info: str, sent: str
) -> None:
    decoded = f"/api/things/{path_info}".encode().decode("latin-1")
    assert client.get("/", headers=signed_in(), PATH_INFO=decoded).status_code == 200
    assert service.seen[0].target == f"/api/things/{sent}"


@pytest.mark.parametrize("path", ["/api/admin;x=1", "/api/admin%3Bx=1", "/api;v/admin"])
def test_a_server_that_knows_only_the_decoded_path_lets_nobody_around_a_route(
    service: Service, client: Client, path: str
) -> None:
    assert client.get(path).status_code == 401
    assert service.seen == []


def test_a_service_gets_a_passport_and_never_the_client_s_token(
    service: Service, client: Client, signed_in: SignedIn
) -> None:
    import jwt

    headers = signed_in("2", "default")
    assert client.get("/api/things", headers=headers).status_code == 200
    (seen,) = service.seen
    passport = (seen.header("Authorization") or "").removeprefix("Bearer ")
    assert passport not in headers["Authorization"]
    claims = jwt.decode(passport, keys.ring().signing.private.public_key(), ["ES256"], audience="things")
    assert (claims["sub"], claims["role"], claims["token_type"]) == ("2", "default", "passport")
    assert seen.header("Request-User-Id") == "2"


@pytest.mark.parametrize(
    ("asked", "leads_to"),
    [
        ("/pages", "/pages/"),
        ("/pages?a=%20b", "/pages/?a=%20b"),
        ("/api/v1/shelf", "/api/v1/shelf/"),
        ("/pages?a\\b", "/pages/?a\\b"),
        ("/api/open/?a", "/api/open?a"),
        ("/docs/", "/docs"),
        ("/page", None),
        ("//evil.example/pages", None),
    ],
)
def test_a_path_that_is_routed_but_for_its_last_slash_is_308_to_it(
    service: Service, client: Client, asked: str, leads_to: str | None
) -> None:
    for method in ("GET", "HEAD", "POST"):
        for accept in ("*/*", "text/html"):
            reply = client.generic(method, "/x", RAW_URI=asked, headers={"Accept": accept})
            assert reply.headers.get("Location") == leads_to
            assert reply.status_code == 308 if leads_to else reply.status_code in {400, 404}
    assert service.seen == []


@pytest.mark.parametrize(
    "spoofed",
    [
        {"Request-User-Id": "1"},
        {"X-Forwarded-For": "10.9.8.7"},
        {"X-Forwarded-Host": "evil.example"},
        {"X-Forwarded-Proto": "https"},
        {"Forwarded": "for=10.9.8.7"},
        {"X-Real-Ip": "10.9.8.7"},
        {"X-Request-Id": "chosen-by-the-client"},
        {"Connection": "close, X-Kept, Request-User-Id", "X-Kept": "1"},
        {"Te": "trailers"},
        {"Proxy-Authorization": "Basic x"},
        {"Authorization": "Basic dTpw"},
    ],
)
def test_what_a_client_may_not_say_does_not_reach_the_service(
    service: Service, client: Client, spoofed: dict[str, str]
) -> None:
    assert client.get("/api/open", headers=spoofed).status_code == 200
    (seen,) = service.seen
    said = {name.lower(): value for name, value in seen.headers}
    for name, value in spoofed.items():
        assert said.get(name.lower()) != value, name
    assert "request-user-id" not in said
    assert "authorization" not in said


def test_a_trusted_proxy_is_believed(service: Service, client: Client, settings: Any) -> None:
    from ipaddress import ip_network

    settings.TRUSTED_PROXIES = (ip_network("127.0.0.0/8"),)
    settings.ALLOWED_HOSTS = ["api.example.org"]
    headers = {
        "X-Forwarded-For": "6.6.6.6, 203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "api.example.org",
    }
    assert client.get("/api/open", headers=headers).status_code == 200
    (seen,) = service.seen
    assert seen.header("X-Forwarded-For") == "203.0.113.9"
    assert seen.header("X-Forwarded-Proto") == "https"
    assert seen.header("X-Forwarded-Host") == "api.example.org"


def test_another_host_is_400(service: Service, client: Client) -> None:
    reply = client.get("/api/open", headers={"Host": "evil.example"})
    assert reply.status_code == 400
    assert not service.seen


ACCESS = [
    ("GET", "/api/open", None, 200),
    ("GET", "/api/things", None, 401),
    ("GET", "/api/things", "default", 200),
    ("GET", "/api/admin", None, 401),
    ("GET", "/api/admin", "default", 403),
    ("GET", "/api/admin", "admin", 200),
    ("GET", "/api/v1/admin", "default", 403),
    ("GET", "/api/v1/admin", "admin", 200),
    ("GET", "/api/nothing", "admin", 404),
    ("GET", "/internal/credentials", "admin", 404),
    ("GET", "/api/things/", "admin", 308),
    ("PATCH", "/api/things", "admin", 405),
    ("TRACE", "/api/things", "admin", 405),
    ("BREW", "/api/things", "admin", 501),
]


@pytest.mark.parametrize(("method", "path", "role", "status"), ACCESS)
def test_access(
    service: Service, client: Client, signed_in: SignedIn, method: str, path: str, role: str | None, status: int
) -> None:
    reply = client.generic(method, path, headers=signed_in(role=role) if role else {})
    assert reply.status_code == status
    assert bool(service.seen) == (status == 200)
    if status != 200:
        assert reply["Content-Type"] == "application/problem+json"
        assert reply.json()["origin"] == "gateway"
    if status == 401:
        assert reply["WWW-Authenticate"].startswith("Bearer")
    if status == 405:
        assert reply["Allow"] == "DELETE, GET, HEAD, OPTIONS, POST"


def test_an_invalid_token_is_401_on_a_public_route_too(service: Service, client: Client) -> None:
    reply = client.get("/api/open", headers={"Authorization": "Bearer x.y.z"})
    assert reply.status_code == 401
    assert 'error="invalid_token"' in reply["WWW-Authenticate"]
    assert not service.seen


def test_a_token_of_an_ended_session_is_401(service: Service, client: Client, signed_in: SignedIn) -> None:
    revocations.revocations().ended = frozenset({"s2"})
    assert client.get("/api/things", headers=signed_in(session="s2")).status_code == 401
    assert client.get("/api/things", headers=signed_in(session="s3")).status_code == 200


def test_options_is_answered_here(service: Service, client: Client) -> None:
    reply = client.options("/api/things/5")
    assert (reply.status_code, reply["Allow"], reply.content) == (204, "GET, HEAD, OPTIONS, PUT", b"")
    assert not service.seen


def test_head_is_sent_on_and_its_length_kept(service: Service, client: Client, signed_in: SignedIn) -> None:
    service.answer = lambda seen: Reply(200, b"x" * 123)
    reply = client.head("/api/things", headers=signed_in())
    assert (reply.status_code, reply["Content-Length"], reply.content) == (200, "123", b"")
    assert service.seen[0].method == "HEAD"


@pytest.mark.parametrize(
    "path",
    [
        "/api/things/%2e%2e/admin",
        "/api/things%2Fx",
        "/api//things",
        "/api/things/%00",
        "/api/things/%ff",
        "/api/%zz",
        "/api/things/..%5cadmin",
    ],
)
def test_an_ambiguous_path_is_400_and_goes_nowhere(
    service: Service, client: Client, signed_in: SignedIn, path: str
) -> None:
    reply = client.get("/", headers=signed_in(), PATH_INFO="/api/things/x", RAW_URI=path)
    assert reply.status_code == 400, reply.content
    assert not service.seen


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        ("/api/things/%C3%A9", "/api/things/%C3%A9"),
        ("/api/things/a%20b", "/api/things/a%20b"),
        ("/api/%74hings/5?q=%2F", "/api/things/5?q=%2F"),
        ("http://testserver/api/things/5", "/api/things/5"),
        ("/api/v1/things/5", "/api/things/5"),
    ],
)
def test_the_service_gets_the_one_form_of_a_path(
    service: Service, client: Client, signed_in: SignedIn, raw: str, sent: str
) -> None:
    reply = client.get("/api/things/x", headers=signed_in(), RAW_URI=raw, QUERY_STRING=raw.partition("?")[2])
    assert reply.status_code == 200, reply.content
    assert service.seen[0].target == sent


def test_without_a_raw_path_the_decoded_one_is_judged(service: Service, client: Client, signed_in: SignedIn) -> None:
    assert client.get("/api/things/%2e%2e", headers=signed_in()).status_code == 400
    assert client.get("/api/things/a b", headers=signed_in()).status_code == 200
    assert service.seen[0].target == "/api/things/a%20b"


@pytest.mark.parametrize("query", ["a=\x00", "a=é", "a b"])
def test_a_query_that_is_none_is_400(service: Service, client: Client, query: str) -> None:
    assert client.get("/api/open", QUERY_STRING=query).status_code == 400


def test_the_rate_limit_is_per_client_and_says_when_to_come_back(
    service: Service, client: Client, signed_in: SignedIn
) -> None:
    assert [client.get("/api/few").status_code for _ in range(3)] == [200, 200, 429]
    reply = client.get("/api/few")
    assert 0 < int(reply["Retry-After"]) <= 1800
    assert reply.json()["status"] == 429
    assert client.get("/api/few", headers=signed_in("2")).status_code == 200
    assert client.get("/api/few", REMOTE_ADDR="127.0.0.9").status_code == 200
    assert len(service.seen) == 4


@pytest.mark.parametrize(("size", "status"), [(0, 200), (10, 200), (11, 413), (5000, 413)])
def test_the_route_s_bound_on_the_body(service: Service, client: Client, size: int, status: int) -> None:
    reply = client.post("/api/small", b"x" * size, "application/octet-stream")
    assert reply.status_code == status
    assert len(service.seen) == (status == 200)


def test_what_the_service_answers_comes_back_unchanged(service: Service, client: Client) -> None:
    headers = [
        ("Content-Type", "text/csv; charset=latin-1"), ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2"),
        ("ETag", '"x"'), ("Cache-Control", "no-store"), ("Content-Encoding", "gzip"), ("X-Own", "1"),
        ("Connection", "X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"),
    ]  # fmt: skip
    service.answer = lambda seen: Reply(418, b"\x1f\x8b not really gzip", headers)
    reply = client.get("/api/open")
    assert (reply.status_code, reply.content) == (418, b"\x1f\x8b not really gzip")
    own = {"content-length", "x-request-id", "vary"}
    got = [(name, value) for name, value in reply.items() if name.lower() not in own]
    assert sorted(got) == sorted([*headers[:7], ("via", "1.1 gatehouse")])


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_stays_without(service: Service, client: Client, status: int) -> None:
    service.answer = lambda seen: Reply(status, b"", [])
    reply = client.get("/api/open")
    assert (reply.status_code, reply.content) == (status, b"")
    assert "Content-Type" not in reply
    assert "Content-Length" not in reply


def test_a_redirect_is_the_client_s_to_follow(service: Service, client: Client) -> None:
    service.answer = lambda seen: Reply(302, b"", [("Location", "http://127.0.0.1:9/x")])
    reply = client.get("/api/open")
    assert (reply.status_code, reply["Location"]) == (302, "http://127.0.0.1:9/x")
    assert len(service.seen) == 1


def test_a_cookie_of_one_answer_is_not_sent_with_the_next_request(service: Service, client: Client) -> None:
    service.answer = lambda seen: Reply(200, b"{}", [("Set-Cookie", "session=first; Path=/")])
    client.get("/api/open")
    Client(headers={"Host": "testserver"}).get("/api/open")
    assert [seen.header("Cookie") for seen in service.seen] == ["", ""]  # as the test client sends them


def test_a_large_answer_comes_in_pieces_and_whole(service: Service, client: Client) -> None:
    content = bytes(range(256)) * 4096
    service.answer = lambda seen: Reply(200, content, [("Content-Type", "application/octet-stream")])
    reply = client.get("/api/open")
    assert reply.streaming
    assert b"".join(reply.streaming_content) == content  # type: ignore[arg-type]


def test_a_service_s_problem_comes_back_as_it_is(service: Service, client: Client) -> None:
    problem = Reply(409, b'{"status": 409, "origin": "things"}', [("Content-Type", "application/problem+json")])
    service.answer = lambda seen: problem
    reply = client.get("/api/open")
    assert (reply.status_code, reply["Content-Type"]) == (409, "application/problem+json")
    assert reply.json()["origin"] == "things"


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_a_browser_sees_the_browsable_api_with_the_service_s_answer(
    service: Service, client: Client, signed_in: SignedIn
) -> None:
    service.answer = lambda seen: Reply.json({"results": [{"item": "<b>book</b>"}]})
    reply = client.get("/api/things", headers=BROWSER | signed_in())
    assert reply.status_code == 200
    assert reply["Content-Type"].startswith("text/html")
    page = reply.content.decode()
    assert "&lt;b&gt;book" in page
    assert "<b>book" not in page
    assert 'name="_content"' in page, "the form to POST with"
    assert "btn-danger" in page, "the button to DELETE with"
    assert "Service: things. Allowed: authenticated." in page
    assert ">Gatehouse</a>" in page
    assert service.seen[0].header("Accept") == "application/json"
    assert "Accept" in reply["Vary"]


def test_a_browser_sees_a_problem_as_a_page(service: Service, client: Client) -> None:
    # Without a login in gateway.yaml there is no page to sign in at.
    reply = client.get("/api/things", headers=BROWSER)
    assert reply.status_code == 401
    assert reply["Content-Type"].startswith("text/html")
    assert "Authentication required" in reply.content.decode()


def test_a_browser_gets_the_pages_of_a_passthrough_route_from_the_service(service: Service, client: Client) -> None:
    service.answer = lambda seen: Reply(200, b"<h1>Own</h1>", [("Content-Type", "text/html")])
    reply = client.get("/pages/a/b", headers=BROWSER)
    assert reply.content == b"<h1>Own</h1>"
    assert service.seen[0].header("Accept") == BROWSER["Accept"]
    assert "Vary" not in reply


@contextmanager
def fault(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A service that does to each connection what `behave` does. Yields its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                behave(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def trickle(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    stop = threading.Event()
    for _ in range(1000):
        try:
            connection.sendall(b"x")
        except OSError:
            return
        stop.wait(0.05)


FAULTS: dict[str, tuple[Callable[[socket.socket], None], int]] = {
    "silent": (silent, 504),
    "trickles": (trickle, 504),
    "closes at once": (lambda connection: None, 502),
    "closes amid the head": (lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-"), 502),
    "closes amid the body": (
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), 502,
    ),
    "answers garbage": (lambda connection: connection.sendall(b"\x00\x01\x02 hello\r\n\r\n"), 502),
    "a control character in a header": (
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n"), 502,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_service_that_fails_is_a_problem_that_names_it(
    client: Client, configure: Callable[..., None], case: str
) -> None:
    behave, status = FAULTS[case]
    with fault(behave) as url:
        configure(
            services={"things": {"url": url, "timeouts": {"connect": "1s", "total": "300ms"}}},
            routes=[{"path": "/api/open", "service": "things", "methods": ["GET"], "allow": "public"}],
        )
        reply = client.get("/api/open")
    assert reply.status_code == status, reply.content
    problem = json.loads(reply.content)
    assert problem["service"] == "things"
    assert problem["origin"] == "gateway"
    assert reply["Content-Type"] == "application/problem+json"


def test_a_body_broken_off_after_its_head_went_out_breaks_the_connection(
    client: Client, configure: Callable[..., None]
) -> None:
    from gateway.policy.rejections import UpstreamDisconnected

    def broken_off(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc")

    with fault(broken_off) as url:
        configure(
            services={"things": {"url": url}},
            routes=[{"path": "/api/open", "service": "things", "methods": ["GET"], "allow": "public"}],
        )
        reply = client.get("/api/open")
        assert reply.status_code == 200
        with pytest.raises(UpstreamDisconnected):
            list(reply.streaming_content)  # type: ignore[arg-type]


def test_a_service_that_is_down_is_a_502(client: Client, configure: Callable[..., None], signed_in: SignedIn) -> None:
    configure(
        services={"things": {"url": f"http://127.0.0.1:{free_port()}"}},
        routes=[{"path": "/api/open", "service": "things", "methods": ["GET"], "allow": "public"}],
    )
    reply = client.get("/api/open")
    assert reply.status_code == 502
    assert "things" in reply.json()["detail"]


def test_of_several_addresses_the_living_ones_share_the_requests(
    client: Client, configure: Callable[..., None], serve: Callable[..., Service]
) -> None:
    first, second = serve(), serve()
    dead = f"http://127.0.0.1:{free_port()}"
    configure(
        services={"things": {"url": [first.url, dead, second.url]}},
        routes=[{"path": "/api/open", "service": "things", "methods": ["POST"], "allow": "public"}],
    )
    assert {client.post("/api/open", b"x", "text/plain").status_code for _ in range(12)} == {200}
    assert len(first.seen) + len(second.seen) == 12
    assert min(len(first.seen), len(second.seen)) >= 3


@pytest.mark.parametrize(("method", "status", "times"), [("GET", 200, 3), ("PUT", 200, 3), ("POST", 502, 2)])
def test_a_connection_closed_meanwhile_is_tried_again_where_the_request_may_be_repeated(
    client: Client, configure: Callable[..., None], serve: Callable[..., Service], method: str, status: int, times: int
) -> None:
    calls: list[Seen] = []

    def close_once(seen: Seen) -> Reply | None:
        calls.append(seen)
        return None if len(calls) == 2 else Reply()

    service = serve(close_once)
    configure(
        services={"things": {"url": service.url}},
        routes=[{"path": "/api/open", "service": "things", "methods": [method], "allow": "public"}],
    )
    assert client.generic(method, "/api/open", b"x").status_code == 200
    assert client.generic(method, "/api/open", b"x").status_code == status
    assert len(calls) == times


def test_a_fresh_connection_closed_without_an_answer_is_the_service_s_failure(
    client: Client, configure: Callable[..., None], serve: Callable[..., Service]
) -> None:
    service = serve(lambda seen: None)
    configure(
        services={"things": {"url": service.url}},
        routes=[{"path": "/api/open", "service": "things", "methods": ["GET"], "allow": "public"}],
    )
    assert client.get("/api/open").status_code == 502
    assert len(service.seen) == 1
