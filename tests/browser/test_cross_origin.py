"""`cors` as a browser enforces it: pages of two other origins in front of one gateway."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from tests.conformance.gateways import Gateway
from tests.conformance.upstream import Answer, Seen, Upstream
from tests.ports import free_port

# A request from a page: what the page gets, `None` if the browser keeps the response from it.
FETCH = """async ([url, init]) => {
  try {
    const response = await fetch(url, init);
    return {status: response.status, total: response.headers.get('X-Total'), type: response.headers.get('Content-Type'),
            hidden: response.headers.get('X-Hidden')};
  } catch (error) {
    return null;
  }
}"""
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Row:
    """One request. `status` is what the page reads; `arrives` is whether the service gets the request."""

    name: str
    path: str
    init: dict[str, Any]
    status: int | None
    arrives: bool
    page: str = "listed"


ROWS = [
    Row("a GET", "/api/shared", {}, 200, arrives=True),
    Row("a GET from another origin", "/api/shared", {}, None, arrives=True, page="other"),
    Row("a GET with a token", "/api/shared", {"headers": {"Authorization": "Bearer <token>"}}, 200, arrives=True),
    Row("a GET with a token from another origin", "/api/shared", {"headers": {"Authorization": "Bearer <token>"}},
        None, arrives=False, page="other"),
    Row("a GET with a header that is not allowed", "/api/shared", {"headers": {"X-Other": "1"}}, None, arrives=False),
    Row("a HEAD", "/api/shared", {"method": "HEAD"}, 200, arrives=True),
    Row("a POST of a form", "/api/shared", {"method": "POST", "body": "a=1"}, 200, arrives=True),
    Row("a POST of JSON", "/api/shared", {"method": "POST", "body": "{}", "headers": JSON}, 200, arrives=True),
    Row("a POST of JSON from another origin", "/api/shared", {"method": "POST", "body": "{}", "headers": JSON}, None,
        arrives=False, page="other"),
    Row("a PUT", "/api/shared", {"method": "PUT", "body": "x"}, 200, arrives=True),
    Row("a PUT from another origin", "/api/shared", {"method": "PUT", "body": "x"}, None, arrives=False, page="other"),
    Row("a PATCH, which the policy leaves out", "/api/shared", {"method": "PATCH", "body": "x"}, None, arrives=False),
    Row("a DELETE, which no route has", "/api/shared", {"method": "DELETE"}, None, arrives=False),
    Row("a GET where only the service has a policy", "/api/plain", {}, 200, arrives=True),
    Row("a PUT of a route without a policy", "/api/plain", {"method": "PUT", "body": "x"}, None, arrives=False),
    Row("a GET without a token where one is needed", "/api/private", {}, 401, arrives=False),
    Row("a PUT with an invalid token", "/api/private", {"method": "PUT", "headers": {"Authorization": "Bearer x"}}, 401,
        arrives=False),
    Row("a path without a route", "/api/nothing", {}, 404, arrives=False),
    Row("a service that is down", "/api/down", {}, 502, arrives=False),
    Row("a POST that is too large", "/api/small", {"method": "POST", "body": "x" * 100}, 413, arrives=False),
    Row("a sign-in with a wrong password", "/api/login",
        {"method": "POST", "headers": JSON, "body": '{"username": "a", "password": "b"}'}, 401, arrives=False),
    Row("a sign-in from another origin", "/api/login",
        {"method": "POST", "headers": JSON, "body": '{"username": "a", "password": "b"}'}, None, arrives=False,
        page="other"),
    Row("a GET with cookies", "/api/cookies", {"credentials": "include"}, 200, arrives=True),
    Row("a GET with cookies where the policy has none", "/api/shared", {"credentials": "include"}, None, arrives=True),
    Row("a GET of what every origin may read", "/api/open", {}, 200, arrives=True, page="other"),
]  # fmt: skip


def response(seen: Seen) -> Answer:
    """Respond as a service with a policy of its own, and as a login service to which every password is wrong."""
    status = "401 Unauthorized" if seen.target == "/internal/credentials" else "200 OK"
    body = json.dumps({"ends": [], "cursor": ""}).encode()
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", "X-Total: 5", "X-Hidden: 1",
            "Access-Control-Allow-Origin: *", f"Content-Length: {len(body)}"]  # fmt: skip
    return Answer("\r\n".join([*head, "", ""]).encode() + (b"" if seen.method == "HEAD" else body))


@pytest.fixture(scope="module")
def service() -> Iterator[Upstream]:
    """The service behind the routes."""
    with Upstream() as upstream:
        upstream.begin(response)
        yield upstream


class EmptyPage(BaseHTTPRequestHandler):
    """The server of both origins' pages. Of a page that no server sent, Chromium lets no request reach this machine."""

    def do_GET(self) -> None:  # the name that http.server calls
        """Send an empty page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>page</title>")

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """The port of the pages' server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def pages(chromium: Browser, server: int) -> Iterator[Callable[[str], Page]]:
    """Open a page of an origin; every name below localhost is this machine."""
    context = chromium.new_context()
    context.set_default_timeout(15_000)

    def opened(name: str) -> Page:
        page = context.new_page()
        page.goto(f"http://{name}.localhost:{server}/")
        return page

    yield opened
    context.close()


@pytest.fixture(scope="module")
def gateway(service: Upstream, server: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway that both pages use."""
    cors = {"origins": [f"http://listed.localhost:{server}"], "expose": ["X-Total"]}
    every = ["GET", "PUT", "POST", "PATCH"]
    config = {
        "defaults": {"cors": cors},
        "services": {"one": {"url": service.url}, "down": {"url": f"http://127.0.0.1:{free_port()}"}},
        "login": {"service": "one"},
        "routes": [
            {"path": "/api/shared", "methods": every, "service": "one", "allow": "public",
             "cors": {"methods": ["GET", "PUT", "POST"]}},
            {"path": "/api/plain", "service": "one", "allow": "public", "cors": {"origins": []}},
            {"path": "/api/private", "service": "one", "allow": "authenticated"},
            {"path": "/api/down", "service": "down", "allow": "public"},
            {"path": "/api/small", "service": "one", "allow": "public", "max_body": 10},
            {"path": "/api/cookies", "service": "one", "allow": "public", "cors": {"credentials": True}},
            {"path": "/api/open", "service": "one", "allow": "public", "cors": {"origins": "*"}},
        ],
    }  # fmt: skip
    with Gateway("fast", tmp_path_factory.mktemp("gateway") / "var", config) as running:
        yield running


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_browser_enforces_the_policy(
    row: Row, gateway: Gateway, service: Upstream, pages: Callable[[str], Page]
) -> None:
    page = pages(row.page)
    service.begin(response)
    init = json.loads(json.dumps(row.init).replace("<token>", gateway.token()))
    got = page.evaluate(FETCH, [f"{gateway.url}{row.path}", init])
    assert (got and got["status"]) == row.status
    arrived = [seen for seen in service.seen if seen.target == row.path]
    assert bool(arrived) == row.arrives
    if got and row.arrives:
        assert (got["total"], got["hidden"]) == (None if row.path == "/api/plain" else "5", None)
    page.close()
