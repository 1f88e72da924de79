"""The gateway's own paths, at both doors: methods, hosts and schemes."""

import pytest
from tests.conformance.cases.case import ask
from tests.conformance.client import Reply, once
from tests.conformance.conftest import Fleet
from tests.conformance.gateways import DOORS, Door, Gateway
from tests.conformance.test_conformance import REQUEST_ID

GET, POST, DELETE, FORM = "GET, HEAD, OPTIONS", "OPTIONS, POST", "DELETE, OPTIONS", "GET, HEAD, OPTIONS, POST"
# Each path's methods, and what a request gets that has one of them and nothing else.
OWN: dict[str, tuple[str, dict[str, int]]] = {
    "/": (GET, {"GET": 200}),
    "/api/login": (POST, {"POST": 400}),
    "/api/v1/login": (POST, {"POST": 400}),
    "/api/token/refresh": (POST, {"POST": 400}),
    "/api/logout": (POST, {"POST": 401}),
    "/api/sessions": (GET, {"GET": 401}),
    "/api/sessions/x": (DELETE, {"DELETE": 401}),
    "/api/users/2/sessions": (DELETE, {"DELETE": 401}),
    "/docs": (GET, {"GET": 200}),
    "/redoc": (GET, {"GET": 200}),
    "/openapi.json": (GET, {"GET": 200}),
    "/.well-known/jwks.json": (GET, {"GET": 200}),
    "/healthz": (GET, {"GET": 200}),
    "/livez": (GET, {"GET": 200}),
    "/readyz": (GET, {"GET": 200}),
    "/metrics": (GET, {"GET": 200}),
    "/login/": (FORM, {"GET": 200, "POST": 403}),
    "/logout/": (FORM, {"GET": 303, "POST": 403}),
}
STATIC = "/static/rest_framework/css/default.css"
PROBES = {"/healthz", "/livez", "/readyz"}
PATHS = [*OWN, STATIC]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"]
ACCEPTS = ["application/json", "text/html,*/*;q=0.8"]


@pytest.fixture
def gateway(door: Door, fleet: Fleet) -> Gateway:
    """The gateway of the door."""
    return fleet[door, False]


def check_problem(reply: Reply, status: int) -> None:
    """Assert that the reply is a problem of the gateway's with that status."""
    assert (reply.status, reply.get("Content-Type")) == (status, "application/problem+json")
    assert REQUEST_ID.fullmatch(reply.get("X-Request-ID") or "")
    if reply.body:
        said = reply.json()
        assert (said["status"], said["origin"], said["request_id"]) == (status, "gateway", reply.get("X-Request-ID"))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", OWN)
def test_each_path_accepts_only_its_methods(gateway: Gateway, path: str, method: str) -> None:
    allow, answers = OWN[path]
    reply = once(gateway.port, ask(f"{method} {path}"))
    if method == "OPTIONS":
        assert (reply.status, reply.get("Allow"), reply.body, reply.get("Content-Type")) == (204, allow, b"", None)
    elif method == "PROPFIND":
        check_problem(reply, 501)
    elif method in allow.split(", "):
        assert reply.status == answers["GET" if method == "HEAD" else method]
        assert method != "HEAD" or reply.body == b""
    else:
        check_problem(reply, 405)
        assert reply.get("Allow") == allow


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_static_file_can_only_be_read(gateway: Gateway, method: str) -> None:
    reply = once(gateway.port, ask(f"{method} {STATIC}"))
    assert (reply.status, reply.get("Allow")) == (405, "GET, HEAD")


HOSTS = [
    ["Host: evil.example"],
    ["Host: localhost.evil.example:80"],
    ["Host: localhost", "Host: localhost"],
    ["Host: localhost, localhost"],
    ["Host:"],
]


# Each path with one of the hosts, and each host at paths of each kind: a page, an endpoint, a probe, a file.
HOSTS_AT = [(path, HOSTS[0]) for path in PATHS]
HOSTS_AT += [(path, hosts) for path in ("/", "/api/login", "/healthz", STATIC) for hosts in HOSTS[1:]]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize(("path", "hosts"), HOSTS_AT)
def test_a_host_that_is_not_allowed_is_a_400(gateway: Gateway, path: str, accept: str, hosts: list[str]) -> None:
    reply = once(gateway.port, ask(f"GET {path}", f"Accept: {accept}", *hosts))
    if path in PROBES and len(hosts) == 1 and "," not in hosts[0] and hosts[0] != "Host:":
        assert reply.status == 200
    elif len(hosts) > 1:
        # The HTTP server may reject it first.
        assert reply.status == 400
    else:
        check_problem(reply, 400)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("version", "accept"), [("1.1", ACCEPTS[0]), ("1.0", ACCEPTS[1])])
@pytest.mark.parametrize("path", PATHS)
def test_a_missing_host_is_a_400(gateway: Gateway, path: str, accept: str, version: str) -> None:
    reply = once(gateway.port, f"GET {path} HTTP/{version}\r\nAccept: {accept}\r\n\r\n".encode())
    if path in PROBES and version == "1.0":
        assert reply.status == 200
    else:
        check_problem(reply, 400)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize(
    ("said", "status"),
    [
        (["Authorization: Bearer x"], 401),
        (["Authorization: Bearer"], 401),
        (["Authorization: Basic eDp5"], 200),
        (["Cookie: gatehouse-access=x"], 200),
        (["Cookie: gatehouse-access=x", "Origin: http://evil.example", "Connection: Upgrade", "Upgrade: x"], 403),
        (["Cookie: gatehouse-access=x; gatehouse-refresh=x"], 200),
    ],
)
def test_the_root_page_rejects_an_invalid_token(gateway: Gateway, accept: str, said: list[str], status: int) -> None:
    reply = once(gateway.port, ask("GET /", f"Accept: {accept}", *said))
    assert (reply.status, b"request_id" in reply.body) == (status, status != 200)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("path", ["/docs", "/", "/metrics", "/healthz", STATIC])
@pytest.mark.parametrize("scheme", ["https", "ftp"])
def test_a_target_of_another_scheme_is_misdirected(gateway: Gateway, path: str, scheme: str) -> None:
    reply = once(gateway.port, ask(f"GET {scheme}://localhost{path}"))
    if path in PROBES:
        assert reply.status == 200
    else:
        check_problem(reply, 421)
