"""Cancelling has no body: a body is limited and ignored."""

import json
from io import StringIO

import pytest
from django.core.management import call_command
from tests.orders.serving import Service, ask

BOOK = {"item": "book", "address": "Main street 1"}
MAX = 1024 * 1024


@pytest.fixture(scope="module")
def service(issuer, tmp_path_factory):
    with Service(issuer, tmp_path_factory.mktemp("var"), workers=1) as running:
        yield running


@pytest.mark.parametrize("body", [b"{}", b"no json", b'{"status": "shipped"}', b"x" * MAX])
def test_the_body_of_a_cancellation_is_ignored(service, body):
    order = service.ask("POST", "/api/orders", BOOK).json
    with service.connected() as client:
        client.request("POST", f"/api/orders/{order['id']}/cancel", body, service.headers())
        answer = client.getresponse()
        assert (answer.status, json.loads(answer.read())["status"]) == (200, "cancelled")
        client.close()  # what was not read to its end may have ended the connection
        assert ask(client, "GET", f"/api/orders/{order['id']}", None, service.headers()).json["status"] == "cancelled"


def test_a_body_that_is_too_large_is_rejected_before_it_is_read(service):
    order = service.ask("POST", "/api/orders", BOOK).json
    with service.connected() as client:
        client.putrequest("POST", f"/api/orders/{order['id']}/cancel")
        for name, value in (service.headers() | {"Content-Length": str(10**12)}).items():
            client.putheader(name, value)
        client.endheaders(b"x" * 1024)
        answer = client.getresponse()
        assert (answer.status, json.loads(answer.read())["title"]) == (413, "Content Too Large")
    assert service.ask("GET", f"/api/orders/{order['id']}").json["status"] == "placed"


def test_the_openapi_document_describes_no_body():
    out = StringIO()
    call_command("spectacular", "--format", "openapi-json", stdout=out)
    paths = json.loads(out.getvalue())["paths"]
    assert "requestBody" not in paths["/api/orders/{order_id}/cancel"]["post"]
    assert "requestBody" in paths["/api/orders"]["post"]
