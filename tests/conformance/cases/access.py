"""Access: tokens, cookies, roles and rate limits."""

import re

from tests.conformance.cases.case import (
    INVALID_TOKEN,
    USER,
    Case,
    answer,
    ask,
    gets,
    problem,
    sees,
    signed,
)


def token(name: str, value: str) -> Case:
    """An invalid Authorization, also on a public route."""
    return Case(name, ask("GET /api/open", f"Authorization: {value}"), gets=problem(401, INVALID_TOKEN))


TOKENS = [
    Case("a token", ask("GET /api/private", signed("user")), sees("GET /api/private HTTP/1.1", passport=USER), gets()),
    Case("a token on a public route", ask("GET /api/open", signed("user")),
         sees("GET /api/open HTTP/1.1", passport=USER), gets()),
    Case("a token of another user", ask("GET /api/private", signed("admin")),
         sees("GET /api/private HTTP/1.1", passport={"aud": "echo", "sub": "1", "role": "admin"}), gets()),
    Case("a passport is for one service", ask("GET /api/based", signed("user")),
         sees("GET /base/api/based HTTP/1.1", passport=USER | {"aud": "based"}), gets()),
    Case("no token, as Java's HttpURLConnection asks",
         ask("GET /api/private", "Accept: text/html, image/gif, image/jpeg, */*; q=0.2"),
         gets=problem(401, {"WWW-Authenticate": 'Bearer realm="api"'})),
    Case("the scheme in small letters", ask("GET /api/private", "Authorization: bearer <user>"),
         sees("GET /api/private HTTP/1.1", passport=USER), gets()),
    Case("the scheme in capitals", ask("GET /api/private", "AUTHORIZATION: BEARER <user>"),
         sees("GET /api/private HTTP/1.1", passport=USER), gets()),
    Case("several spaces before the token", ask("GET /api/private", "Authorization:   Bearer   <user>  "),
         sees("GET /api/private HTTP/1.1", passport=USER), gets()),
    token("Bearer without a token", "Bearer"),
    token("Bearer with a word that is not a token", "Bearer x"),
    token("two tokens", "Bearer <user> <user>"),
    token("two tokens with a comma", "Bearer <user>, Bearer <user>"),
    token("a token with a parameter", 'Bearer token="<user>"'),
    token("a token that is malformed", "Bearer x.y.z"),
    token("a token that has expired", "Bearer <expired>"),
    token("a token whose signature was changed", "Bearer <tampered>"),
    token("a token without a signature", "Bearer <unsigned>"),
    token("a token of the algorithm none", "Bearer <none>"),
    token("a token signed with the public key as a secret", "Bearer <hs256>"),
    token("a token of another algorithm", "Bearer <es384>"),
    token("a token signed by another key", "Bearer <stranger>"),
    token("a token that brings its own key", "Bearer <own-key>"),
    token("a token of an unknown key id", "Bearer <unknown-kid>"),
    token("a token with a path for a key id", "Bearer <path-kid>"),
    token("a token without a key id", "Bearer <no-kid>"),
    token("a token of another issuer", "Bearer <other-issuer>"),
    token("a token without a subject", "Bearer <no-subject>"),
    token("a token whose subject is a number", "Bearer <number-subject>"),
    token("a token without an expiry", "Bearer <endless>"),
    token("a token without a session", "Bearer <no-session>"),
    token("a token that is not valid yet", "Bearer <not-yet>"),
    token("a refresh token", "Bearer <refresh>"),
    token("a passport as a token", "Bearer <passport>"),
    Case("two Authorization headers", ask("GET /api/open", signed("user"), signed("user")),
         gets=problem(401, INVALID_TOKEN)),
    Case("a second Authorization of another scheme", ask("GET /api/open", signed("user"), "Authorization: Basic eDp5"),
         gets=problem(401, INVALID_TOKEN)),
    Case("an expired token on a path without a route", ask("GET /api/nothing", signed("expired")),
         gets=problem(404)),
]  # fmt: skip


