"""A page's form with files: what the service receives is `multipart/form-data`."""

import re
from collections.abc import Callable
from email.message import Message
from email.parser import BytesParser
from typing import Any, cast

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from tests.gateway.runtimes import wait_for_documents
from tests.gateway.service import Reply, Seen, Service

from gateway.portal.uploads import Multipart, Part

pytestmark = pytest.mark.django_db
PAGE = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Sec-Fetch-Site": "same-origin"}
FILE = {"type": "string", "format": "binary"}
COVER = {
    "type": "object",
    "required": ["title", "image"],
    "properties": {
        "title": {"type": "string"},
        "pages": {"type": "integer"},
        "is_new": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "image": FILE | {"description": "A picture."},
        "more": {"type": "array", "items": {"type": "string", "contentMediaType": "image/png"}},
    },
}
TEXT = {"type": "object", "properties": {"title": {"type": "string"}}}


def operation(**contents: dict[str, Any]) -> dict[str, Any]:
    """Return an operation that takes these media types, of which `_` is `/`."""
    content = {name.replace("__", "/").replace("_", "-"): {"schema": schema} for name, schema in contents.items()}
    return {"requestBody": {"content": content}, "responses": {"200": {"description": ""}}}


EITHER = operation(application__json=COVER, multipart__form_data=COVER)
FORM = operation(application__x_www_form_urlencoded=TEXT)
DOCUMENT = {
    "openapi": "3.1.0",
    "paths": {"/covers": {"post": EITHER, "patch": EITHER}, "/notes": {"post": FORM}, "/private": {"post": EITHER}},
}
STORED = {"title": "Dune", "image": "http://testserver/media/dune.png"}


@pytest.fixture
def service(serve: Callable[..., Service], configure: Callable[..., None]) -> Service:
    def answer(seen: Seen) -> Reply:
        if seen.target == "/openapi.json":
            return Reply.json(DOCUMENT)
        if b"bad" in seen.body:
            return Reply.json({"title": ["Not this one."], "image": ["The file is empty."]}, 400)
        return Reply.json(STORED, 201 if seen.method == "POST" else 200)

    service = serve(answer)
    routes = [
        {"service": "covers", "path": "/covers", "methods": ["GET", "POST", "PATCH"], "max_body": 200_000},
        {"service": "covers", "path": "/notes", "methods": ["POST"]},
        {"service": "covers", "path": "/private", "methods": ["POST"], "allow": "authenticated"},
    ]
    configure(
        services={"covers": {"url": service.url, "openapi": "/openapi.json"}},
        routes=[{"allow": "public"} | route for route in routes],
    )
    wait_for_documents()
    return service


def png(name: str = "a.png", content: bytes = b"\x89PNG\r\n\x00", media: str = "image/png") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, media)


def send(client: Client, path: str, **values: Any) -> Any:
    """Send the form of a page as a browser does; `field_title` is the field `/title`."""
    fields = {name.replace("field_", "/").replace("was_", "was:/"): value for name, value in values.items()}
    return client.post(f"/gateway/send{path}", fields, headers=PAGE)


def parts(seen: Seen) -> list[tuple[str, str | None, str, bytes]]:
    """Return the parts that the service received: name, file name, media type, content."""
    message = BytesParser().parsebytes(f"Content-Type: {seen.header('content-type')}\r\n\r\n".encode() + seen.body)
    found = []
    for part in cast("list[Message]", message.get_payload()):
        name = str(part.get_param("name", header="content-disposition"))
        content = cast("bytes", part.get_payload(decode=True))
        found.append((name, part.get_filename(), part.get_content_type(), content))
    return found


def asked(service: Service) -> Seen:
    (seen,) = [each for each in service.seen if each.target != "/openapi.json"]
    return seen


def test_a_form_with_a_file_has_a_field_for_it_and_no_json(service: Service, client: Client) -> None:
    page = client.get("/covers", headers=PAGE).content.decode()
    assert 'enctype="multipart/form-data" data-max-files="200000"' in page
    assert re.search(r'<input id="POST-field-image" name="/image" type="file" required aria-describedby="[^"]+"', page)
    assert re.search(r'name="/more" type="file" multiple="multiple"', page)
    assert "A picture." in page
    assert 'id="POST-json"' not in page
    assert 'Stored now: <a href="http://testserver/media/dune.png"' in page


