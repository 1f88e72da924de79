"""`cors`: what pages of other origins may send and read (Fetch, section 3.3)."""

import re
from typing import Any

from tests.conformance.cases.case import USER, Case, Expectations, answer, ask, gets, problem, sees, signed
from tests.conformance.upstream import Answer

APP, OTHER = "Origin: https://app.example.org", "Origin: https://other.example.org"
CORS = {
    "origins": ["https://app.example.org", "http://localhost:3000"],
    "credentials": True,
    "expose": ["X-Total"],
    "headers": ["Authorization", "Content-Type", "If-Match"],
    "max_age": "5m",
}
ROUTES: list[dict[str, Any]] = [
    {"path": "/api/shared", "methods": ["GET", "PUT"], "allow": "public", "cors": CORS},
    {"path": "/api/shared", "methods": ["POST"], "allow": "public", "cors": CORS | {"origins": "http://localhost:1"}},
    {"path": "/api/shared", "methods": ["DELETE"], "allow": "public"},
    {"path": "/api/shared/mine", "methods": ["GET", "POST"], "allow": "authenticated", "max_body": 5, "cors": CORS},
    {"path": "/api/shared/once", "methods": ["GET"], "allow": "public", "rate_limit": "1/hour", "cors": CORS},
    {"path": "/api/shared/asks", "methods": ["GET", "OPTIONS"], "allow": "public", "cors": CORS},
    {"path": "/api/shared/down", "methods": ["GET"], "allow": "public", "service": "refusing", "cors": CORS},
    {"path": "/api/shared/slashed/", "methods": ["GET"], "allow": "public", "cors": CORS},
    {"path": "/api/anyones", "methods": ["GET", "PUT"], "allow": "public",
     "cors": {"origins": "*", "methods": ["GET"]}},
]  # fmt: skip

NOTHING: Expectations = {
    f"Access-Control-{name}": None
    for name in ("Allow-Origin", "Allow-Methods", "Allow-Headers", "Allow-Credentials", "Expose-Headers", "Max-Age")
}
READABLE: Expectations = NOTHING | {
    "Access-Control-Allow-Origin": "https://app.example.org",
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": "X-Total",
    "Vary": re.compile("(Accept, )?Origin"),
}
PREFLIGHT: Expectations = NOTHING | {
    "Access-Control-Allow-Origin": "https://app.example.org",
    "Access-Control-Allow-Methods": "GET, PUT",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Max-Age": "300",
    "Vary": "Origin",
}
REJECTED: Expectations = NOTHING | {"Vary": re.compile("(Accept, )?Origin")}


def service(*headers: str) -> list[Answer]:
    """Return a service's response that has a policy of its own."""
    return [
        answer("200 OK", "Content-Type: application/json", "Access-Control-Allow-Origin: *",
               "access-control-allow-methods: DELETE", *headers, body=b'{"ok": true}')
    ]  # fmt: skip


def preflight(name: str, path: str, method: str, headers: Expectations, *more: str, origin: str = APP) -> Case:
    """A preflight, which no service sees."""
    sent = ask(f"OPTIONS {path}", origin, f"Access-Control-Request-Method: {method}", *more)
    return Case(f"a preflight {name}", sent, gets=gets(204, headers, b"", framing="none"))