NOT_SIGNED_IN = {"WWW-Authenticate": 'Bearer realm="api"'}
COOKIE = "Cookie: gatehouse-access=<user>"
CROSS_ORIGIN = (
    "A cookie is accepted only from this site's own pages. Send an access token: `Authorization: Bearer <token>`."
)
ACCESS = [
    Case("no token on a route for signed-in users", ask("GET /api/private"), gets=problem(401, NOT_SIGNED_IN)),
    Case("no token on a route for two roles", ask("GET /api/staff"), gets=problem(401, NOT_SIGNED_IN)),
    Case("no token, with HEAD", ask("HEAD /api/private"), gets=problem(401, NOT_SIGNED_IN)),
    Case("no token, with a body", ask("POST /api/private", body=b"x" * 1000), gets=problem(401, NOT_SIGNED_IN)),
    Case("Basic on a route for signed-in users", ask("GET /api/private", "Authorization: Basic eDp5"),
         gets=problem(401, NOT_SIGNED_IN)),
    Case("a browser's cookie", ask("GET /api/private", "Cookie: a=1; gatehouse-access=<user>; b=2"),
         sees("GET /api/private HTTP/1.1", {"Cookie": "a=1; b=2"}, passport={"sub": "2", "role": "default"}), gets()),
    Case("a browser's cookie without the role", ask("GET /api/staff", COOKIE),
         gets=problem(403, detail="This is for the role admin or editor; yours is default.")),
    *[
        Case(f"a cookie with {name} identifies no user", ask("GET /api/open", f"Cookie: {cookie}"),
             sees("GET /api/open HTTP/1.1", {"Cookie": kept}), gets())
        for name, cookie, kept in [
            ("an expired token", "gatehouse-access=<expired>", None),
            ("a tampered token", "gatehouse-access=<tampered>", None),
            ("a refresh token", "gatehouse-access=<refresh>", None),
            ("no token", "gatehouse-access=", None),
            ("the name of https", "__Host-gatehouse-access=<user>", None),
            ("another name", "xgatehouse-access=<user>", re.compile("xgatehouse-access=.*")),
            ("two tokens", "gatehouse-access=<user>; gatehouse-access=<admin>", None),
            ("a refresh token that is invalid", "gatehouse-refresh=nonsense; c=1", "c=1"),
        ]
    ],
    Case("an expired cookie on a route for signed-in users",
         ask("GET /api/private", "Cookie: gatehouse-access=<expired>"),
         gets=problem(401, NOT_SIGNED_IN)),
    *[
        Case(f"a cookie, and {name} in Authorization",
             ask("GET /api/private", f"Authorization: {value}", COOKIE), gets=problem(401))
        for name, value in [
            ("an expired token", "Bearer <expired>"), ("nonsense", "Bearer"), ("another scheme", "Basic dTpw"),
        ]
    ],
    Case("the header wins over the cookie",
         ask("GET /api/private", signed("admin"), COOKIE),
         sees("GET /api/private HTTP/1.1", {"Cookie": None}, passport={"sub": "1"}), gets()),
    *[
        Case(f"a cookie on a POST {name}", ask("POST /api/private", COOKIE, *headers, body=b"{}"),
             sees("POST /api/private HTTP/1.1", {"Cookie": None}, body=b"{}", passport={"sub": "2"}), gets())
        for name, headers in [
            ("of this origin", ["Origin: http://localhost"]),
            ("of this origin, by Sec-Fetch-Site", ["Sec-Fetch-Site: same-origin"]),
            ("of this origin by both headers", ["Origin: http://LOCALHOST", "Sec-Fetch-Site: same-origin"]),
        ]
    ],
    *[
        Case(f"a cookie on a POST {name}", ask("POST /api/private", COOKIE, *headers, body=b"{}"),
             gets=problem(403, detail=CROSS_ORIGIN))
        for name, headers in [
            ("without an origin", []),
            ("of another site", ["Origin: http://evil.example"]),
            ("of another port", ["Origin: http://localhost:8080"]),
            ("of another scheme", ["Origin: https://localhost"]),
            ("of a host that begins like ours", ["Origin: http://localhost.evil.example"]),
            ("of a hidden origin", ["Origin: null"]),
            ("of a sibling", ["Sec-Fetch-Site: same-site"]),
            ("of another site, by Sec-Fetch-Site", ["Sec-Fetch-Site: cross-site", "Origin: http://localhost"]),
            ("of a bookmark", ["Sec-Fetch-Site: none"]),
            ("of two origins", ["Origin: http://localhost", "Origin: http://evil.example"]),
        ]
    ],
    Case("a cookie on a handshake of another site",
         ask("GET /api/private", COOKIE, "Origin: http://evil.example", "Upgrade: websocket",
             "Connection: Upgrade"), gets=problem(403, detail=CROSS_ORIGIN)),
    Case("a header needs no origin",
         ask("POST /api/private", signed("user"), "Origin: http://evil.example", body=b"{}"),
         sees("POST /api/private HTTP/1.1", {}, body=b"{}", passport={"sub": "2"}), gets()),
    Case("another service's cookie on a route for signed-in users", ask("GET /api/private", "Cookie: sessionid=<user>"),
         gets=problem(401, NOT_SIGNED_IN)),
    Case("a role that the route does not have", ask("GET /api/staff", signed("user")),
         gets=problem(403, {"WWW-Authenticate": None})),
    Case("the first of the route's roles", ask("GET /api/staff", signed("admin")),
         sees("GET /api/staff HTTP/1.1", passport={"role": "admin"}), gets()),
    Case("the second of the route's roles", ask("GET /api/staff", signed("editor")),
         sees("GET /api/staff HTTP/1.1", passport={"role": "editor"}), gets()),
    Case("a missing role on the path with the version", ask("GET /api/v1/staff", signed("user")), gets=problem(403)),
    Case("a missing role on an encoded path", ask("GET /api/%73taff", signed("user")), gets=problem(403)),
    Case("a public method of a path", ask("GET /api/mixed"), sees("GET /api/mixed HTTP/1.1"), gets()),
    Case("a method of the same path for admins, as another role",
         ask("POST /api/mixed", signed("user"), body=b"x"), gets=problem(403)),
    Case("a method of the same path for admins, as an admin", ask("POST /api/mixed", signed("admin"), body=b"x"),
         sees("POST /api/mixed HTTP/1.1", body=b"x", passport={"role": "admin"}), gets()),
]  # fmt: skip