def test_the_service_receives_the_files_beside_the_other_fields(service: Service, client: Client) -> None:
    more = [png("b.png", b"b"), png("c d.png", b"c", "text/html; charset=x")]
    values = {"field_title": "Dune\u00e9", "field_pages": "3", "field_is_new": "true", "field_tags": "x\r\ny"}
    reply = send(client, "/covers", method="POST", **values, field_image=png(), field_more=more)
    assert reply.status_code == 201
    seen = asked(service)
    assert (seen.method, seen.target) == ("POST", "/covers")
    assert parts(seen) == [
        ("title", None, "text/plain", "Dune\u00e9".encode()),
        ("pages", None, "text/plain", b"3"),
        ("is_new", None, "text/plain", b"true"),
        ("tags", None, "text/plain", b"x"),
        ("tags", None, "text/plain", b"y"),
        ("image", "a.png", "image/png", b"\x89PNG\r\n\x00"),
        ("more", "b.png", "image/png", b"b"),
        ("more", "c d.png", "text/html", b"c"),
    ]
    page = reply.content.decode()
    assert "--form-string &#x27;title=Duneé&#x27;" in page
    assert "-F image=@a.png" in page


def test_a_change_leaves_out_a_file_that_was_not_chosen(service: Service, client: Client) -> None:
    assert (
        send(client, "/covers", method="PATCH", field_title="Dune", was_title="Dune", field_pages="4").status_code
        == 200
    )
    assert parts(asked(service)) == [("pages", None, "text/plain", b"4")]


def test_after_an_error_the_text_is_there_and_the_file_has_to_be_chosen_again(service: Service, client: Client) -> None:
    reply = send(client, "/covers", method="POST", field_title="bad", field_image=png("cover <1>.png"))
    page = reply.content.decode()
    assert reply.status_code == 400
    assert re.search(r'name="/title" value="bad"', page)
    assert "Choose cover &lt;1&gt;.png again: files are not kept." in page
    assert "The file is empty." in page
    assert "Not this one." in page


@pytest.mark.parametrize(("size", "status"), [(190_000, 201), (200_000, 413), (400_000, 413)])
def test_a_file_is_bounded_by_the_route_s_max_body(service: Service, client: Client, size: int, status: int) -> None:
    reply = send(client, "/covers", method="POST", field_title="a", field_image=png(content=b"x" * size))
    assert reply.status_code == status
    if status == 413:
        assert [each.target for each in service.seen if each.method == "POST"] == []


def test_a_visitor_s_file_is_not_read_where_they_may_not_send_one(service: Service, client: Client) -> None:
    reply = send(client, "/private", method="POST", field_image=png(content=b"x" * 100_000))
    assert reply.status_code == 401
    assert [each.target for each in service.seen] == ["/openapi.json"]


def test_a_form_that_is_malformed_is_400(service: Service, client: Client) -> None:
    for body in (b"--x\r\nno form", b""):
        reply = client.post("/gateway/send/covers", body, "multipart/form-data; boundary=" + "x" * 300, headers=PAGE)
        assert reply.status_code == 400


def test_an_operation_that_takes_only_a_form_gets_one(service: Service, client: Client) -> None:
    assert send(client, "/notes", method="POST", field_title="a b&c").status_code == 201
    seen = asked(service)
    assert (seen.header("content-type"), seen.body) == ("application/x-www-form-urlencoded", b"title=a+b%26c")


def test_a_name_cannot_end_its_header() -> None:
    body = Multipart([Part('a"\r\nX: 1', "t"), Part("f", 'n"\r\n.png', png(media="a/b\r\nX: 1"))])
    content = body.readall()
    assert len(content) == body.length
    assert b"\r\nX: 1" not in content
    assert b'name="a%22%0D%0AX: 1"' in content
    assert b"Content-Type: application/octet-stream" in content
