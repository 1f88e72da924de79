"""The access log's line of a rejected request has the problem's code, and the user if there is one."""

from pathlib import Path

import pytest
from tests.conformance.client import once
from tests.conformance.gateways import DOORS, Door, Gateway
from tests.conformance.upstream import Answer, Upstream
from tests.ports import free_port

OK = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
CONFIG = {
    "limits": {"few": {"rate": "1/hour", "by": "user"}},
    "routes": [
        {"path": "/open", "service": "echo", "allow": "public", "max_body": 9},
        {"path": "/mine", "service": "echo", "allow": "authenticated"},
        {"path": "/few", "service": "echo", "allow": "authenticated", "rate_limit": "few"},
        {"path": "/staff", "service": "echo", "allow": ["admin"]},
        {"path": "/far", "service": "echo", "allow": "public", "allow_from": "192.0.2.0/24"},
        {"path": "/down", "service": "down", "allow": "authenticated"},
    ],
}
USER = b"Authorization: Bearer <user>\r\n"
LARGE = b"Content-Length: 10\r\n"
PAGE = b"Accept: text/html\r\n"
# The request, its status, and `code` and `user_id` of its line.
ROWS: list[tuple[bytes, bytes, int, str | None, str | None]] = [
    (b"GET /open", b"", 200, None, None),
    (b"GET /mine", USER, 200, None, "7"),
    (b"GET /few", USER, 200, None, "7"),
    (b"GET /few", USER, 429, "rate_limited", "7"),
    (b"GET /few", USER + PAGE, 429, "rate_limited", "7"),
    (b"GET /mine", b"", 401, "not_authenticated", None),
    (b"GET /mine", b"Authorization: Bearer x\r\n", 401, "token_invalid", None),
    (b"GET /staff", USER, 403, "permission_denied", "7"),
    (b"GET /staff", USER + PAGE, 403, "permission_denied", "7"),
    (b"GET /far", b"", 403, "address_not_allowed", None),
    (b"GET /none", b"", 404, "route_not_found", None),
    (b"GET /none", USER, 404, "route_not_found", "7"),
    (b"GET /docs", PAGE, 200, None, None),
    (b"GET /docs", USER + PAGE, 200, None, "7"),
    (b"GET /docs", b"Authorization: Bearer x\r\n" + PAGE, 200, None, None),
    (b"GET /gateway/audit/", USER, 403, "permission_denied", "7"),
    (b"GET /gateway/audit/", USER + PAGE, 403, "permission_denied", "7"),
    (b"POST /api/logout", USER, 204, None, "7"),
    (b"PATCH /open/", b"", 308, "permanent_redirect", None),
    (b"POST /open", LARGE, 413, "content_too_large", None),
    (b"GET /down", USER, 502, "upstream_unreachable", "7"),
    (b"GET /open", b"Host: elsewhere.example\r\n", 400, "bad_request", None),
]


@pytest.mark.parametrize("door", DOORS)
def test_a_rejected_requests_line_has_its_code_and_its_user(door: Door, upstream: Upstream, tmp_path: Path) -> None:
    services = {"echo": {"url": upstream.url}, "down": {"url": f"http://127.0.0.1:{free_port()}"}}
    with Gateway(door, tmp_path / "var", {"services": services} | CONFIG) as gateway:
        token = gateway.token("7").encode()
        expected = {}
        for line, headers, status, code, user in ROWS:
            upstream.begin([OK])
            host = b"" if headers.startswith(b"Host") else b"Host: localhost\r\n"
            body = b"x" * 10 if LARGE in headers else b""
            sent = line + b" HTTP/1.1\r\n" + host + headers.replace(b"<user>", token) + b"Connection: close\r\n\r\n"
            reply = once(gateway.port, sent + body)
            expected[reply.get("X-Request-ID")] = (line.decode(), status, code, user)
            assert reply.status == status
        lines = gateway.wait_for_lines(*expected)
    found = [(f"{each['method']} {each['path']}", each["status"], each.get("code"), each["user_id"]) for each in lines]
    assert found == list(expected.values())
    assert all("code" in each for each in lines if each["status"] >= 300)
    assert not any("code" in each for each in lines if each["status"] == 200)
