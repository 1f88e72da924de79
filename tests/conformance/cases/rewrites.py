"""`rewrite`: the path that the service is sent instead."""

from typing import Any

from tests.conformance.cases.case import Case, answer, ask, gets, sees

ROUTES: list[dict[str, Any]] = [
    {"path": "/api/shop/{id}", "rewrite": "/v2/items/{id}", "methods": ["GET", "POST"], "allow": "public"},
    {"path": "/api/shop/{id}/{part}", "rewrite": "/v2/{part}/of/{id}", "methods": ["GET"], "allow": "public"},
    {"path": "/api/shop-files/{path...}", "rewrite": "/files/{path...}", "methods": ["GET"], "allow": "public"},
    {"path": "/api/shop-slashed/{id}", "rewrite": "/v3/{id}", "methods": ["GET"], "allow": "public",
     "service": "appended"},
]  # fmt: skip

REWRITES = [
    Case("a rewritten path", ask("GET /api/shop/7?a=1"),
         sees("GET /v2/items/7?a=1 HTTP/1.1", {"X-Forwarded-Path": "/api/shop/7"}), gets()),
    Case("a rewritten path in the current version", ask("GET /api/v1/shop/a%2Bb"),
         sees("GET /v2/items/a%2Bb HTTP/1.1"), gets()),
    Case("parameters in another order", ask("GET /api/shop/7/lid"), sees("GET /v2/lid/of/7 HTTP/1.1"), gets()),
    Case("a rewritten rest", ask("GET /api/shop-files/a/b"), sees("GET /files/a/b HTTP/1.1"), gets()),
    Case("a rewritten path with a slash", ask("GET /api/shop-slashed/7"), sees("GET /v3/7/ HTTP/1.1"), gets()),
    Case("a service's location at a rewritten path", ask("POST /api/shop/7", body=b"x"),
         sees("POST /v2/items/7 HTTP/1.1", body=b"x"), gets(201, {"Location": "/api/shop/8?b=2"}, b""),
         answers=[answer("201 Created", "Location: /v2/items/8?b=2")]),
    Case("a service's location at another path", ask("GET /api/shop/7"), sees("GET /v2/items/7 HTTP/1.1"),
         gets(302, {"Location": "/v2/other/8"}, b""), answers=[answer("302 Found", "Location: /v2/other/8")]),
]  # fmt: skip
