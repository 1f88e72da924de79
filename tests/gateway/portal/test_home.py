"""The home page is what the gateway exposes, as a viewer may use it; to a program `/` stays JSON."""

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from tests.gateway.runtimes import wait_for_documents
from tests.gateway.service import Reply, Seen, Service
from tests.ports import free_port

pytestmark = pytest.mark.django_db
SignedIn = Callable[..., dict[str, str]]

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
BODY = {"content": {"application/json": {"schema": {"type": "object", "properties": {"it's": {"type": "string"}}}}}}
CREATE = {"requestBody": BODY, "responses": {"201": {"description": ""}}}
LIST = {"summary": "List <b>things</b>", "responses": {"200": {"description": ""}}}


def answer(seen: Seen) -> Reply:
    """The service's document, and its health."""
    if seen.target == "/openapi.json":
        return Reply.json({"openapi": "3.0.3", "paths": {"/api/open": {"get": LIST, "post": CREATE}}})
    return Reply(503 if seen.target == "/ill" else 200)


@pytest.fixture
def service(serve: Callable[..., Service], configure: Callable[..., None]) -> Service:
    """A healthy service, a failing one and a stopped one, with a route for each kind of access."""
    service = serve(answer)
    configure(
        services={
            "things": {"url": service.url, "openapi": "/openapi.json", "health": "/well"},
            "ill": {"url": service.url, "health": "/ill"},
            "away": {"url": f"http://127.0.0.1:{free_port()}", "health": "/well"},
            "quiet": {"url": service.url},
        },
        login={"service": "things"},
        routes=[
            {"path": "/api/open", "methods": ["GET", "POST"], "allow": "public", "service": "things"},
            {"path": "/api/mine", "methods": ["GET"], "allow": "authenticated", "service": "things"},
            {"path": "/api/mine/{id}", "methods": ["GET"], "allow": "authenticated", "service": "things"},
            {"path": "/api/staff", "methods": ["GET", "POST"], "allow": ["admin"], "service": "ill"},
            {"path": "/desk/{rest...}", "allow": ["admin"], "service": "away", "browser": "passthrough"},
        ],
    )
    wait_for_documents()
    return service


def home(client: Client, **headers: str) -> str:
    """Return the page."""
    reply = client.get("/", headers=BROWSER | headers)
    assert (reply.status_code, reply["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert (reply["Cache-Control"], reply["Vary"]) == ("no-store", "Accept")
    return reply.content.decode()


def links(page: str) -> set[str]:
    return set(re.findall(r'<a [^>]*href="(/(?:api|desk|login)[^"]*)"', page))


def test_a_visitor_sees_every_route_links_to_the_public_ones_and_a_sign_in(service: Service, client: Client) -> None:
    page = home(client)
    assert links(page) == {"/api/open", "/login/?next=/"}
    lead = " ".join(re.sub("<[^>]+>", "", page.partition('class="lead">')[2].partition("</p>")[0]).split())
    assert lead == (
        "This is the one public address of 4 services: the gateway checks each request and forwards it. "
        "Sign in below, or from a program with POST /api/login; 1 route is public."
    )
    for path in ("/api/mine", "/api/mine/{id}", "/api/staff", "/desk/{rest...}"):
        assert f">{path}</code>" in page
    assert "for admin" in page


def test_a_viewer_sees_links_to_the_routes_that_their_role_may_use(
    service: Service, client: Client, signed_in: SignedIn
) -> None:
    assert links(home(client, **signed_in())) == {"/api/open", "/api/mine"}
    page = home(client, **signed_in(role="admin"))
    assert links(page) == {"/api/open", "/api/mine", "/api/staff", "/desk/"}
    assert ">user</span>" in page
    assert "Sign in</a>" not in page


def test_each_service_has_its_health(service: Service, client: Client) -> None:
    states = re.findall(r'<h2 id="service-[0-9]+"[^>]*>(\w+)\s*<span class="pill (\w*)">([^<]*)', home(client))
    assert [(name, kind) for name, kind, _ in states] == [
        ("things", "good"), ("ill", "bad"), ("away", "bad"), ("quiet", ""),
    ]  # fmt: skip
    assert [text for *_, text in states][:2] == ["healthy", "responded with 503"]


def test_descriptions_of_a_service_are_shown_as_text(service: Service, client: Client) -> None:
    page = home(client)
    assert "List &lt;b&gt;things&lt;/b&gt;" in page
    assert "<b>things" not in page


def test_first_steps_are_shown_where_the_demo_users_are(service: Service, client: Client, settings: Any) -> None:
    page = home(client)
    assert "http://testserver/api/login" in page
    assert "curl http://testserver/api/open" in page
    assert """-d '{"it'"'"'s": "it'"'"'s"}' http://testserver/api/open""" in html.unescape(page)
    assert "The way of one request" in page
    settings.SHOW_FIRST_STEPS = False
    assert "curl" not in home(client)


def test_a_deprecated_route_is_marked(
    serve: Callable[..., Service], configure: Callable[..., None], client: Client
) -> None:
    service = serve(answer)
    old, new = (
        {"path": "/api/old", "deprecated": {"since": "2026-01-01", "successor": "/api/open"}},
        {"path": "/api/open"},
    )
    configure(
        services={"things": {"url": service.url, "openapi": "/openapi.json"}},
        routes=[each | {"methods": ["GET"], "allow": "public", "service": "things"} for each in (old, new)],
    )
    marked = re.findall(r"<code>([^<]*)</code></a>\s*(<span class=\"pill warn\">deprecated</span>)?", home(client))
    assert [(path, bool(mark)) for path, mark in marked] == [("/api/old", True), ("/api/open", False)]
    assert "Deprecated since" not in home(client)


def test_a_program_gets_json(service: Service, client: Client) -> None:
    reply = client.get("/", headers={"Accept": "*/*"})
    assert reply["Content-Type"] == "application/json"
    assert reply.json()["open"] == "http://testserver/api/open"


def test_without_services_the_page_says_what_to_do(configure: Callable[..., None], client: Client) -> None:
    configure()
    assert "No services yet" in home(client)
