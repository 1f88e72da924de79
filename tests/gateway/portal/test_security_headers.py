"""Response headers and pages that keep a browser safe."""

from collections.abc import Callable

import pytest
from django.test import Client
from tests.gateway.login import LoginService
from tests.gateway.portal.browsers import PAGE
from tests.gateway.service import Reply, Service

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "path", ["/", "/login/", "/docs", "/redoc", "/docs?script=", "/api/things", "/nothing", "/healthz"]
)
def test_each_response_of_the_gateway_has_the_security_headers(login: LoginService, client: Client, path: str) -> None:
    reply = client.get(path)
    policy = dict(part.split(" ", 1) for part in reply["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy.get("script-src", "'self'") == "'self'"
    assert reply["X-Content-Type-Options"] == "nosniff"
    assert reply["X-Frame-Options"] == "DENY"
    assert reply["Referrer-Policy"] == "same-origin"
    assert "Strict-Transport-Security" not in reply
    if reply["Content-Type"].startswith("text/html"):
        page = reply.content.decode()
        assert "<script>" not in page
        assert "onclick=" not in page


@pytest.mark.parametrize("path", ["/", "/login/", "/docs", "/redoc", "/nothing"])
def test_each_page_has_an_icon(login: LoginService, client: Client, path: str) -> None:
    page = client.get(path, headers=PAGE).content.decode()
    icon = page.partition('<link rel="icon" href="')[2].partition('"')[0]
    reply = client.get(icon)
    reply.close()
    assert reply.status_code == 200


def test_a_file_of_an_api_is_sandboxed_in_a_browser(
    serve: Callable[..., Service], configure: Callable[..., None], client: Client
) -> None:
    service = serve(lambda seen: Reply(200, b"<script>alert(1)</script>", [("Content-Type", "text/html")]))
    configure(
        services={"files": {"url": service.url}},
        routes=[{"path": "/files", "methods": ["GET"], "service": "files", "allow": "public"}],
    )
    assert client.get("/files", headers=PAGE)["Content-Security-Policy"].startswith("sandbox;")
