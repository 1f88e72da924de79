"""An API page has forms from the service's document, and what they send is what a program would have sent."""

import html
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from tests.gateway.runtimes import wait_for_documents
from tests.gateway.service import Reply, Seen, Service

pytestmark = pytest.mark.django_db
SignedIn = Callable[..., dict[str, str]]

PAGE = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Sec-Fetch-Site": "same-origin"}
FORM = "application/x-www-form-urlencoded"
THING = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "id": {"type": "integer", "readOnly": True},
        "name": {"type": "string", "maxLength": 20, "description": "What it is <called>."},
        "size": {"type": "integer", "default": 1},
        "color": {"type": "string", "enum": ["red", "blue"]},
        "secret": {"type": "string", "format": "password", "writeOnly": True},
    },
}
BODY = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}
OPERATION = {"requestBody": BODY, "responses": {"200": {"description": ""}}}
COLOR = {"name": "color", "in": "query", "schema": {"type": "string", "enum": ["red", "blue"]}}
LIMIT = {"name": "limit", "in": "query", "schema": {"type": "integer"}}
LIST = {"summary": "List the things", "parameters": [COLOR, LIMIT], "responses": {"200": {"description": ""}}}
DOCUMENT = {
    "openapi": "3.0.3",
    "components": {"schemas": {"Thing": THING}},
    "paths": {
        "/things/": {"get": LIST, "post": OPERATION | {"summary": "Make a `thing`"}},
        "/things/{pk}/": {"put": OPERATION, "patch": OPERATION},
        "/things/{pk}/paint/": {"post": {"summary": "Paint it", "responses": {"200": {"description": ""}}}},
    },
}
STORED = {"id": 7, "name": "<b>hat</b>", "size": 3, "color": "blue"}


@pytest.fixture
def service(serve: Callable[..., Service], configure: Callable[..., None]) -> Service:
    """A service as stock Django REST framework makes one, that knows nothing of the gateway."""
    service = serve(answer)
    configure(
        services={"things": {"url": service.url, "openapi": "/openapi.json"}},
        routes=[
            {"service": "things", "path": path, "methods": methods, "allow": allow}
            for path, methods, allow in (
                ("/things/", ["GET"], "public"),
                ("/things/", ["POST"], "authenticated"),
                ("/things/{id}/", ["GET", "PUT", "PATCH", "DELETE"], "authenticated"),
                ("/things/{id}/paint/", ["POST"], "authenticated"),
                ("/staff/", ["POST"], ["admin"]),
                ("/free/", ["GET", "POST"], "public"),
            )
        ],
    )
    wait_for_documents()
    return service


def answer(seen: Seen) -> Reply:
    path = seen.target.partition("?")[0]
    if path == "/openapi.json":
        return Reply.json(DOCUMENT)
    if seen.method == "GET" and path == "/things/":
        page = {"count": 2, "next": "http://testserver/things/?page=2", "previous": None, "results": [STORED]}
        return Reply.json(page)
    if seen.method == "GET":
        return Reply(200, json.dumps(STORED).encode(), [("Content-Type", "application/json"), ("ETag", '"v1"')])
    if seen.method == "DELETE":
        return Reply(204, b"", [])
    if b"bad" in seen.body:
        return Reply.json({"name": ["Not <this> one."], "non_field_errors": ["Not at all."]}, 400)
    return Reply.json(STORED, 201 if seen.method == "POST" else 200)


def asked(service: Service) -> Seen:
    (seen,) = forwarded(service)
    return seen


def forwarded(service: Service) -> list[Seen]:
    """Return the requests for something else than the document."""
    return [each for each in service.seen if each.target != "/openapi.json"]


def send(client: Client, path: str, headers: dict[str, str], **values: str) -> Any:
    """Send the form of a page."""
    body = "&".join(f"{name}={value}" for name, value in values.items())
    return client.post(f"/gateway/send{path}", body, FORM, headers=PAGE | headers)


def form(page: str, method: str) -> str:
    """Return the HTML of the forms for a method."""
    found = re.search(rf'<section class="card" aria-labelledby="form-{method}">.*?</section>', page, re.DOTALL)
    assert found, page
    return found[0]


def value(page: str, name: str) -> str:
    """Return what a field of a form is filled in with."""
    found = re.search(rf'<input id="[^"]*" name="{name}" value="([^"]*)"', page)
    assert found, page
    return html.unescape(found[1])


