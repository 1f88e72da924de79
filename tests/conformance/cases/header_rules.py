"""`headers`: what the gateway sets and removes of requests and responses."""

from typing import Any

from tests.conformance.cases.case import USER, Case, answer, ask, gets, problem, sees, signed

RULES = {
    "request": {"set": {"X-Api-Key": "key of the service", "Accept-Language": "en"}, "remove": ["Cookie", "X-Trace"]},
    "response": {
        "set": {"Cache-Control": "no-store", "X-Mine": "1"},
        "remove": ["X-Powered-By", "Set-Cookie"],
    },
}
ROUTES: list[dict[str, Any]] = [
    {"path": "/api/ruled", "methods": ["GET", "POST"], "allow": "public", "headers": RULES},
    {"path": "/api/ruled/mine", "methods": ["GET"], "allow": "authenticated", "headers": RULES},
]
SET = {"X-Api-Key": "key of the service", "Accept-Language": "en"}

HEADER_RULES = [
    Case("request headers that are set", ask("GET /api/ruled"), sees("GET /api/ruled HTTP/1.1", SET), gets()),
    Case("a client's headers are replaced and removed",
         ask("GET /api/ruled", "x-api-key: mine", "X-API-KEY: again", "Accept-Language: de", "Cookie: a=1",
             "x-trace: 1", "X-Kept: 2"),
         sees("GET /api/ruled HTTP/1.1", SET | {"Cookie": None, "X-Trace": None, "X-Kept": "2"}), gets()),
    Case("a request with a body", ask("POST /api/ruled", body=b"x" * 5000),
         sees("POST /api/ruled HTTP/1.1", SET, body=b"x" * 5000), gets()),
    Case("the passport stays", ask("GET /api/ruled/mine", signed("user")),
         sees("GET /api/ruled/mine HTTP/1.1", SET, passport=USER), gets()),
    Case("a service's headers are replaced and removed", ask("GET /api/ruled"), sees("GET /api/ruled HTTP/1.1", SET),
         gets(200, {"Cache-Control": "no-store", "X-Mine": "1", "X-Powered-By": None, "Set-Cookie": None,
                    "X-Kept": "1\n2", "Vary": "Accept"}),
         answers=[answer("200 OK", "cache-control: public", "Cache-Control: max-age=5", "X-Powered-By: x/1",
                         "X-Kept: 1", "X-Kept: 2", "Set-Cookie: a=1", body=b'{"ok": true}')]),
    Case("a service's problem has the rules too", ask("GET /api/ruled"), sees("GET /api/ruled HTTP/1.1", SET),
         gets(404, {"Cache-Control": "no-store"}), answers=[answer("404 Not Found", body=b'{"ok": true}')]),
    Case("a service's redirect", ask("GET /api/ruled"), sees("GET /api/ruled HTTP/1.1", SET),
         gets(302, {"Location": "/api/open", "Cache-Control": "no-store"}, b""),
         answers=[answer("302 Found", "Location: /api/open", "Cache-Control: public")]),
    Case("a problem of the gateway has its own headers", ask("GET /api/ruled/mine"),
         gets=problem(401, {"X-Mine": None})),
]  # fmt: skip