NO_LIMIT: dict[str, str | re.Pattern[str] | None] = {"RateLimit": None, "RateLimit-Policy": None}


def limited(policy: str, state: str) -> dict[str, str | re.Pattern[str] | None]:
    """Return the headers of a response whose request was counted. `~` in the state is any digit."""
    return {"RateLimit-Policy": policy, "RateLimit": re.compile(re.escape(state).replace(r"\~", "[0-9]"))}


BOTH = '"per_id";q=2;w=3600, "per_key";q=3;w=3600'
RATE_LIMITS = [
    Case("a rate limit's last request", ask("GET /api/thrice"), sees("GET /api/thrice HTTP/1.1"), gets(),
         before=[ask("GET /api/thrice")] * 2),
    Case("one request more than a rate limit", ask("GET /api/once"), before=[ask("GET /api/once")],
         gets=problem(429, {"Retry-After": re.compile("3[56][0-9]{2}")})),
    Case("a rate limit counts each user alone", ask("GET /api/each", signed("user")),
         sees("GET /api/each HTTP/1.1", passport=USER), gets(),
         before=[ask("GET /api/each"), ask("GET /api/each", signed("admin"))]),
    Case("a rate limit counts all spellings of a path", ask("HEAD /api/v1/%65veryone"), gets=problem(429),
         before=[ask("GET /api/everyone")]),
    Case("a rejected request does not count against the rate limit", ask("GET /api/locked", signed("admin")),
         sees("GET /api/locked HTTP/1.1", passport={"role": "admin"}), gets(),
         before=[ask("GET /api/locked"), ask("GET /api/locked", signed("user"))]),
    Case("a response says where the client stands", ask("GET /api/stands"), sees("GET /api/stands HTTP/1.1"),
         gets(headers=limited('"default";q=5;w=3600', '"default";r=4;t=720'))),
    Case("a rejected request says where the client stands", ask("GET /api/spent"), before=[ask("GET /api/spent")],
         gets=problem(429, limited('"default";q=1;w=86400', '"default";r=0;t=86~~~'),
                      title="Request cannot be satisfied as assigned quota has been exceeded",
                      **{"violated-policies": ["default"]})),
    Case("a named limit counts each value of its header, on all of its routes",
         ask("GET /api/named/1", "X-Key: a"), sees("GET /api/named/1 HTTP/1.1"),
         gets(headers=limited(BOTH, '"per_id";r=1;t=1~~~, "per_key";r=1;t=1~~~')),
         before=[ask("GET /api/named", "X-Key: a"), ask("GET /api/named", "X-Key: b")]),
    Case("one of two limits rejects, and its name is in the problem", ask("GET /api/named/%32", "X-Key: c"),
         before=[ask("GET /api/named/2", "X-Key: c"), ask("GET /api/named/2;v=1", "X-Key: d")],
         gets=problem(429, limited(BOTH, '"per_id";r=0;t=1~~~, "per_key";r=2;t=1~~~'),
                      **{"violated-policies": ["per_id"]})),
    Case("a request that one limit rejects counts in no other", ask("GET /api/named", "X-Key: e"),
         sees("GET /api/named HTTP/1.1"),
         gets(headers=limited('"per_key";q=3;w=3600', '"per_key";r=1;t=1~~~')),
         before=[ask("GET /api/named/3"), ask("GET /api/named/3"), ask("GET /api/named/3", "X-Key: e"),
                 ask("GET /api/named/4", "X-Key: e")]),
    Case("a request whose body is too large has been counted", ask("POST /api/named", "X-Key: f", body=b"1234567890"),
         gets=problem(413, limited('"per_key";q=3;w=3600', '"per_key";r=2;t=1~~~'))),
    Case("a burst is what may come at once", ask("GET /api/bursts", signed("user")),
         before=[ask("GET /api/bursts", signed("user"))] * 2,
         gets=problem(429, limited('"bursts";q=120;w=3600', '"bursts";r=0;t=~~'))),
    Case("a limit that is not announced still limits", ask("GET /api/quiet"), before=[ask("GET /api/quiet")],
         gets=problem(429, {**NO_LIMIT, "Retry-After": re.compile("86[34][0-9]{2}")},
                      **{"violated-policies": []})),
    Case("a route without limits has none of the headers", ask("GET /api/unlimited"),
         sees("GET /api/unlimited HTTP/1.1"), gets(headers=NO_LIMIT)),
    Case("a service's own limits stay beside the gateway's", ask("GET /api/beside"), sees("GET /api/beside HTTP/1.1"),
         gets(headers={"RateLimit": '"own";r=1;t=2\n"default";r=4;t=720',
                       "RateLimit-Policy": '"own";q=2;w=3\n"default";q=5;w=3600'}, body=b""),
         answers=[answer("200 OK", 'RateLimit: "own";r=1;t=2', 'RateLimit-Policy: "own";q=2;w=3')]),
    Case("an unauthenticated request is not counted", ask("GET /api/bursts"), gets=problem(401, NO_LIMIT)),
]  # fmt: skip
