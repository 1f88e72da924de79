"""API pages at a real gateway: their forms follow the service's document, and are sent from a page of this origin."""

import json
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.conformance.gateways import DOORS, Door, Gateway
from tests.gateway.service import Reply, Seen, Service
from tests.waiting import wait_until

PAGE = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Site": "same-origin"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
POST = {"requestBody": {"content": {"application/json": {"schema": SCHEMA}}}, "responses": {"200": {"description": ""}}}
DOCUMENT = {"openapi": "3.0.3", "paths": {"/things": {"post": POST}}}
Ask = Callable[..., tuple[int, str]]


@pytest.fixture(params=DOORS)
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Ask, Service]]:
    """A gateway and its service, which has no document at first."""
    door: Door = request.param
    service = Service(lambda seen: Reply(404) if seen.target == "/openapi.json" else Reply.json({"is": seen.method}))
    config = {
        "services": {"things": {"url": service.url, "openapi": "/openapi.json"}},
        "routes": [
            {"path": "/things", "service": "things", "methods": ["GET", "POST"], "allow": "public"},
            {
                "path": "/large",
                "service": "things",
                "methods": ["GET", "POST"],
                "allow": "public",
                "max_body": 5_000_000,
            },
        ],
    }
    running = Gateway(door, tmp_path / "var", config)

    def ask(method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", running.port, timeout=60)
        connection.request(method, path, body.encode() or None, PAGE | headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    with running:
        yield ask, service
    service.stop()


def test_a_form_follows_the_document_and_makes_the_request(gateway: tuple[Ask, Service]) -> None:
    ask, service = gateway
    assert 'name="/name"' not in ask("GET", "/things")[1]

    def documented(seen: Seen) -> Reply:
        return Reply.json(DOCUMENT if seen.target == "/openapi.json" else {"got": json.loads(seen.body or b"null")})

    service.answer = documented
    wait_until(lambda: 'name="/name"' in ask("GET", "/things")[1], "the form has the document's fields")
    body = urlencode({"method": "POST", "/name": "hat é"})
    status, page = ask("POST", "/gateway/send/things", body, **FORM)
    assert (status, "200 OK" in page) == (200, True)
    assert json.loads(service.seen[-1].body) == {"name": "hat é"}
    assert ask("POST", "/gateway/send/things", body, **FORM | {"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert ask("POST", "/gateway/send/things", "method=POST&json=" + "x" * 1_200_000, **FORM)[0] == 413
    assert ask("GET", "/gateway/data/things", Accept="text/html")[1] == '{"got": null}'


def test_a_form_sends_a_file_that_is_larger_than_what_a_door_holds(gateway: tuple[Ask, Service]) -> None:
    ask, service = gateway
    properties = {"name": {"type": "string"}, "file": {"type": "string", "format": "binary"}}
    content = {"multipart/form-data": {"schema": {"type": "object", "properties": properties}}}
    document = DOCUMENT | {"paths": {"/large": {"post": POST | {"requestBody": {"content": content}}}}}
    service.answer = lambda seen: Reply.json(document if seen.target == "/openapi.json" else {"got": len(seen.body)})
    wait_until(lambda: 'name="/file"' in ask("GET", "/large")[1], "the form has the document's fields")

    def send(size: int) -> int:
        fields = "".join(
            f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in (("method", "POST"), ("/name", "hat"))
        )
        file = f'--x\r\nContent-Disposition: form-data; name="/file"; filename="a"\r\n\r\n{"x" * size}\r\n--x--\r\n'
        return ask("POST", "/gateway/send/large", fields + file, **{"Content-Type": "multipart/form-data; boundary=x"})[
            0
        ]

    assert send(4_000_000) == 200
    seen = service.seen[-1]
    assert (seen.method, seen.target) == ("POST", "/large")
    assert b'name="name"\r\n\r\nhat\r\n' in seen.body
    assert b'name="file"; filename="a"' in seen.body
    assert seen.body.count(b"x") >= 4_000_000
    assert send(5_000_000) == 413
