"""`deprecated`: responses of routes that clients are to stop using."""

from typing import Any

from tests.conformance.cases.case import USER, Case, answer, ask, gets, problem, sees, signed

RULES = {"since": "2026-01-01", "sunset": "2099-12-31T12:00:00+02:00"}
ROUTES: list[dict[str, Any]] = [
    {"path": "/api/old", "methods": ["GET", "POST"], "allow": "public", "max_body": 9,
     "deprecated": RULES | {"successor": "/api/open", "link": "https://docs.example.org/v2?a=1#b"}},
    {"path": "/api/old/{id}", "methods": ["GET"], "allow": "authenticated", "rate_limit": "100/hour",
     "deprecated": RULES | {"successor": "/api/items/{id}"}},
    {"path": "/api/older", "methods": ["GET"], "allow": "public", "deprecated": {"since": "2023-07-01"},
     "cors": {"origins": "https://app.example.org"}, "headers": {"response": {"set": {"X-Mine": "1"}}}},
    {"path": "/api/not-old", "methods": ["GET"], "allow": "public", "deprecated": {"since": "never"}},
]  # fmt: skip
SINCE, SUNSET = "@1767225600", "Thu, 31 Dec 2099 10:00:00 GMT"
LINKS = (
    '</api/open>; rel="successor-version", '
    '<https://docs.example.org/v2?a=1#b>; rel="deprecation"; type="text/html"'
)  # fmt: skip
OLD = {"Deprecation": SINCE, "Sunset": SUNSET, "Link": LINKS}
NONE = dict.fromkeys(("Deprecation", "Sunset", "Link"))


def of(identity: str) -> dict[str, str]:
    """Return the headers of a response for one object."""
    return {"Deprecation": SINCE, "Sunset": SUNSET, "Link": f'</api/items/{identity}>; rel="successor-version"'}


DEPRECATIONS = [
    Case("a deprecated route", ask("GET /api/old"), sees("GET /api/old HTTP/1.1"), gets(200, OLD)),
    Case("a deprecated route in the current version", ask("GET /api/v1/old"), sees("GET /api/old HTTP/1.1"),
         gets(200, OLD)),
    Case("a deprecated route's HEAD", ask("HEAD /api/old"), sees("HEAD /api/old HTTP/1.1"), gets(200, OLD)),
    Case("a deprecated route's body", ask("POST /api/old", body=b"x" * 9),
         sees("POST /api/old HTTP/1.1", body=b"x" * 9), gets(200, OLD)),
    Case("the successor has the path's parameters", ask("GET /api/old/7", signed("user")),
         sees("GET /api/old/7 HTTP/1.1", passport=USER), gets(200, of("7"))),
    Case("the successor has the path's parameters as they were sent", ask("GET /api/old/a%3Eb%22", signed("user")),
         sees("GET /api/old/a%3Eb%22 HTTP/1.1", passport=USER), gets(200, of("a%3Eb%22"))),
    Case("a service's own deprecation is dropped, its links stay", ask("GET /api/old"), sees("GET /api/old HTTP/1.1"),
         gets(200, OLD | {"Link": f'</x>; rel="next"\n{LINKS}'}),
         answers=[answer("200 OK", "Deprecation: @1", "sunset: Sat, 01 Jan 2000 00:00:00 GMT", 'Link: </x>; rel="next"',
                         body=b'{"ok": true}')]),
    Case("a service's redirect from a deprecated route", ask("GET /api/old"), sees("GET /api/old HTTP/1.1"),
         gets(302, OLD | {"Location": "/api/open"}, b""), answers=[answer("302 Found", "Location: /api/open")]),
    Case("a service's problem on a deprecated route", ask("GET /api/old"), sees("GET /api/old HTTP/1.1"),
         gets(404, OLD), answers=[answer("404 Not Found", body=b'{"ok": true}')]),
    Case("no sign-in for a deprecated route", ask("GET /api/old/7"), gets=problem(401, of("7"))),
    Case("too large a body for a deprecated route", ask("POST /api/old", body=b"x" * 10), gets=problem(413, OLD)),
    Case("a deprecated route beside other policies", ask("GET /api/older", "Origin: https://app.example.org"),
         sees("GET /api/older HTTP/1.1"),
         gets(200, {"Deprecation": "@1688169600", "Sunset": None, "Link": None, "X-Mine": "1",
                    "Access-Control-Allow-Origin": "https://app.example.org"})),
    Case("a route that is not deprecated", ask("GET /api/not-old"), sees("GET /api/not-old HTTP/1.1"), gets(200, NONE)),
    Case("a service's own deprecation of a route that is not", ask("GET /api/not-old"),
         sees("GET /api/not-old HTTP/1.1"), gets(200, {"Deprecation": "@1"}),
         answers=[answer("200 OK", "Deprecation: @1", body=b'{"ok": true}')]),
    Case("another method of a deprecated path", ask("PUT /api/old", body=b"x"), gets=problem(405, NONE)),
]  # fmt: skip
