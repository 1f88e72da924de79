"""Where a service's `Location` leads, as the client can follow it."""

import pytest

from gateway.config import Config
from gateway.policy.locations import Locations, PublicURL
from gateway.policy.rejections import UpstreamRedirects
from gateway.policy.routes import RouteTable

SERVICES = {
    "plain": {"url": ["http://10.0.0.1:9000", "http://books", "http://[fd00::1]:9000"]},
    "based": {"url": ["http://10.0.0.2:9000/base", "http://10.0.0.3:9000/base/deep"]},
    "django": {"url": "http://10.0.0.4:9000", "trailing_slash": "append"},
}
ROUTES = {
    "/api/x": "plain",
    "/api/x/{id}": "plain",
    "/api/v2/x": "plain",
    "/pages/{path...}": "plain",
    "/api/based/{path...}": "based",
    "/api/books": "django",
    "/api/books/{id}": "django",
    "/admin/{path...}": "django",
}
CONFIG = Config.model_validate(
    {
        "version": 1,
        "services": SERVICES,
        "versions": {"current": "v1"},
        "routes": [{"path": path, "service": service, "allow": "public"} for path, service in ROUTES.items()],
    }
)
LOCATIONS = Locations(RouteTable(CONFIG))
PUBLIC = "https://api.example"


def public(service: str, value: str, asked: str = "/api/other", sent: str = "/api/other", status: int = 201) -> str:
    """Return what the client gets for the value of a `Location`, and for a `Content-Location`."""
    host = PublicURL("https", "api.example", asked)
    headers = [("Location", value), ("X-Location", value), ("content-location", value)]
    first, other, second = LOCATIONS.public(headers, service=service, status=status, sent=sent, asked=host)
    assert other == ("X-Location", value)
    assert (first[0], second) == ("Location", ("content-location", first[1]))
    return first[1]


@pytest.mark.parametrize(
    ("service", "value", "seen"),
    [
        ("plain", "http://10.0.0.1:9000/api/x/5?y=%20#z", f"{PUBLIC}/api/x/5?y=%20#z"),
        ("plain", "HTTP://BOOKS/api/x", f"{PUBLIC}/api/x"),
        ("plain", "http://books:80/api/x", f"{PUBLIC}/api/x"),
        ("plain", "http://[fd00::1]:9000/api/x", f"{PUBLIC}/api/x"),
        ("plain", "//10.0.0.1:9000/api/x", f"{PUBLIC}/api/x"),
        ("plain", "http://10.0.0.1:9000", f"{PUBLIC}/"),
        # From X-Forwarded-Proto the service has the client's https, and puts it before its own address.
        ("plain", "https://10.0.0.1:9000/api/x", f"{PUBLIC}/api/x"),
        ("plain", "https://books/api/x", f"{PUBLIC}/api/x"),
        # It keeps the client's Host, and has not heard of https.
        ("plain", "http://api.example/api/x", f"{PUBLIC}/api/x"),
        ("based", "http://10.0.0.2:9000/base/api/based/a/", f"{PUBLIC}/api/based/a/"),
        ("based", "http://10.0.0.3:9000/base/deep/api/based/a", f"{PUBLIC}/api/based/a"),
        ("based", "/base/api/based/a?b", "/api/based/a?b"),
        ("based", "/base", "/"),
        ("based", f"{PUBLIC}/base/api/based/a", f"{PUBLIC}/api/based/a"),
        ("django", "http://10.0.0.4:9000/api/books/5/", f"{PUBLIC}/api/books/5"),
        ("django", "/api/books/5/?a#b", "/api/books/5?a#b"),
        ("django", "/admin/login/?next=/admin/", "/admin/login/?next=/admin/"),
        ("django", "/api/nothing/", "/api/nothing/"),
    ],
)
def test_a_service_s_address_becomes_the_public_one(service: str, value: str, seen: str) -> None:
    assert public(service, value) == seen


