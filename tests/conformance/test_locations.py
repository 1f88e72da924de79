"""A service's own address in `Location` is replaced by the gateway's, at both doors."""

import pytest
from tests.conformance.cases.case import answer
from tests.conformance.client import once
from tests.conformance.conftest import Fleet
from tests.conformance.gateways import DOORS, Door
from tests.conformance.upstream import Upstream

FORWARDED = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: 127.0.0.1:444\r\n"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("asked", "said", "got"),
    [
        ("/api/open", "{url}/api/items/5?a=%20b#c", "{public}/api/items/5?a=%20b#c"),
        ("/api/v1/open", "{url}/api/items/5", "{public}/api/v1/items/5"),
        ("/api/v1/open", "/api/items/5", "/api/v1/items/5"),
        ("/api/based", "{url}/base/api/based", "{public}/api/based"),
        ("/api/based", "/base/api/based", "/api/based"),
        ("/api/based", "{url}/other", "{url}/other"),
        ("/api/appended/5", "{url}/api/appended/6/", "{public}/api/appended/6"),
        ("/api/appended/5", "/api/appended/6/", "/api/appended/6"),
        ("/api/kept", "{public}/api/open", "{public}/api/open"),
        ("/files/a", "{url}/files/a/", "{public}/files/a/"),
        ("/api/open", "http://elsewhere.example/x", "http://elsewhere.example/x"),
    ],
)
@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("name", ["Location", "Content-Location"])
def test_a_service_s_address_becomes_the_public_one(
    fleet: Fleet, upstream: Upstream, door: Door, asked: str, said: str, got: str, name: str, *, trusted: bool
) -> None:
    public = "https://127.0.0.1:444" if trusted else "http://localhost:8001"
    sent, expected = (text.format(url=upstream.url, public=public) for text in (said, got))
    # `Content-Location` belongs to the JSON, not to a page that shows it.
    for accept in ("*/*", "text/html") if name == "Location" else ("*/*",):
        upstream.begin([answer("201 Created", f"{name}: {sent}", "Content-Type: application/json", body=b"{}")])
        head = f"Host: localhost:8001\r\nAccept: {accept}\r\n{FORWARDED if trusted else ''}"
        reply = once(fleet[door, trusted].port, f"GET {asked} HTTP/1.1\r\n{head}\r\n".encode())
        # A page of the browsable API is not the content that the service has named.
        is_own = accept == "text/html" and name == "Content-Location" and not asked.startswith("/files/")
        assert (reply.status, reply.all(name)) == (201, [] if is_own else [expected])


@pytest.mark.parametrize("door", DOORS)
def test_a_repeated_response_gets_each_client_s_own_host(fleet: Fleet, upstream: Upstream, door: Door) -> None:
    upstream.begin([answer("201 Created", f"Location: {upstream.url}/api/items/5", body=b"{}")])
    for path, host, expected in (
        ("/api/open", "localhost:1", "http://localhost:1/api/items/5"),
        ("/api/v1/open", "localhost:1", "http://localhost:1/api/v1/items/5"),
        ("/api/open", "localhost:2", "http://localhost:2/api/items/5"),
        ("/api/open", "localhost:1", "http://localhost:1/api/items/5"),
    ):
        reply = once(fleet[door, False].port, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert reply.all("Location") == [expected]
