"""`allow_from`: the networks that clients may be in."""

from typing import Any

from tests.conformance.cases.case import USER, Case, ask, gets, problem, sees, signed

ROUTES: list[dict[str, Any]] = [
    {"path": "/api/near", "methods": ["GET"], "allow": "public", "allow_from": ["127.0.0.0/8", "10.0.0.0/8"]},
    {"path": "/api/far", "methods": ["GET", "POST"], "allow": "authenticated", "allow_from": "192.0.2.0/24"},
    {"path": "/api/six", "methods": ["GET"], "allow": "public", "allow_from": ["2001:db8::/32"]},
]
FORBIDDEN = problem(403, {"WWW-Authenticate": None}, code="address_not_allowed")
FORWARDED, FORWARDED_SIX = "X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 2001:db8::7"

NETWORKS = [
    Case("an address of an allowed network", ask("GET /api/near"), sees("GET /api/near HTTP/1.1"), gets()),
    Case("an address of no allowed network", ask("GET /api/far", signed("user")), gets=FORBIDDEN),
    Case("an address is checked before the token", ask("GET /api/far"), gets=FORBIDDEN),
    Case("an address of no allowed network, with a body", ask("POST /api/far", signed("user"), body=b"x" * 1000),
         gets=FORBIDDEN),
    Case("an IPv4 address where only IPv6 is allowed", ask("GET /api/six"), gets=FORBIDDEN),
    Case("a forwarded address that no trusted proxy sent", ask("GET /api/far", FORWARDED, signed("user")),
         gets=FORBIDDEN),
    Case("an allowed address behind a trusted proxy", ask("GET /api/far", FORWARDED, signed("user")),
         sees("GET /api/far HTTP/1.1", {"X-Forwarded-For": "192.0.2.7"}, passport=USER), gets(), trusted=True),
    Case("an IPv6 address behind a trusted proxy", ask("GET /api/six", FORWARDED_SIX),
         sees("GET /api/six HTTP/1.1", {"X-Forwarded-For": "2001:db8::7"}), gets(), trusted=True),
    Case("another address behind a trusted proxy", ask("GET /api/near", FORWARDED), gets=FORBIDDEN, trusted=True),
]  # fmt: skip
