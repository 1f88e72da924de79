"""The DRF door: paths that a server has decoded, and the pages for browsers.

tests/conformance has what both doors do.
"""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from tests.gateway.service import Reply, Service
from tests.ports import free_port

pytestmark = pytest.mark.django_db
SignedIn = Callable[..., dict[str, str]]

ROUTES: list[dict[str, Any]] = [
    {"path": "/api/open", "methods": ["GET", "POST"], "allow": "public"},
    {"path": "/api/things", "methods": ["GET", "POST", "DELETE"], "allow": "authenticated"},
    {"path": "/api/things/{id}", "methods": ["GET", "PUT"], "allow": "authenticated"},
    {"path": "/api/admin", "methods": ["GET"], "allow": ["admin"]},
    {"path": "/pages/{path...}", "methods": ["GET"], "allow": "public", "browser": "passthrough"},
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
def test_a_path_that_the_server_has_decoded_is_percent_encoded_for_the_service(
    service: Service, client: Client, signed_in: SignedIn, path_info: str, sent: str
) -> None:
    decoded = f"/api/things/{path_info}".encode().decode("latin-1")
    assert client.get("/", headers=signed_in(), PATH_INFO=decoded).status_code == 200
    assert service.seen[0].target == f"/api/things/{sent}"


@pytest.mark.parametrize("path", ["/api/admin;x=1", "/api/admin%3Bx=1", "/api;v/admin"])
def test_a_path_that_the_server_has_decoded_does_not_bypass_a_route_s_access(
    service: Service, client: Client, path: str
) -> None:
    assert client.get(path).status_code == 401
    assert service.seen == []


def test_a_decoded_path_is_checked_if_there_is_no_raw_path(
    service: Service, client: Client, signed_in: SignedIn
) -> None:
    assert client.get("/api/things/%2e%2e", headers=signed_in()).status_code == 400
    assert client.get("/api/things/a b", headers=signed_in()).status_code == 200
    assert service.seen[0].target == "/api/things/a%20b"


def test_a_cookie_of_one_response_is_not_sent_with_the_next(service: Service, client: Client) -> None:
    service.answer = lambda seen: Reply(200, b"{}", [("Set-Cookie", "session=first; Path=/")])
    client.get("/api/open")
    Client(headers={"Host": "testserver"}).get("/api/open")
    assert [seen.header("Cookie") for seen in service.seen] == ["", ""]  # as the test client sends them


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_a_browser_gets_the_browsable_api_with_the_service_s_response(
    service: Service, client: Client, signed_in: SignedIn
) -> None:
    service.answer = lambda seen: Reply.json({"results": [{"item": "<b>book</b>"}]})
    reply = client.get("/api/things", headers=BROWSER | signed_in())
    assert reply.status_code == 200
    assert reply["Content-Type"].startswith("text/html")
    page = reply.content.decode()
    assert "&lt;b&gt;book" in page
    assert "<b>book" not in page
    assert 'name="json"' in page, "the form to POST with"
    assert 'name="method" value="DELETE"' in page, "the button to DELETE with"
    assert "Service <strong>things</strong>" in page
    assert "For signed-in users" in page
    assert '<header class="gh-header">' in page
    assert service.seen[0].header("Accept") == "application/json"
    assert "Accept" in reply["Vary"]


def test_a_browser_gets_a_problem_as_a_page(service: Service, client: Client) -> None:
    # Without a login in gateway.yaml there is no page to sign in at.
    reply = client.get("/api/things", headers=BROWSER)
    assert reply.status_code == 401
    assert reply["Content-Type"].startswith("text/html")
    assert "Authentication required" in reply.content.decode()


def test_a_browser_gets_a_passthrough_route_s_pages_unchanged(service: Service, client: Client) -> None:
    service.answer = lambda seen: Reply(200, b"<h1>Own</h1>", [("Content-Type", "text/html")])
    reply = client.get("/pages/a/b", headers=BROWSER)
    assert reply.content == b"<h1>Own</h1>"
    assert service.seen[0].header("Accept") == BROWSER["Accept"]
    assert "Vary" not in reply


def test_the_reachable_addresses_of_a_service_share_the_requests(
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