def test_a_form_has_the_fields_of_the_document(service: Service, client: Client, signed_in: SignedIn) -> None:
    page = form(client.get("/things/", headers=PAGE | signed_in()).content.decode(), "POST")
    assert "Make a thing" in page
    assert '<form method="post" action="/gateway/send/things/">' in page
    assert "/id" not in page
    assert re.search(r'name="/name" value="" type="text" maxlength="20" required', page)
    assert "What it is &lt;called&gt;." in page
    assert value(page, "/size") == "1"
    assert '<option value="blue">blue</option>' in page
    assert re.search(r'name="/secret" value="" type="password"', page)
    raw = re.search(r'name="json"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    assert raw
    assert json.loads(html.unescape(raw[1])) == {"name": "name", "size": 1, "color": "red", "secret": "secret"}


def test_a_visitor_has_no_form_for_what_they_may_not_do(service: Service, client: Client) -> None:
    page = client.get("/things/", headers=PAGE).content.decode()
    assert "form-POST" not in page
    assert "List the things" in page


def test_a_form_becomes_the_request_of_a_program(service: Service, client: Client, signed_in: SignedIn) -> None:
    values = {"/name": "hat", "/size": "3", "/color": "", "/secret": "x"}
    reply = send(client, "/things/?a=%2F", signed_in(), method="POST", **values)
    page = reply.content.decode()
    assert (reply.status_code, reply["Cache-Control"]) == (201, "no-store")
    seen = asked(service)
    assert (seen.method, seen.target) == ("POST", "/things/?a=%2F")
    assert json.loads(seen.body) == {"name": "hat", "size": 3, "secret": "x"}
    assert (seen.header("Content-Type"), seen.header("Accept")) == ("application/json", "application/json")
    assert seen.header("Request-User-Id") == "2"
    assert "201 Created" in page
    assert value(page, "/name") == "", "a new form"
    assert "curl -X POST" in html.unescape(page)
    assert 'data-path="/things/?a=%2F"' in page


def test_json_is_sent_as_it_is_written(service: Service, client: Client, signed_in: SignedIn) -> None:
    send(client, "/things/", signed_in(), method="POST", json='{"size": 1.10}')
    assert asked(service).body == b'{"size": 1.10}'


def test_what_was_typed_survives_an_error_with_each_message_at_its_field(
    service: Service, client: Client, signed_in: SignedIn
) -> None:
    reply = send(client, "/things/", signed_in(), method="POST", **{"/name": "bad %22", "/size": "5", "/secret": "x"})
    page = reply.content.decode()
    assert reply.status_code == 400
    assert '<div class="note bad" role="alert" id="problem">' in page
    one = form(page, "POST")
    assert (value(one, "/name"), value(one, "/size"), value(one, "/secret")) == ('bad "', "5", "")
    assert re.search(r'name="/name"[^>]* aria-invalid="true" aria-describedby="POST-field-name-error"', one)
    assert '<p class="error" id="POST-field-name-error">Not &lt;this&gt; one.</p>' in one
    assert '<p class="error">Not at all.</p>' in one


def test_json_survives_an_error_too(service: Service, client: Client, signed_in: SignedIn) -> None:
    page = send(client, "/things/", signed_in(), method="POST", json='["bad</textarea>"]').content.decode()
    assert "[&quot;bad&lt;/textarea&gt;&quot;]</textarea>" in page


def test_a_change_is_filled_in_and_sends_what_was_changed(
    service: Service, client: Client, signed_in: SignedIn
) -> None:
    page = client.get("/things/7/", headers=PAGE | signed_in()).content.decode()
    for method in ("PATCH", "PUT"):
        one = form(page, method)
        assert (value(one, "/name"), value(one, "/size")) == ("<b>hat</b>", "3")
        assert '<option value="blue" selected>' in one
        assert '<input type="hidden" name="if-match" value="&quot;v1&quot;">' in one
    service.seen.clear()
    values = {"/name": "hat", "was:/name": "cap", "/size": "3", "was:/size": "3", "if-match": '"v1"'}
    send(client, "/things/7/", signed_in(), method="PATCH", **values)
    seen = asked(service)
    assert (seen.method, json.loads(seen.body), seen.header("If-Match")) == ("PATCH", {"name": "hat"}, '"v1"')


def test_a_deletion_names_what_it_deletes(service: Service, client: Client, signed_in: SignedIn) -> None:
    page = form(client.get("/things/7/", headers=PAGE | signed_in()).content.decode(), "DELETE")
    assert "This deletes <strong>&lt;b&gt;hat&lt;/b&gt;</strong> (/things/7/)." in page
    service.seen.clear()
    reply = send(client, "/things/7/", signed_in(), method="DELETE")
    assert (asked(service).method, reply.status_code) == ("DELETE", 200)
    assert "204 No Content" in reply.content.decode()


def test_a_page_links_to_what_can_be_done_below_its_path(service: Service, client: Client, signed_in: SignedIn) -> None:
    link = '<a class="button tiny" href="/things/7/paint/">Paint it</a>'
    assert link in client.get("/things/7/", headers=PAGE | signed_in()).content.decode()
    assert "Below this path" not in client.get("/things/", headers=PAGE).content.decode()


def test_a_path_without_get_has_a_page_with_its_form(service: Service, client: Client, signed_in: SignedIn) -> None:
    reply = client.get("/things/7/paint/", headers=PAGE | signed_in())
    page = reply.content.decode()
    assert (reply.status_code, reply["Cache-Control"]) == (200, "no-store")
    assert "Paint it" in form(page, "POST")
    assert forwarded(service) == [], "nothing is done yet"
    service.seen.clear()
    send(client, "/things/7/paint/", signed_in(), method="POST")
    assert (asked(service).method, asked(service).body) == ("POST", b"")
    assert client.get("/things/7/paint/", headers=signed_in()).status_code == 405, "to a program"
    assert client.get("/staff/", headers=PAGE | signed_in()).status_code == 403
    assert client.get("/staff/", headers=PAGE).status_code == 401


def test_a_service_without_a_document_has_a_form_for_json(service: Service, client: Client) -> None:
    page = form(client.get("/free/", headers=PAGE).content.decode(), "POST")
    assert 'name="json"' in page
    assert "/name" not in page


def test_a_list_is_a_table_with_links_and_pages(service: Service, client: Client, signed_in: SignedIn) -> None:
    page = client.get("/things/", headers=PAGE | signed_in()).content.decode()
    assert '<th scope="col">color</th>' in page
    assert '<td><a href="/things/7/" rel="nofollow">7</a>' in page
    assert "&lt;b&gt;hat&lt;/b&gt;" in page
    assert "<b>hat" not in page
    assert '<a class="button" href="/things/?page=2">Next page</a>' in page
    assert 'href="/things/7/"' not in client.get("/things/", headers=PAGE).content.decode(), "not theirs to open"


def test_a_page_of_another_host_is_no_link(service: Service, client: Client) -> None:
    service.answer = lambda seen: Reply.json({"next": "http://other.example/?page=2", "results": [{"a": 1}]})
    assert "Next page" not in client.get("/things/", headers=PAGE).content.decode()


def test_a_filter_leads_to_the_list_without_what_was_left_empty(service: Service, client: Client) -> None:
    page = client.get("/things/?color=blue", headers=PAGE).content.decode()
    assert '<form method="get" action="/gateway/filter/things/" class="filters">' in page
    assert '<option value="blue" selected>' in page
    assert 'name="limit"' not in page
    reply = client.get("/gateway/filter/things/?color=red&size=", headers=PAGE)
    assert (reply.status_code, reply["Location"]) == (303, "/things/?color=red")
    assert client.get("/gateway/filter/things/?color=", headers=PAGE)["Location"] == "/things/"


def test_a_filter_leads_to_no_other_host(service: Service, client: Client) -> None:
    for path in ("/\\evil.example/", "/%5Cevil.example/", "//evil.example/", "/..//evil.example/"):
        reply = client.get(f"/gateway/filter{path}?a=1", headers=PAGE)
        assert (reply.status_code, reply.headers.get("Location", "/")) in {(303, "/"), (404, "/"), (400, "/")}, path


def test_a_path_of_another_host_is_no_link(service: Service, client: Client) -> None:
    reply = client.generic("GET", "/x", headers=PAGE, RAW_URI="//evil.example/things")
    assert 'href="//' not in reply.content.decode()


def test_what_was_typed_survives_the_end_of_the_session(service: Service, client: Client) -> None:
    reply = send(client, "/things/", {}, method="POST", **{"/name": "hat", "/size": "5"})
    one = form(reply.content.decode(), "POST")
    assert (reply.status_code, value(one, "/name"), value(one, "/size")) == (401, "hat", "5")
    assert forwarded(service) == []


def test_after_a_change_by_another_user_the_form_overwrites(
    service: Service, client: Client, signed_in: SignedIn
) -> None:
    problem = {"title": "Precondition Failed", "status": 412, "detail": "It was changed."}
    service.answer = lambda seen: Reply.json(problem, 412) if seen.method == "PATCH" else answer(seen)
    values = {"/name": "hat", "was:/name": "cap", "if-match": '"v0"'}
    page = send(client, "/things/7/", signed_in(), method="PATCH", **values).content.decode()
    assert "Send the form again to overwrite" in page
    assert value(form(page, "PATCH"), "/name") == "hat"
    assert "if-match" not in form(page, "PATCH")


LARGE = {"results": [{"id": number, "name": "x" * 500} for number in range(10_000)]}


@pytest.mark.parametrize("value", [LARGE, LARGE["results"], "x" * 5_000_000], ids=["page", "list", "text"])
def test_a_page_shows_the_first_part_of_a_large_response(service: Service, client: Client, value: object) -> None:
    service.answer = lambda seen: Reply.json(DOCUMENT if seen.target == "/openapi.json" else value)
    reply = client.get("/things/", headers=PAGE)
    page = reply.content.decode()
    assert reply.status_code == 200
    assert len(page) < 300_000
    assert "This answer is large" in page
    assert page.count("<tr>") == (0 if isinstance(value, str) else 101)
    data = client.get("/gateway/data/things/", headers=PAGE)
    assert json.loads(b"".join(data.streaming_content)) == value  # type: ignore[arg-type]
    assert data["Content-Security-Policy"].startswith("sandbox;")
    assert data["Content-Type"] == "application/json"


def test_the_data_is_the_route_s_own(service: Service, client: Client, signed_in: SignedIn) -> None:
    assert client.get("/gateway/data/things/7/", headers=PAGE).status_code == 401
    assert client.get("/gateway/data/things/7/", headers=PAGE | signed_in()).json() == STORED
    service.answer = lambda seen: Reply(200, b"<script>", [("Content-Type", "text/html")])
    reply = client.get("/gateway/data/free/", headers=PAGE)
    assert reply["Content-Security-Policy"].startswith("sandbox;")


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_another_site_s_form_is_403(service: Service, client: Client, site: str) -> None:
    reply = send(client, "/free/", {"Sec-Fetch-Site": site}, method="POST", json="{}")
    assert (reply.status_code, reply.json()["code"]) == (403, "cross_origin")
    assert forwarded(service) == []


def test_a_form_without_a_word_of_its_origin_is_403(service: Service, client: Client) -> None:
    reply = client.post("/gateway/send/free/", "method=POST", FORM)
    assert reply.status_code == 403
    assert forwarded(service) == []


@pytest.mark.parametrize(
    ("path", "kind", "body", "status"),
    [
        ("/free/", FORM, "method=GET", 400),
        ("/free/", FORM, "method=TRACE", 400),
        ("/free/", FORM, "", 400),
        ("/free/", "text/plain", "method=POST", 400),
        ("/free/", FORM, f"method=POST&json={'x' * 1_200_000}", 413),
        ("/free/", FORM, "method=DELETE", 405),
        ("/nothing/", FORM, "method=POST", 404),
        ("//evil.example/", FORM, "method=POST", 404),
        ("/staff/", FORM, "method=POST", 401),
    ],
)
def test_a_form_that_is_none_of_a_page(
    service: Service, client: Client, path: str, kind: str, body: str, status: int
) -> None:
    assert client.post(f"/gateway/send{path}", body, kind, headers=PAGE).status_code == status
    assert forwarded(service) == []


def test_a_form_counts_under_its_route_and_is_limited_by_it(service: Service, client: Client) -> None:
    text = "x" * 2000
    assert send(client, "/free/", {}, method="POST", json=text).status_code == 201
    metrics = client.get("/metrics").content.decode()
    assert re.search(r'route="/free/"', metrics)


@pytest.mark.parametrize(("path", "status"), [("/nothing/", 404), ("/things/7/", 401)])
def test_a_rejection_is_a_page_in_the_same_look(service: Service, client: Client, path: str, status: int) -> None:
    reply = client.get(path, headers=PAGE)
    page = reply.content.decode()
    assert reply.status_code == status
    assert '<header class="gh-header">' in page
    assert 'role="alert"' in page


def test_a_page_has_its_request_as_commands(service: Service, client: Client, signed_in: SignedIn) -> None:
    page = html.unescape(client.get("/things/7/?a=1&b='", headers=PAGE | signed_in()).content.decode())
    assert """curl -H "Authorization: Bearer $TOKEN" 'http://testserver/things/7/?a=1&b=""" in page


def test_a_page_of_a_deprecated_route_names_its_successor(
    serve: Callable[..., Service], configure: Callable[..., None], client: Client
) -> None:
    service = serve(answer)
    rules = {
        "since": "2026-01-01",
        "sunset": "2099-12-31",
        "successor": "/new/{id}",
        "link": "https://docs.example.org/",
    }
    configure(
        services={"things": {"url": service.url}},
        routes=[
            {"path": "/old/{id}", "service": "things", "allow": "public", "deprecated": rules},
            {"path": "/new/{id}", "service": "things", "allow": "public"},
        ],
    )
    reply = client.get("/old/a%3Cb", headers=PAGE)
    page = reply.content.decode()
    assert "Deprecated since 2026-01-01." in page
    assert "It is expected to end on 2099-12-31." in page
    assert '<a href="/new/a%3Cb"><code>/new/a%3Cb</code></a>' in page
    assert '<a href="https://docs.example.org/"' in page
    assert reply["Deprecation"] == "@1767225600"
    assert 'id="deprecated"' not in client.get("/new/7", headers=PAGE).content.decode()
