"""The routes of the gateways under test, in front of the services of `conftest`."""

from typing import Any

from tests.conformance.cases import cross_origin, header_rules

EVERY = ["GET", "POST", "PUT", "PATCH", "DELETE"]
ROUTES: list[dict[str, Any]] = [
    {"path": "/api/open", "methods": EVERY, "allow": "public"},
    {"path": "/api/items/{id}", "methods": ["GET", "PUT", "DELETE"], "allow": "public"},
    {"path": "/api/items/special", "methods": ["GET"], "allow": "public"},
    {"path": "/api/items/locked+up", "methods": ["GET"], "allow": ["admin"]},
    {"path": "/api/data/locked/{path...}", "methods": ["GET"], "allow": ["admin"]},
    {"path": "/api/items/{id}/parts/{part}", "methods": ["GET"], "allow": "public"},
    {"path": "/api/v1/versioned", "methods": ["GET"], "allow": "public"},
    {"path": "/api/slashed/{id}/", "methods": ["GET", "POST"], "allow": "public"},
    {"path": "/api/slashed/locked/", "methods": ["GET"], "allow": ["admin"]},
    {"path": "/api/both", "methods": ["GET"], "allow": "public"},
    {"path": "/api/both/", "methods": ["GET"], "allow": "public"},
    {"path": "/api/appended/{id}", "methods": ["GET"], "allow": "public", "service": "appended"},
    {"path": "/api/kept", "methods": ["GET", "POST"], "allow": "public", "service": "kept"},
    {"path": "/api/based", "methods": ["GET"], "allow": "public", "service": "based"},
    {"path": "/files/{path...}", "methods": ["GET"], "allow": "public", "browser": "passthrough"},
    {"path": "/api/shelf/{path...}", "methods": ["GET"], "allow": "public", "browser": "passthrough"},
    {"path": "/api/data/{path...}", "methods": ["GET"], "allow": "public"},
    {"path": "/api/private", "methods": ["GET", "POST"], "allow": "authenticated"},
    {"path": "/api/staff", "methods": ["GET"], "allow": ["admin", "editor"]},
    {"path": "/api/mixed", "methods": ["GET"], "allow": "public"},
    {"path": "/api/mixed", "methods": ["POST"], "allow": ["admin"]},
    {"path": "/api/send", "methods": ["POST"], "allow": "public"},
    {"path": "/api/asks", "methods": ["GET", "OPTIONS"], "allow": "public"},
    {"path": "/api/small", "methods": ["POST"], "allow": "public", "max_body": 10},
    {"path": "/api/bodyless", "methods": ["POST"], "allow": "public", "max_body": 0},
    {"path": "/api/once", "methods": ["GET"], "allow": "public", "rate_limit": "1/hour"},
    {"path": "/api/thrice", "methods": ["GET"], "allow": "public", "rate_limit": "3/hour"},
    {"path": "/api/each", "methods": ["GET"], "allow": "public", "rate_limit": "1/hour"},
    {"path": "/api/everyone", "methods": ["GET"], "allow": "public", "rate_limit": "1/hour"},
    {"path": "/api/forwarded", "methods": ["GET"], "allow": "public", "rate_limit": "1/hour"},
    {"path": "/api/hearsay", "methods": ["GET"], "allow": "public", "rate_limit": "1/hour"},
    {"path": "/api/locked", "methods": ["GET"], "allow": ["admin"], "rate_limit": "1/hour"},
    {"path": "/api/stands", "methods": ["GET"], "allow": "public", "rate_limit": "5/hour"},
    {"path": "/api/spent", "methods": ["GET"], "allow": "public", "rate_limit": "1/day"},
    {"path": "/api/beside", "methods": ["GET"], "allow": "public", "rate_limit": "5/hour"},
    {
        "path": "/api/named",
        "methods": ["GET", "POST"],
        "allow": "public",
        "rate_limit": ["per_key", "quiet"],
        "max_body": 9,
    },
    {"path": "/api/named/{id}", "methods": ["GET"], "allow": "public", "rate_limit": ["per_id", "per_key"]},
    {"path": "/api/bursts", "methods": ["GET"], "allow": "authenticated", "rate_limit": "bursts"},
    {"path": "/api/quiet", "methods": ["GET"], "allow": "public", "rate_limit": "silent"},
    {"path": "/api/unlimited", "methods": ["GET"], "allow": "public", "rate_limit": []},
    *cross_origin.ROUTES,
    *header_rules.ROUTES,
]
LIMITS: dict[str, Any] = {
    "per_key": {"rate": "3/hour", "by": "header:X-Key"},
    "per_id": {"rate": "2/hour", "by": "param:id"},
    "bursts": {"rate": "120/hour", "burst": 2, "by": "user"},
    "quiet": {"rate": "1000/hour", "by": "address", "announce": False},
    "silent": {"rate": "1/day", "by": "address", "announce": False},
}