CROSS_ORIGIN = [
    preflight("of a listed origin", "/api/shared", "PUT",
              PREFLIGHT | {"Allow": "DELETE, GET, HEAD, OPTIONS, POST, PUT"}),
    preflight("with headers", "/api/shared", "GET", PREFLIGHT, "Access-Control-Request-Headers: authorization"),
    preflight("of an origin that is not listed", "/api/shared", "PUT", REJECTED, origin=OTHER),
    preflight("of a hidden origin", "/api/shared", "PUT", REJECTED, origin="Origin: null"),
    preflight("of a listed host with another port", "/api/shared", "PUT", REJECTED, origin=f"{APP}:8443"),
    preflight("is about the route of its method", "/api/shared", "POST", REJECTED),
    preflight("of a route without a policy", "/api/shared", "DELETE", NOTHING | {"Vary": None}),
    preflight("of a method without a route", "/api/shared/mine", "DELETE",
              PREFLIGHT | {"Access-Control-Allow-Methods": None}),
    preflight("of an unknown method", "/api/shared", "BREW", NOTHING),
    preflight("needs no token", "/api/shared/mine", "GET", PREFLIGHT | {"Access-Control-Allow-Methods": "GET, POST"}),
    preflight("with an invalid token", "/api/shared/mine", "GET",
              PREFLIGHT | {"Access-Control-Allow-Methods": "GET, POST"}, "Authorization: Bearer nonsense"),
    preflight("of a route that lists OPTIONS", "/api/shared/asks", "GET",
              PREFLIGHT | {"Access-Control-Allow-Methods": "GET, OPTIONS"}),
    preflight("where every origin is allowed", "/api/anyones", "GET",
              NOTHING | {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET", "Vary": None,
                         "Access-Control-Allow-Headers": "Authorization, Content-Type",
                         "Access-Control-Max-Age": "600"}),
    preflight("of a method that the policy leaves out", "/api/anyones", "PUT",
              NOTHING | {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET",
                         "Access-Control-Allow-Headers": "Authorization, Content-Type",
                         "Access-Control-Max-Age": "600"}),
    Case("preflights do not count against a rate limit", ask("GET /api/shared/once", APP),
         sees("GET /api/shared/once HTTP/1.1"), gets(200, READABLE),
         before=[ask("OPTIONS /api/shared/once", APP, "Access-Control-Request-Method: GET")] * 2),
    Case("an OPTIONS of a page that is not a preflight", ask("OPTIONS /api/shared", APP),
         gets=gets(204, READABLE | {"Allow": re.compile(".*PUT.*")}, b"")),
    Case("an OPTIONS that is not a preflight and is routed", ask("OPTIONS /api/shared/asks", APP),
         sees("OPTIONS /api/shared/asks HTTP/1.1"), gets(200, READABLE)),
    Case("a service's own policy is replaced", ask("GET /api/shared", APP), sees("GET /api/shared HTTP/1.1"),
         gets(200, READABLE), answers=service()),
    Case("a service's own policy is dropped for another origin", ask("GET /api/shared", OTHER),
         sees("GET /api/shared HTTP/1.1"), gets(200, REJECTED), answers=service()),
    Case("a service's own policy stays where the route has none", ask("DELETE /api/shared", APP),
         sees("DELETE /api/shared HTTP/1.1"),
         gets(200, {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "DELETE"}), answers=service()),
    Case("a response without an origin varies by it", ask("GET /api/shared"), sees("GET /api/shared HTTP/1.1"),
         gets(200, REJECTED)),
    Case("two origins allow no page", ask("GET /api/shared", APP, OTHER), sees("GET /api/shared HTTP/1.1"),
         gets(200, REJECTED)),
    Case("a service's Vary is kept", ask("GET /api/shared", APP), sees("GET /api/shared HTTP/1.1"),
         gets(200, READABLE | {"Vary": "Cookie, Accept-Language, Accept, Origin"}),
         answers=service("Vary: Cookie", "Vary: Accept-Language")),
    Case("a service that varies by the origin already", ask("GET /api/shared", APP), sees("GET /api/shared HTTP/1.1"),
         gets(200, READABLE | {"Vary": "origin, Accept"}), answers=service("Vary: origin")),
    Case("a service's location in a response to a page", ask("PUT /api/shared", APP, body=b"x"),
         sees("PUT /api/shared HTTP/1.1", body=b"x"), gets(200, READABLE | {"Location": "/api/shared"}),
         answers=service("Location: /api/shared")),
    Case("a page that is not signed in", ask("GET /api/shared/mine", APP), gets=problem(401, READABLE)),
    Case("a page that is signed in", ask("GET /api/shared/mine", APP, signed("user")),
         sees("GET /api/shared/mine HTTP/1.1", passport=USER), gets(200, READABLE)),
    Case("a cookie from a page of a listed origin", ask("POST /api/shared/mine", APP, "Cookie: gatehouse-access=<user>",
         body=b"x"), gets=problem(403, READABLE, code="cross_origin")),
    Case("a page that sends too much", ask("POST /api/shared/mine", APP, signed("user"), body=b"too much"),
         gets=problem(413, READABLE)),
    Case("a page that asks too often", ask("GET /api/shared/once", APP, signed("user")), gets=problem(429, READABLE),
         before=[ask("GET /api/shared/once", APP, signed("user"))]),
    Case("a method that no route has, from a page", ask("DELETE /api/shared/mine", APP), gets=problem(405, READABLE)),
    Case("a service that is down, from a page", ask("GET /api/shared/down", APP), gets=problem(502, READABLE)),
    Case("a missing slash, from a page", ask("GET /api/shared/slashed", APP), gets=problem(308, READABLE)),
    Case("a problem for another origin", ask("GET /api/shared/mine", OTHER), gets=problem(401, REJECTED)),
    Case("every origin is allowed", ask("GET /api/anyones", OTHER), sees("GET /api/anyones HTTP/1.1"),
         gets(200, NOTHING | {"Access-Control-Allow-Origin": "*", "Vary": "Accept"})),
]  # fmt: skip