@pytest.mark.parametrize(
    ("service", "value"),
    [
        ("plain", ""),
        ("plain", "/"),
        ("plain", "/api/x"),
        ("plain", "x/5"),
        ("plain", "?page=2"),
        ("plain", "#top"),
        ("plain", "http://elsewhere.example/api/x"),
        ("plain", "http://10.0.0.1/api/x"),
        ("plain", "http://10.0.0.1:9001/api/x"),
        ("plain", "http://10.0.0.4:9000/api/books/"),
        ("plain", "http://10.0.0.1.example:9000/api/x"),
        ("plain", "http://10.0.0.1:9000@elsewhere.example/x"),
        ("plain", "http://user@10.0.0.1:9000/api/x"),
        ("plain", "http://10.0.0.1:x/"),
        ("plain", "http://[::1/"),
        ("plain", "ftp://10.0.0.1:9000/api/x"),
        ("plain", "mailto:a@10.0.0.1"),
        ("plain", "urn:x"),
        ("plain", "///elsewhere.example/"),
        ("based", "/api/based/a"),
        ("based", "/basement/api/based/a"),
        ("based", "http://10.0.0.2:9000/other"),
        # Without the base path each of these would lead to another host.
        ("based", "/base//elsewhere.example/"),
        ("based", "/base/\\elsewhere.example/"),
        ("based", "/base/\t/elsewhere.example/"),
        ("plain", "http://10.0.0.1:9000//elsewhere.example/"),
    ],
)
def test_anything_else_stays_as_it_is(service: str, value: str) -> None:
    assert public(service, value) == value


@pytest.mark.parametrize(
    ("asked", "value", "seen"),
    [
        ("/api/v1/x", "/api/x/5", "/api/v1/x/5"),
        ("/api/v1/x?a=b", "http://books/api/x/5", f"{PUBLIC}/api/v1/x/5"),
        ("/api/v1/books", "/api/books/5/", "/api/v1/books/5"),
        ("/api/v1/x", "/api/v1/x/5", "/api/v1/x/5"),
        ("/api/v1/x", "/api/v2/x", "/api/v2/x"),
        ("/api/v1/x", "/pages/a", "/pages/a"),
        ("/api/v1/x", "/api/nothing", "/api/nothing"),
        ("/api/x", "/api/x/5", "/api/x/5"),
        ("/api/x", "/api/v1/x/5", "/api/v1/x/5"),
        ("/api/v10/x", "/api/x/5", "/api/x/5"),
    ],
)
def test_a_client_of_the_versioned_path_is_redirected_within_it(asked: str, value: str, seen: str) -> None:
    assert public("plain" if "books" not in value or "://" in value else "django", value, asked) == seen


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("value", ["/api/x/", "http://books/api/x/"])
def test_a_redirect_to_the_slash_that_the_gateway_removes_is_a_fault(status: int, value: str) -> None:
    with pytest.raises(UpstreamRedirects, match="trailing_slash: append") as refused:
        public("plain", f"{value}?a", "/api/x?a", "/api/x", status)
    assert (refused.value.status, refused.value.service) == (502, "plain")


@pytest.mark.parametrize(
    ("service", "status", "value", "asked", "sent", "seen"),
    [
        # To the same path: after a form was sent, say.
        ("plain", 302, "/api/x", "/api/x", "/api/x", "/api/x"),
        ("plain", 302, "http://books/api/x", "/api/x", "/api/x", f"{PUBLIC}/api/x"),
        ("django", 302, "/api/books/", "/api/books", "/api/books/", "/api/books"),
        ("plain", 302, "/api/x", "/api/v1/x", "/api/x", "/api/v1/x"),
        # To another one, or for another query.
        ("plain", 301, "/api/x/?b", "/api/x?a", "/api/x", "/api/x?b"),
        ("plain", 301, "/pages/x/", "/pages/x", "/pages/x", "/pages/x/"),
        # No redirect.
        ("plain", 201, "/api/x/", "/api/x", "/api/x", "/api/x"),
    ],
)
def test_other_redirects_are_left_to_the_client(
    service: str, status: int, value: str, asked: str, sent: str, seen: str
) -> None:
    assert public(service, value, asked, sent, status) == seen
