"""The table: what goes in at a door, what the service must have seen of it, what the client must get.

`<name>` in a request is the token of that name (see `tokens`). Each case runs at both doors, with one expectation.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.upstream import Answer

# What a header has to be: exactly this, like this, or not there.
Expected = str | re.Pattern[str] | None
Expectations = Mapping[str, Expected]

OK_BODY = b'{"ok": true}'
MIB = 1024 * 1024

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
]


@dataclass(frozen=True)
class Sees:
    """The one request that the service gets. A passport says who, and nobody's request has none."""

    line: str
    headers: Expectations = field(default_factory=dict)
    body: bytes = b""
    passport: Mapping[str, object] | None = None
    framing: str | None = None


@dataclass(frozen=True)
class Gets:
    """One answer. `problem` are members of a problem, those that every problem has not counted; `server` says that
    the server in front may answer, in words of its own, or close.
    """

    statuses: frozenset[int]
    headers: Expectations = field(default_factory=dict)
    body: bytes | None = None
    problem: Mapping[str, object] | None = None
    server: bool = False
    framing: str | None = None


@dataclass(frozen=True)
class Case:
    """One row. `sees` is empty where nothing may reach the service, not even the beginning of a request, and `None`
    where it does not matter.
    """

    name: str
    sends: bytes
    sees: Sees | Sequence[Sees] | None = ()
    gets: Gets | Sequence[Gets] = ()
    answers: Sequence[Answer] = ()
    # Requests that are sent before, each on a connection of its own.
    before: Sequence[bytes] = ()
    # The gateway that trusts whoever is on this machine to be a proxy.
    trusted: bool = False
    # Sent when asked for with 100 (Continue).
    body: bytes | None = None
    # The client says that it sends no more.
    finishes: bool = False
    # The gateway may have begun to send the request on when it finds the fault.
    may_begin: bool = False


def ask(line: str, *headers: str | bytes, body: bytes | None = None, version: str = "1.1") -> bytes:
    """Return a request. It gets a `Host`, and a `Content-Length` where it has a body, unless the headers say them."""
    lines = [header.encode() if isinstance(header, str) else header for header in headers]
    names = {one.partition(b":")[0].lower() for one in lines}
    if b"host" not in names:
        lines.insert(0, b"Host: localhost")
    if body is not None and not names & {b"content-length", b"transfer-encoding"}:
        lines.append(b"Content-Length: %d" % len(body))
    head = b"\r\n".join([f"{line} HTTP/{version}".encode("latin-1"), *lines])
    return head + b"\r\n\r\n" + (body or b"")


def in_chunks(*parts: bytes, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """Return a body in chunked framing."""
    framed = [b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts]
    return b"".join(framed) + b"0\r\n" + trailers + b"\r\n"


def chunked(line: str, framed: bytes, *headers: str) -> bytes:
    """Return a request with that body, which is framed already."""
    return ask(line, "Transfer-Encoding: chunked", *headers, body=framed)


def answer(status: str, *headers: str | bytes, body: bytes | None = b"", **how: Any) -> Answer:
    """Return an answer with a `Content-Length`; with `body=None`, one that has neither."""
    lines = [header.encode() if isinstance(header, str) else header for header in headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return Answer(b"\r\n".join([f"HTTP/1.1 {status}".encode(), *lines]) + b"\r\n\r\n" + (body or b""), **how)


OK = answer("200 OK", "Content-Type: application/json", body=OK_BODY)


def sees(
    line: str,
    headers: Expectations | None = None,
    *,
    body: bytes = b"",
    passport: Mapping[str, object] | None = None,
    framing: str | None = None,
) -> Sees:
    """What the service must have seen."""
    return Sees(line, headers or {}, body, passport, framing)


def gets(
    status: int = 200, headers: Expectations | None = None, body: bytes | None = OK_BODY, framing: str | None = None
) -> Gets:
    """What the client must get."""
    return Gets(frozenset({status}), headers or {}, body, framing=framing)


def problem(status: int, headers: Expectations | None = None, **members: object) -> Gets:
    """What the client must get where our code refuses."""
    return Gets(frozenset({status}), headers or {}, problem=members)


def refused(*statuses: int) -> Gets:
    """What the client must get where the server may refuse what is no HTTP before our code sees it."""
    return Gets(frozenset(statuses or {400}), server=True)


def signed(token: str) -> str:
    """The header of who is signed in."""
    return f"Authorization: Bearer <{token}>"


INVALID_TOKEN = {"WWW-Authenticate": re.compile(r'Bearer realm="api", error="invalid_token".*')}
USER = {"aud": "echo", "sub": "2", "role": "default", "username": "user2", "iss": "gatehouse", "token_type": "passport"}


def path(name: str, sent: str, seen: str) -> Case:
    """A path that goes through, in the one form of it."""
    return Case(name, ask(f"GET {sent}"), sees(f"GET {seen} HTTP/1.1"), gets())


def bad_path(name: str, sent: str) -> Case:
    """A path that can be read in two ways."""
    return Case(name, ask(f"GET {sent}"), gets=problem(400))


def no_path(name: str, sent: str) -> Case:
    """A path at which nothing is routed."""
    return Case(name, ask(f"GET {sent}"), gets=problem(404))


def moved(name: str, line: str, location: str, body: bytes | None = None) -> Case:
    """A path that is routed with a slash at its end, or without it."""
    return Case(name, ask(line, body=body), gets=problem(308, {"Location": location, "Cache-Control": "no-store"}))


PATHS = [
    path("a path", "/api/items/5", "/api/items/5"),
    path("two parameters", "/api/items/5/parts/x-1", "/api/items/5/parts/x-1"),
    path("a letter needlessly encoded in a parameter", "/api/items/%41b", "/api/items/Ab"),
    path("a letter needlessly encoded in the route's own text", "/api/%69tems/5", "/api/items/5"),
    path("a tilde needlessly encoded", "/api/items/%7Ex", "/api/items/~x"),
    path("lower-case hexadecimal digits", "/api/items/%c3%a9", "/api/items/%C3%A9"),
    path("a character outside of the BMP", "/api/items/%F0%9F%98%80", "/api/items/%F0%9F%98%80"),
    path("a space", "/api/items/a%20b", "/api/items/a%20b"),
    path("a plus", "/api/items/a+b", "/api/items/a+b"),
    path("sub-delimiters as they are", "/api/items/!$&'()*+,;=:@-._~", "/api/items/!$&'()*+,;=:@-._~"),
    *[
        path(f"{sent} needlessly or not encoded in a parameter", f"/api/items/a{sent}b", f"/api/items/a{sent.upper()}b")
        for sent in ["%2B", "%3B", "%2C", "%40", "%3D", "%26", "%3A", "%21", "%24", "%27", "%28", "%29", "%2A", "%2b"]
    ],
    path("sub-delimiters encoded in the rest of a path", "/files/a%2Bb/%3B%40/%26", "/files/a%2Bb/%3B%40/%26"),
    path("a path parameter", "/api/items/5;v=1", "/api/items/5;v=1"),
    path("path parameters in the rest of a path", "/files/a;v=1/b;c", "/files/a;v=1/b;c"),
    path("a path parameter of the route's own text", "/api;a/v1;b/items;c=1/5", "/api/items/5"),
    path("a path parameter where a more specific route is", "/api/items/special;x=1", "/api/items/special"),
    path("what is no path parameter", "/api/items/special%3Bx=1", "/api/items/special%3Bx=1"),
    *[
        Case(f"a role is asked for at {spelled}", ask(f"GET {spelled}"), gets=problem(401))
        for spelled in ["/api/items/locked+up", "/api/items/locked%2Bup", "/api/items/locked+up;x=1",
                        "/api/items/%6cocked%2bup;x", "/api;v/items;y/locked+up", "/api/data/locked;x/1",
                        "/api/data/%6Cocked/1", "/api/v1/data;y/locked;/1"]
    ],
    path("what only looks like a path with a role", "/api/items/locked%2B%2Bup", "/api/items/locked%2B%2Bup"),
    bad_path("a segment of a path parameter alone", "/api/items/;x=1"),
    bad_path("a segment of a path parameter alone, within", "/files/a/;x=1/b"),
    path("an encoded question mark and hash", "/api/items/a%3Fb%23c", "/api/items/a%3Fb%23c"),
    path("a quote and braces, encoded", "/api/items/%22%7B%7D%3C", "/api/items/%22%7B%7D%3C"),
    path("an encoded percent sign", "/api/items/100%25", "/api/items/100%25"),
    path("a percent sign encoded twice", "/api/items/%2525", "/api/items/%2525"),
    path("a slash encoded twice", "/api/items/a%252fb", "/api/items/a%252fb"),
    path("three dots", "/api/items/...", "/api/items/..."),
    path("dots at the end of a name", "/api/items/a..", "/api/items/a.."),
    path("the most specific route", "/api/items/special", "/api/items/special"),
    path("the rest of a path", "/files/a/b/c.txt", "/files/a/b/c.txt"),
    path("the rest of a path, with nothing in it", "/files/", "/files/"),
    path("the rest of a path, with a slash at its end", "/files/a/", "/files/a/"),
    path("the rest of a path, encoded", "/files/%61/b%20c/%C3%A9", "/files/a/b%20c/%C3%A9"),
    path("the current version's path of a route without it", "/api/v1/open", "/api/open"),
    path("the path without a version of a route that writes it", "/api/versioned", "/api/v1/versioned"),
    path("the path with the version of a route that writes it", "/api/v1/versioned", "/api/v1/versioned"),
    path("a version needlessly encoded", "/api/%761/open", "/api/open"),
    path("a version as a parameter's value", "/api/items/v1", "/api/items/v1"),
    path("a service with a base path", "/api/based", "/base/api/based"),
    path("a long path", "/api/items/" + "x" * 3900, "/api/items/" + "x" * 3900),
    path("an absolute-form target", "http://localhost/api/items/5", "/api/items/5"),
    Case(
        "an absolute-form target with port and query", ask("GET http://localhost:80/api/open?a=1"),
        sees("GET /api/open?a=1 HTTP/1.1", {"X-Forwarded-Host": "localhost:80"}), gets(),
    ),
    bad_path("a dot segment", "/api/items/./x"),
    bad_path("a dot-dot segment", "/api/items/../private"),
    bad_path("a dot-dot segment at the end", "/api/items/.."),
    bad_path("a dot-dot segment, encoded", "/api/items/%2e%2e/private"),
    bad_path("a dot-dot segment, half encoded", "/api/items/.%2E/private"),
    bad_path("a dot-dot segment, encoded twice", "/api/items/%252e%252e"),
    bad_path("a dot-dot segment, encoded three times", "/api/items/%25252e%25252e"),
    bad_path("a dot-dot segment with a path parameter", "/api/items/..;x=1/private"),
    bad_path("a dot-dot segment in the rest of a path", "/files/a/../../api/private"),
    bad_path("a dot-dot segment and a slash encoded twice", "/api/items/..%252fprivate"),
    bad_path("a dot-dot segment with a backslash encoded twice", "/files/..%255cprivate"),
    bad_path("a backslash", "/api/items/a\\b"),
    bad_path("an encoded backslash", "/api/items/a%5cb"),
    bad_path("an encoded slash", "/api/items/a%2fb"),
    bad_path("an encoded slash in capitals", "/files/a%2Fb"),
    bad_path("an empty segment", "/api//open"),
    bad_path("an empty segment in front", "//api/open"),
    bad_path("an empty segment at the end", "/api/open//"),
    bad_path("an empty segment in the rest of a path", "/files/a//b"),
    bad_path("an encoded NUL", "/api/items/a%00"),
    bad_path("an encoded line feed", "/api/items/a%0ab"),
    bad_path("an encoded DEL", "/api/items/%7f"),
    bad_path("an encoded C1 control", "/api/items/%c2%85"),
    bad_path("what is no UTF-8", "/api/items/%ff"),
    bad_path("an overlong slash", "/api/items/%c0%af"),
    bad_path("an encoded surrogate", "/api/items/%ed%a0%80"),
    bad_path("a percent sign without digits", "/api/items/%zz"),
    bad_path("a percent sign at the end", "/api/items/100%"),
    bad_path("an absolute-form target with a dot-dot segment", "http://localhost/api/items/../private"),
    no_path("a path that nobody routes", "/api/nothing"),
    no_path("a path of the service's own", "/internal/credentials"),
    no_path("an empty parameter", "/api/items/"),
    moved("a trailing slash", "GET /api/open/?a=%20b", "/api/open?a=%20b"),
    moved("a missing slash at the end", "GET /api/slashed/7?a=b", "/api/slashed/7/?a=b"),
    moved("a missing slash, of the current version", "GET /api/v1/slashed/7", "/api/v1/slashed/7/"),
    moved("a missing slash, of a body that is not read", "POST /api/slashed/7", "/api/slashed/7/", body=b"x"),
    moved("a missing slash, with a method that is not routed there", "DELETE /api/slashed/7", "/api/slashed/7/"),
    moved("a missing slash, of nobody who is signed in", "GET /api/slashed/locked", "/api/slashed/locked/"),
    moved("a missing slash, with what is encoded needlessly", "GET /api/slashed/%41%C3%A9", "/api/slashed/A%C3%A9/"),
    moved("a missing slash, of an absolute-form target", "GET http://localhost/api/slashed/7", "/api/slashed/7/"),
    moved("a slash after one of the gateway's own paths", "GET /openapi.json/", "/openapi.json"),
    path("a slash at the end as it is written", "/api/slashed/7/", "/api/slashed/7/"),
    path("a slash at the end, of the current version", "/api/v1/slashed/7/", "/api/slashed/7/"),
    path("a slash that is appended for the service", "/api/appended/5", "/api/appended/5/"),
    path("a slash that is appended for the service, of the current version", "/api/v1/appended/5", "/api/appended/5/"),
    moved("a slash that is appended for the service alone", "GET /api/appended/5/?a", "/api/appended/5?a"),
    path("a path beside the same with a slash", "/api/both", "/api/both"),
    path("a path beside the same without a slash", "/api/both/", "/api/both/"),
    bad_path("two slashes at the end", "/api/slashed/7//"),
    moved("the rest of a path without its slash", "GET /api/data", "/api/data/"),
    Case("the rest of a path without its slash, for a person", ask("GET /files?a=b", "Accept: text/html"),
         gets=gets(308, {"Location": "/files/?a=b", "Cache-Control": "no-store"}, None)),
    moved("the rest of a path without its slash, of the current version", "GET /api/v1/shelf", "/api/v1/shelf/"),
    no_path("other letters' case", "/API/open"),
    no_path("another version", "/api/v2/open"),
    no_path("the version twice", "/api/v1/v1/open"),
    Case(
        "a problem's instance is a URI reference", ask("GET /api/n%C3%A9ant"),
        gets=problem(404, instance="/api/n%C3%A9ant"),
    ),
    Case("a raw byte that is not ASCII", ask("GET /api/items/\xe9"), gets=refused(400)),
    Case("a fragment", ask("GET /api/open#x"), gets=refused(400)),
    Case("a fragment after a query", ask("GET /api/open?a=1#x"), gets=refused(400)),
    Case("a path that is too long", ask("GET /api/items/" + "x" * 9000), gets=refused(400, 414)),
    Case("a target without a slash", ask("GET api/open"), gets=refused(400)),
    Case("an asterisk for another method", ask("GET *"), gets=refused(400)),
]  # fmt: skip


def query(name: str, sent: str, seen: str | None = None) -> Case:
    """A query that is kept byte for byte."""
    return Case(
        f"a query: {name}", ask(f"GET /api/open{sent}"),
        sees(f"GET /api/open{sent if seen is None else seen} HTTP/1.1"), gets(),
    )  # fmt: skip


QUERIES = [
    query("repeated names in their order", "?b=2&a=1&b=1"),
    query("a plus and an encoded space", "?q=a+b%20c"),
    query("hexadecimal digits in either case", "?q=%2f%2F%c3%A9"),
    query("letters needlessly encoded", "?q=%41%7e"),
    query("broken percent-encoding", "?q=100%&r=%zz"),
    query("broken percent-encoding besides whole", "?q=%&r=%20"),
    query("slashes, question marks and dots", "?next=/a/../b?c"),
    query("characters that a URI has no place for", '?q="<>[]{}|\\^`'),
    query("empty names and values", "?=&&=&a"),
    query("a semicolon", "?a=1;b=2"),
    query("an encoded NUL and line break", "?q=%00%0d%0a"),
    query("one long value", "?q=" + "x" * 3500),
    query("nothing after the question mark", "?", ""),
    Case("a query with a raw byte that is not ASCII", ask("GET /api/open?q=\xe9"), gets=refused(400)),
    Case("a token in the query", ask("GET /api/private?access_token=<user>"), gets=problem(401)),
]


def method(name: str, body: bytes | None = None) -> Case:
    """A method that the route has."""
    return Case(
        f"the method {name}", ask(f"{name} /api/open", body=body),
        sees(f"{name} /api/open HTTP/1.1", body=body or b""), gets(),
    )  # fmt: skip


ALLOW = {"Allow": "DELETE, GET, HEAD, OPTIONS, PUT"}
METHODS = [
    method("GET"),
    method("POST", b"a=1"),
    method("PUT", b"a=1"),
    method("PATCH", b"a=1"),
    method("DELETE"),
    Case("HEAD goes where GET does", ask("HEAD /api/open"), sees("HEAD /api/open HTTP/1.1"),
         gets(200, {"Content-Length": "12", "Content-Type": "application/json"}, b"")),
    Case("HEAD of a route without GET", ask("HEAD /api/send"), gets=problem(405, {"Allow": "OPTIONS, POST"})),
    Case("HEAD of nothing", ask("HEAD /api/nothing"), gets=problem(404)),
    Case("OPTIONS is answered here", ask("OPTIONS /api/items/5"), gets=gets(204, ALLOW, b"")),
    Case("OPTIONS of a route for some is answered here too", ask("OPTIONS /api/staff"),
         gets=gets(204, {"Allow": "GET, HEAD, OPTIONS"}, b"")),
    Case("OPTIONS of several routes at one path", ask("OPTIONS /api/mixed"),
         gets=gets(204, {"Allow": "GET, HEAD, OPTIONS, POST"}, b"")),
    Case("OPTIONS of a route that lists it", ask("OPTIONS /api/asks"), sees("OPTIONS /api/asks HTTP/1.1"), gets()),
    Case("OPTIONS of nothing", ask("OPTIONS /api/nothing"), gets=problem(404)),
    Case("OPTIONS of an ambiguous path", ask("OPTIONS /api/items/%2e%2e"), gets=problem(400)),
    Case("OPTIONS of the server as a whole", ask("OPTIONS *"), gets=gets(204, {"Content-Type": None}, b"")),
    Case("OPTIONS of the server as a whole, of a host that is not ours", ask("OPTIONS *", "Host: evil.example"),
         gets=problem(400)),
    Case("OPTIONS of a route, of a host that is not ours", ask("OPTIONS /api/open", "Host: evil.example"),
         gets=problem(400)),
    Case("a method that the route does not have, of a host that is not ours",
         ask("PATCH /api/items/5", "Host: evil.example"), gets=problem(400)),
    Case("nothing, of a host that is not ours", ask("GET /api/nothing", "Host: evil.example"), gets=problem(400)),
    Case("a method that the route does not have", ask("PATCH /api/items/5"), gets=problem(405, ALLOW)),
    Case("a method that only a less specific route has", ask("DELETE /api/items/special"),
         gets=problem(405, {"Allow": "GET, HEAD, OPTIONS"})),
    Case("a method is refused before a token is asked for", ask("PUT /api/private"),
         gets=problem(405, {"Allow": "GET, HEAD, OPTIONS, POST"})),
    Case("a method that nobody knows", ask("BREW /api/items/5"), gets=problem(501)),
    Case("TRACE", ask("TRACE /api/items/5"), gets=problem(405, ALLOW)),
    Case("PROPFIND", ask("PROPFIND /api/items/5"), gets=problem(501)),
    Case("a method in small letters", ask("get /api/open"), gets=refused(400, 501)),
    Case("a method that is no token", ask("G@T /api/open"), gets=refused(400, 405)),
    Case("CONNECT to a route", ask("CONNECT /api/open"), gets=refused(400, 405)),
    Case("CONNECT to elsewhere", ask("CONNECT example.org:443"), gets=refused(400, 404, 405)),
]  # fmt: skip


def header(name: str, *lines: str | bytes, keeps: Expectations | None = None, drops: Sequence[str] = ()) -> Case:
    """Headers that a client sends to a public route, and what becomes of them."""
    expected = {**(keeps or {}), **dict.fromkeys(drops)}
    return Case(name, ask("GET /api/open", *lines), sees("GET /api/open HTTP/1.1", expected), gets())


HEADERS_IN = [
    header("a header", "X-Custom: some value", keeps={"X-Custom": "some value"}),
    header("spaces around a value are not part of it", "X-Custom: \t a  b \t", keeps={"X-Custom": "a  b"}),
    header("an empty value", "X-Empty:", keeps={"X-Empty": ""}),
    header("a value of latin-1", b"X-Custom: caf\xe9", keeps={"X-Custom": "caf\xe9"}),
    header("a value of UTF-8", "X-Custom: café €", keeps={"X-Custom": "café €".encode().decode("latin-1")}),
    header("a value with a tab and punctuation", "X-Custom: a\tb,;=\"'", keeps={"X-Custom": "a\tb,;=\"'"}),
    header("a long value", "X-Custom: " + "x" * 7000, keeps={"X-Custom": "x" * 7000}),
    header("a repeated header", "X-List: 1", "X-Other: x", "X-List: 2", keeps={"X-List": re.compile("1, ?2")}),
    header("names in any case", "x-lower: 1", "X-UPPER: 2", keeps={"X-Lower": "1", "X-Upper": "2"}),
    header("a name of odd but valid characters", "X-A!#$%&'*+.^`|~1: 1", keeps={"X-A!#$%&'*+.^`|~1": "1"}),
    header("a name with an underscore", "X_Custom: 1", drops=["X_Custom", "X-Custom"]),
    header("a cookie", 'Cookie: a=1; b="2"; c=x,y', keeps={"Cookie": 'a=1; b="2"; c=x,y'}),
    header("Accept-Encoding is the client's", "Accept-Encoding: br;q=1, gzip;q=0",
           keeps={"Accept-Encoding": "br;q=1, gzip;q=0"}),
    header("what a client does not say is not said for it",
           drops=["Accept", "Accept-Encoding", "User-Agent", "Content-Type", "Content-Length", "Transfer-Encoding",
                  "Cookie"], keeps={"Via": "1.1 gatehouse"}),
    header("Via goes on, with the gateway at its end", "Via: 1.0 fred, HTTPS/2 a.example:1 (x)", "Via: 1.1 b",
           keeps={"Via": re.compile(r"1\.0 fred, HTTPS/2 a\.example:1 \(x\), ?1\.1 b, ?1\.1 gatehouse")}),
    header("User-Agent and Accept", "User-Agent: x/1 (y)", "Accept: text/plain;q=0.5, */*",
           keeps={"User-Agent": "x/1 (y)", "Accept": "text/plain;q=0.5, */*"}),
    header("Origin, Referer and fetch metadata", "Origin: http://a.example", "Referer: http://a.example/x",
           "Sec-Fetch-Site: cross-site",
           keeps={"Origin": "http://a.example", "Referer": "http://a.example/x", "Sec-Fetch-Site": "cross-site"}),
    header("trace context", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate: a=1",
           keeps={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1"}),
    header("conditions and ranges", 'If-None-Match: "a", W/"b"', "If-Modified-Since: Sat, 01 Jan 2022 00:00:00 GMT",
           "Range: bytes=0-4", 'If-Range: "a"',
           keeps={"If-None-Match": '"a", W/"b"', "If-Modified-Since": "Sat, 01 Jan 2022 00:00:00 GMT",
                  "Range": "bytes=0-4", "If-Range": '"a"'}),
    header("Host is the service's", "Host: localhost:8001",
           keeps={"Host": re.compile(r"127\.0\.0\.1:[0-9]+"), "X-Forwarded-Host": "localhost:8001"}),
    header("hop-by-hop headers", "Keep-Alive: timeout=5", "TE: trailers", "Trailer: X-T",
           "Proxy-Authorization: Basic eDp5", "Proxy-Connection: keep-alive", "Proxy-Authenticate: Basic",
           drops=["Keep-Alive", "TE", "Trailer", "Proxy-Authorization", "Proxy-Connection", "Proxy-Authenticate"]),
    header("an upgrade that is not made", "Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__",
           drops=["Upgrade"]),
    header("headers that Connection names", "Connection: keep-alive, X-Hop , x-other", "X-Hop: 1", "X-Other: 2",
           "X-Kept: 3", keeps={"X-Kept": "3"}, drops=["X-Hop", "X-Other"]),
    header("headers that a second Connection names", "Connection: keep-alive", "Connection: X-Hop", "X-Hop: 1",
           drops=["X-Hop"]),
    header("ninety headers", *(f"X-H{n}: {n}" for n in range(90)), keeps={"X-H0": "0", "X-H89": "89"}),
    Case("Content-Type and Content-Encoding of a body",
         ask("POST /api/open", "Content-Type: text/csv; charset=x", "Content-Encoding: gzip", body=b"\x1f\x8bno"),
         sees("POST /api/open HTTP/1.1", {"Content-Type": "text/csv; charset=x", "Content-Encoding": "gzip"},
              body=b"\x1f\x8bno"), gets()),
]  # fmt: skip

SPOOFING = [
    header("request-user-id", "request-user-id: 1", drops=["request-user-id"]),
    header("Request-User-Id", "Request-User-Id: 1", drops=["request-user-id"]),
    header("REQUEST-USER-ID", "REQUEST-USER-ID: 1", drops=["request-user-id"]),
    header("request_user_id", "request_user_id: 1", drops=["request-user-id", "request_user_id"]),
    header("Request-User_Id", "Request-User_Id: 1", drops=["request-user-id", "request-user_id"]),
    header("HTTP_REQUEST_USER_ID", "HTTP_REQUEST_USER_ID: 1", drops=["request-user-id", "http_request_user_id"]),
    header("request-user-id twice", "request-user-id: 1", "request-user-id: 2", drops=["request-user-id"]),
    header("request-user-id without a value", "request-user-id:", drops=["request-user-id"]),
    header("Forwarded", "Forwarded: for=6.6.6.6;proto=https;host=evil.example", drops=["Forwarded"]),
    header("X-Forwarded-For", "X-Forwarded-For: 6.6.6.6", keeps={"X-Forwarded-For": "127.0.0.1"}),
    header("X_Forwarded_For", "X_Forwarded_For: 6.6.6.6", keeps={"X-Forwarded-For": "127.0.0.1"},
           drops=["X_Forwarded_For"]),
    header("X-Forwarded-Path", "X-Forwarded-Path: /evil", keeps={"X-Forwarded-Path": "/api/open"}),
    Case("the path as the client asked for it", ask("GET /api/v1/appended/%41?a"),
         sees("GET /api/appended/A/?a HTTP/1.1", {"X-Forwarded-Path": "/api/v1/appended/%41"}), gets()),
    Case("the client's Host, for a service that keeps it", ask("GET /api/kept", "Host: localhost:8001"),
         sees("GET /api/kept HTTP/1.1", {"Host": "localhost:8001", "X-Forwarded-Host": "localhost:8001"}), gets()),
    Case("the client's Host, with a body, for a service that keeps it", ask("POST /api/kept", body=b"abc"),
         sees("POST /api/kept HTTP/1.1", {"Host": "localhost"}, body=b"abc"), gets()),
    Case("the target's host, for a service that keeps it", ask("GET http://127.0.0.1:81/api/kept", "Host: localhost"),
         sees("GET /api/kept HTTP/1.1", {"Host": "127.0.0.1:81", "X-Forwarded-Host": "127.0.0.1:81"}), gets()),
    Case("a host that is not ours, for a service that keeps it", ask("GET /api/kept", "Host: evil.example"),
         gets=problem(400)),
    Case("a forged host, for a service that keeps it", ask("GET /api/kept", "X-Forwarded-Host: evil.example"),
         sees("GET /api/kept HTTP/1.1", {"Host": "localhost"}), gets()),
    header("X-Forwarded-Host", "X-Forwarded-Host: evil.example", keeps={"X-Forwarded-Host": "localhost"}),
    header("X-Forwarded-Proto", "X-Forwarded-Proto: https", keeps={"X-Forwarded-Proto": "http"}),
    header("other X-Forwarded headers", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /x", "X-Forwarded: for=6.6.6.6",
           "X-Forwarded-User: admin",
           drops=["X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded", "X-Forwarded-User"]),
    header("X-Real-IP", "X-Real-IP: 6.6.6.6", drops=["X-Real-IP"]),
    header("X-Request-ID", "X-Request-ID: chosen-by-the-client", keeps={"X-Request-ID": re.compile("[0-9a-f]{32}")}),
    header("a Basic Authorization", "Authorization: Basic YWRtaW46YQ==", drops=["Authorization"]),
    header("an Authorization without a scheme", "Authorization: ", drops=["Authorization"]),
    Case("a user who says to be another", ask("GET /api/private", signed("user"), "Request-User-Id: 1"),
         sees("GET /api/private HTTP/1.1", passport=USER), gets()),
    Case("Connection that names authorization", ask("GET /api/private", signed("user"), "Connection: authorization"),
         sees("GET /api/private HTTP/1.1", passport=USER), gets()),
    Case("Connection that names request-user-id",
         ask("GET /api/private", signed("user"), "Connection: Request-User-Id, Authorization, Host, Content-Length"),
         sees("GET /api/private HTTP/1.1", passport=USER), gets()),
    Case("Connection that names what the gateway says itself",
         ask("GET /api/open", "Connection: x-forwarded-for, x-request-id, host"),
         sees("GET /api/open HTTP/1.1"), gets()),
]  # fmt: skip


def proxied(name: str, *lines: str, keeps: Expectations, path: str = "/api/open") -> Case:
    """Headers from a proxy that is trusted."""
    return Case(
        f"a trusted proxy's {name}", ask(f"GET {path}", *lines), sees(f"GET {path} HTTP/1.1", keeps), gets(),
        trusted=True,
    )  # fmt: skip


TRUSTED = [
    proxied("word for the client", "X-Forwarded-For: 203.0.113.9", keeps={"X-Forwarded-For": "203.0.113.9"}),
    proxied("client is the last stranger", "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 127.0.0.5",
            keeps={"X-Forwarded-For": "203.0.113.9"}),
    proxied("client in two headers", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.9",
            keeps={"X-Forwarded-For": "203.0.113.9"}),
    proxied("client with a port", "X-Forwarded-For: 203.0.113.9:1234", keeps={"X-Forwarded-For": "203.0.113.9"}),
    proxied("client of IPv6", "X-Forwarded-For: 2001:DB8::1", keeps={"X-Forwarded-For": "2001:db8::1"}),
    proxied("nonsense for a client", "X-Forwarded-For: 6.6.6.6, unknown", keeps={"X-Forwarded-For": "127.0.0.1"}),
    proxied("scheme and host", "X-Forwarded-Proto: https", "X-Forwarded-Host: 127.0.0.1:444",
            keeps={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "127.0.0.1:444"}),
    proxied("nonsense for a scheme", "X-Forwarded-Proto: gopher", keeps={"X-Forwarded-Proto": "http"}),
    proxied("other X-Forwarded headers", "X-Forwarded-Prefix: /x", keeps={"X-Forwarded-Prefix": "/x"}),
    proxied("request id", "X-Request-ID: abc.DEF-123_4", keeps={"X-Request-ID": "abc.DEF-123_4"}),
    proxied("request id that is none", "X-Request-ID: not an id", keeps={"X-Request-ID": re.compile("[0-9a-f]{32}")}),
    proxied("Forwarded and X-Real-IP are not believed all the same", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6",
            keeps={"Forwarded": None, "X-Real-IP": None, "X-Forwarded-For": "127.0.0.1"}),
    proxied("request-user-id is not believed all the same", "Request-User-Id: 1", keeps={"Request-User-Id": None}),
    Case("a trusted proxy's host, for a service that keeps it", ask("GET /api/kept", "X-Forwarded-Host: 127.0.0.1:444"),
         sees("GET /api/kept HTTP/1.1", {"Host": "127.0.0.1:444", "X-Forwarded-Host": "127.0.0.1:444"}), gets(),
         trusted=True),
    proxied("the path", "X-Forwarded-Path: /evil", keeps={"X-Forwarded-Path": "/api/open"}),
    Case("a trusted proxy's host that is not ours", ask("GET /api/open", "X-Forwarded-Host: evil.example"),
         gets=problem(400), trusted=True),
    Case("a rate limit counts the clients of a trusted proxy apart",
         ask("GET /api/forwarded", "X-Forwarded-For: 203.0.113.2"), sees("GET /api/forwarded HTTP/1.1", {
             "X-Forwarded-For": "203.0.113.2"}), gets(),
         before=[ask("GET /api/forwarded", "X-Forwarded-For: 203.0.113.1")], trusted=True),
    Case("a rate limit does not believe a stranger's X-Forwarded-For",
         ask("GET /api/hearsay", "X-Forwarded-For: 203.0.113.2"), gets=problem(429),
         before=[ask("GET /api/hearsay", "X-Forwarded-For: 203.0.113.1")]),
]  # fmt: skip


def token(name: str, value: str) -> Case:
    """An Authorization that does not hold, whatever the route."""
    return Case(name, ask("GET /api/open", f"Authorization: {value}"), gets=problem(401, INVALID_TOKEN))


TOKENS = [
    Case("a token", ask("GET /api/private", signed("user")), sees("GET /api/private HTTP/1.1", passport=USER), gets()),
    Case("a token on a public route", ask("GET /api/open", signed("user")),
         sees("GET /api/open HTTP/1.1", passport=USER), gets()),
    Case("a token of another user", ask("GET /api/private", signed("admin")),
         sees("GET /api/private HTTP/1.1", passport={"aud": "echo", "sub": "1", "role": "admin"}), gets()),
    Case("a passport is for the one service", ask("GET /api/based", signed("user")),
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
    token("Bearer with a word that is no token", "Bearer x"),
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
    token("a token without an end", "Bearer <endless>"),
    token("a token without a session", "Bearer <no-session>"),
    token("a token that holds only later", "Bearer <not-yet>"),
    token("a refresh token", "Bearer <refresh>"),
    token("a passport in place of a token", "Bearer <passport>"),
    Case("two Authorization headers", ask("GET /api/open", signed("user"), signed("user")),
         gets=problem(401, INVALID_TOKEN)),
    Case("a second Authorization of another scheme", ask("GET /api/open", signed("user"), "Authorization: Basic eDp5"),
         gets=problem(401, INVALID_TOKEN)),
    Case("a token that does not hold, where nothing is routed", ask("GET /api/nothing", signed("expired")),
         gets=problem(404)),
]  # fmt: skip

NOT_SIGNED_IN = {"WWW-Authenticate": 'Bearer realm="api"'}
COOKIE = "Cookie: gatehouse-access=<user>"
CROSS_ORIGIN = (
    "A cookie is accepted only from this site's own pages. Send an access token: `Authorization: Bearer <token>`."
)
ACCESS = [
    Case("nobody on a route for the signed in", ask("GET /api/private"), gets=problem(401, NOT_SIGNED_IN)),
    Case("nobody on a route for some", ask("GET /api/staff"), gets=problem(401, NOT_SIGNED_IN)),
    Case("nobody, with HEAD", ask("HEAD /api/private"), gets=problem(401, NOT_SIGNED_IN)),
    Case("nobody, with a body", ask("POST /api/private", body=b"x" * 1000), gets=problem(401, NOT_SIGNED_IN)),
    Case("Basic on a route for the signed in", ask("GET /api/private", "Authorization: Basic eDp5"),
         gets=problem(401, NOT_SIGNED_IN)),
    Case("a browser's cookie", ask("GET /api/private", "Cookie: a=1; gatehouse-access=<user>; b=2"),
         sees("GET /api/private HTTP/1.1", {"Cookie": "a=1; b=2"}, passport={"sub": "2", "role": "default"}), gets()),
    Case("a browser's cookie without the role", ask("GET /api/staff", COOKIE),
         gets=problem(403, detail="Expected the role admin or editor; yours is default.")),
    *[
        Case(f"a cookie with {name} is nobody", ask("GET /api/open", f"Cookie: {cookie}"),
             sees("GET /api/open HTTP/1.1", {"Cookie": kept}), gets())
        for name, cookie, kept in [
            ("an expired token", "gatehouse-access=<expired>", None),
            ("a tampered token", "gatehouse-access=<tampered>", None),
            ("a refresh token", "gatehouse-access=<refresh>", None),
            ("no token", "gatehouse-access=", None),
            ("the name of https", "__Host-gatehouse-access=<user>", None),
            ("another's name", "xgatehouse-access=<user>", re.compile("xgatehouse-access=.*")),
            ("two tokens", "gatehouse-access=<user>; gatehouse-access=<admin>", None),
            ("a refresh token of nobody's", "gatehouse-refresh=nonsense; c=1", "c=1"),
        ]
    ],
    Case("an expired cookie where one must be signed in", ask("GET /api/private", "Cookie: gatehouse-access=<expired>"),
         gets=problem(401, NOT_SIGNED_IN)),
    *[
        Case(f"a cookie, and {name} in Authorization",
             ask("GET /api/private", f"Authorization: {value}", COOKIE), gets=problem(401))
        for name, value in [
            ("an expired token", "Bearer <expired>"), ("nonsense", "Bearer"), ("another scheme", "Basic dTpw"),
        ]
    ],
    Case("the header is who asks, not the cookie",
         ask("GET /api/private", signed("admin"), COOKIE),
         sees("GET /api/private HTTP/1.1", {"Cookie": None}, passport={"sub": "1"}), gets()),
    *[
        Case(f"a cookie on a POST {name}", ask("POST /api/private", COOKIE, *said, body=b"{}"),
             sees("POST /api/private HTTP/1.1", {"Cookie": None}, body=b"{}", passport={"sub": "2"}), gets())
        for name, said in [
            ("of this origin", ["Origin: http://localhost"]),
            ("of this origin, as the browser says", ["Sec-Fetch-Site: same-origin"]),
            ("of this origin in both words", ["Origin: http://LOCALHOST", "Sec-Fetch-Site: same-origin"]),
        ]
    ],
    *[
        Case(f"a cookie on a POST {name}", ask("POST /api/private", COOKIE, *said, body=b"{}"),
             gets=problem(403, detail=CROSS_ORIGIN))
        for name, said in [
            ("of nobody knows where", []),
            ("of another site", ["Origin: http://evil.example"]),
            ("of another port", ["Origin: http://localhost:8080"]),
            ("of another scheme", ["Origin: https://localhost"]),
            ("of a host that begins like ours", ["Origin: http://localhost.evil.example"]),
            ("of a hidden origin", ["Origin: null"]),
            ("of a sibling", ["Sec-Fetch-Site: same-site"]),
            ("of another site, as the browser says", ["Sec-Fetch-Site: cross-site", "Origin: http://localhost"]),
            ("of a person's bookmark", ["Sec-Fetch-Site: none"]),
            ("of two origins", ["Origin: http://localhost", "Origin: http://evil.example"]),
        ]
    ],
    Case("a cookie on a handshake of another site",
         ask("GET /api/private", COOKIE, "Origin: http://evil.example", "Upgrade: websocket",
             "Connection: Upgrade"), gets=problem(403, detail=CROSS_ORIGIN)),
    Case("a header needs no origin",
         ask("POST /api/private", signed("user"), "Origin: http://evil.example", body=b"{}"),
         sees("POST /api/private HTTP/1.1", {}, body=b"{}", passport={"sub": "2"}), gets()),
    Case("a cookie of another's on a route for the signed in", ask("GET /api/private", "Cookie: sessionid=<user>"),
         gets=problem(401, NOT_SIGNED_IN)),
    Case("a role that the route does not have", ask("GET /api/staff", signed("user")),
         gets=problem(403, {"WWW-Authenticate": None})),
    Case("the first of the route's roles", ask("GET /api/staff", signed("admin")),
         sees("GET /api/staff HTTP/1.1", passport={"role": "admin"}), gets()),
    Case("the second of the route's roles", ask("GET /api/staff", signed("editor")),
         sees("GET /api/staff HTTP/1.1", passport={"role": "editor"}), gets()),
    Case("a role by way of the version's path", ask("GET /api/v1/staff", signed("user")), gets=problem(403)),
    Case("a role by way of an encoded path", ask("GET /api/%73taff", signed("user")), gets=problem(403)),
    Case("one method of a path for all", ask("GET /api/mixed"), sees("GET /api/mixed HTTP/1.1"), gets()),
    Case("another method of it for some", ask("POST /api/mixed", signed("user"), body=b"x"), gets=problem(403)),
    Case("that other method, for one of those", ask("POST /api/mixed", signed("admin"), body=b"x"),
         sees("POST /api/mixed HTTP/1.1", body=b"x", passport={"role": "admin"}), gets()),
]  # fmt: skip

LIMITS = [
    Case("a rate limit's last request", ask("GET /api/thrice"), sees("GET /api/thrice HTTP/1.1"), gets(),
         before=[ask("GET /api/thrice")] * 2),
    Case("one request more than a rate limit", ask("GET /api/once"), before=[ask("GET /api/once")],
         gets=problem(429, {"Retry-After": re.compile("3[56][0-9]{2}")})),
    Case("a rate limit is each user's own", ask("GET /api/each", signed("user")),
         sees("GET /api/each HTTP/1.1", passport=USER), gets(),
         before=[ask("GET /api/each"), ask("GET /api/each", signed("admin"))]),
    Case("a rate limit by any of a path's forms", ask("HEAD /api/v1/%65veryone"), gets=problem(429),
         before=[ask("GET /api/everyone")]),
    Case("who is not let in uses up nothing", ask("GET /api/locked", signed("admin")),
         sees("GET /api/locked HTTP/1.1", passport={"role": "admin"}), gets(),
         before=[ask("GET /api/locked"), ask("GET /api/locked", signed("user"))]),
    Case("a body of exactly the limit", ask("POST /api/small", body=b"x" * 10),
         sees("POST /api/small HTTP/1.1", body=b"x" * 10), gets()),
    Case("a body of exactly the limit, chunked", chunked("POST /api/small", in_chunks(b"x" * 6, b"y" * 4)),
         sees("POST /api/small HTTP/1.1", body=b"xxxxxxyyyy"), gets()),
    Case("a body of one byte more than the limit", ask("POST /api/small", body=b"x" * 11), gets=problem(413)),
    Case("a body of one byte more than the limit, chunked", chunked("POST /api/small", in_chunks(b"x" * 11)),
         gets=problem(413), may_begin=True),
    Case("a body over the limit in many chunks", chunked("POST /api/small", in_chunks(*[b"xyz"] * 50)),
         gets=problem(413), may_begin=True),
    Case("no body where none is allowed", ask("POST /api/bodyless"), sees("POST /api/bodyless HTTP/1.1"), gets()),
    Case("an empty body where none is allowed", ask("POST /api/bodyless", body=b""),
         sees("POST /api/bodyless HTTP/1.1"), gets()),
    Case("an empty chunked body where none is allowed", chunked("POST /api/bodyless", in_chunks()),
         sees("POST /api/bodyless HTTP/1.1"), gets()),
    Case("a body where none is allowed", ask("POST /api/bodyless", body=b"x"), gets=problem(413)),
    Case("a chunked body where none is allowed", chunked("POST /api/bodyless", in_chunks(b"x")), gets=problem(413),
         may_begin=True),
    Case("a length over the limit is refused before the body comes",
         ask("POST /api/open", f"Content-Length: {MIB + 1}", "Connection: close"), gets=problem(413)),
    Case("a length of very many digits", ask("POST /api/open", "Content-Length: " + "9" * 30, "Connection: close"),
         gets=refused(400, 413)),
    Case("a body of exactly the default limit", ask("POST /api/open", body=b"0123456789abcdef" * 65536),
         sees("POST /api/open HTTP/1.1", body=b"0123456789abcdef" * 65536), gets()),
    Case("a chunked body of exactly the default limit",
         chunked("POST /api/open", in_chunks(*[b"0123456789abcdef" * 1024] * 64)),
         sees("POST /api/open HTTP/1.1", body=b"0123456789abcdef" * 65536), gets()),
    Case("who may not come in is told so before the body's size is",
         ask("POST /api/private", f"Content-Length: {MIB + 1}", "Connection: close"), gets=problem(401)),
]  # fmt: skip


def bad_body(name: str, *lines: str, body: bytes = b"", statuses: Sequence[int] = (400,)) -> Case:
    """A framing of which it is not certain where the body ends."""
    return Case(name, ask("POST /api/open", *lines, body=body), gets=refused(*statuses))


def bad_chunks(name: str, framed: bytes, *, finishes: bool = False) -> Case:
    """A chunked body that is malformed."""
    return Case(
        name, chunked("POST /api/open", framed), gets=refused(400), may_begin=True, finishes=finishes,
    )  # fmt: skip


EXPECT = "Expect: 100-continue"
BODIES = [
    Case("a body of a known length", ask("POST /api/open", body=b"\x00\xff\r\n\r\n" * 10),
         sees("POST /api/open HTTP/1.1", {"Transfer-Encoding": None}, body=b"\x00\xff\r\n\r\n" * 10), gets()),
    Case("a POST without a body says so", ask("POST /api/open"),
         sees("POST /api/open HTTP/1.1", {"Content-Length": "0"}, framing="length"), gets()),
    Case("a body of length 0", ask("PUT /api/open", "Content-Length: 0"), sees("PUT /api/open HTTP/1.1"), gets()),
    Case("a length with zeros in front", ask("POST /api/open", "Content-Length: 0003", body=b"abc"),
         sees("POST /api/open HTTP/1.1", body=b"abc"), gets()),
    Case("a GET with a body", ask("GET /api/open", body=b"abc"), sees("GET /api/open HTTP/1.1", body=b"abc"), gets()),
    Case("a DELETE with a body", ask("DELETE /api/open", body=b"abc"),
         sees("DELETE /api/open HTTP/1.1", body=b"abc"), gets()),
    Case("a GET with a chunked body", chunked("GET /api/open", in_chunks(b"abc")),
         sees("GET /api/open HTTP/1.1", body=b"abc"), gets()),
    Case("a chunked body", chunked("POST /api/open", in_chunks(b"abc", b"d" * 300, b"e")),
         sees("POST /api/open HTTP/1.1", body=b"abc" + b"d" * 300 + b"e"), gets()),
    Case("an empty chunked body", chunked("POST /api/open", in_chunks()), sees("POST /api/open HTTP/1.1"), gets()),
    Case("chunk extensions", chunked("POST /api/open", in_chunks(b"abc", b"de", extension=b';a=1;b="2"')),
         sees("POST /api/open HTTP/1.1", body=b"abcde"), gets()),
    Case("a chunk's size in capitals, with zeros in front",
         chunked("POST /api/open", b"00A\r\n0123456789\r\n000\r\n\r\n"),
         sees("POST /api/open HTTP/1.1", body=b"0123456789"), gets()),
    Case("white space behind the values that frame a request",
         ask("POST /api/open", "Host: localhost \t", "Content-Length: 3 ", body=b"abc"),
         sees("POST /api/open HTTP/1.1", {"Content-Length": "3"}, body=b"abc"), gets()),
    Case("a request's trailers are dropped",
         chunked("POST /api/open", in_chunks(b"abc", trailers=b"X-Trailer: 1\r\n"), "Trailer: X-Trailer"),
         sees("POST /api/open HTTP/1.1", {"X-Trailer": None, "Trailer": None}, body=b"abc"), gets()),
    Case("a trailer that would be a user's id",
         chunked("POST /api/open", in_chunks(b"abc", trailers=b"Request-User-Id: 1\r\n")),
         sees("POST /api/open HTTP/1.1", {"Request-User-Id": None}, body=b"abc"), gets()),
    Case("the coding's name in capitals", ask("POST /api/open", "Transfer-Encoding: CHUNKED", body=in_chunks(b"abc")),
         sees("POST /api/open HTTP/1.1", body=b"abc"), gets()),
    Case("a body that is asked for with 100 (Continue)", ask("POST /api/open", EXPECT, "Content-Length: 3"),
         sees("POST /api/open HTTP/1.1", {"Expect": None}, body=b"abc"), gets(), body=b"abc"),
    Case("a chunked body that is asked for", ask("POST /api/open", EXPECT, "Transfer-Encoding: chunked"),
         sees("POST /api/open HTTP/1.1", {"Expect": None}, body=b"abc"), gets(), body=in_chunks(b"abc")),
    Case("a body that is too large is refused to who asks first",
         ask("POST /api/small", EXPECT, "Content-Length: 11"), gets=problem(413), body=b"x" * 11),
    Case("a body of nobody's is refused to who asks first", ask("POST /api/private", EXPECT, "Content-Length: 3"),
         gets=problem(401), body=b"abc"),
    Case("an early 413 of the service", ask("POST /api/open", body=b"x" * 500_000),
         sees=None, gets=gets(413, body=b"no"), answers=[answer("413 Content Too Large", body=b"no", early=True)]),
    bad_body("both a length and a coding", "Content-Length: 3", "Transfer-Encoding: chunked", body=in_chunks(b"abc")),
    bad_body("both, the coding first", "Transfer-Encoding: chunked", "Content-Length: 30", body=in_chunks(b"abc")),
    bad_body("two lengths that differ", "Content-Length: 3", "Content-Length: 4", body=b"abc"),
    bad_body("two lengths in one header", "Content-Length: 3, 4", body=b"abc"),
    bad_body("a length with a sign", "Content-Length: +3", body=b"abc"),
    bad_body("a negative length", "Content-Length: -3", body=b"abc"),
    bad_body("a length with an underscore", "Content-Length: 1_0", body=b"0123456789"),
    bad_body("a length in hexadecimal", "Content-Length: 0x3", body=b"abc"),
    bad_body("a length of two words", "Content-Length: 3 3", body=b"abc"),
    bad_body("a length without digits", "Content-Length:", body=b"abc"),
    bad_body("a coding that nobody knows", "Transfer-Encoding: rot13", body=b"abc", statuses=(400, 501)),
    bad_body("a coding that only looks like chunked", "Transfer-Encoding: xchunked", body=in_chunks(b"abc"),
             statuses=(400, 501)),
    bad_body("the coding identity", "Transfer-Encoding: identity", body=b"abc", statuses=(400, 501)),
    bad_body("chunked twice", "Transfer-Encoding: chunked, chunked", body=in_chunks(b"abc")),
    bad_body("chunked that is not the last", "Transfer-Encoding: chunked, gzip", body=in_chunks(b"abc"),
             statuses=(400, 501)),
    bad_body("a space before the colon of the coding", "Transfer-Encoding : chunked", body=in_chunks(b"abc")),
    bad_chunks("a chunk's size that is no number", b"xyz\r\nabc\r\n0\r\n\r\n"),
    bad_chunks("a chunk's size that is negative", b"-3\r\nabc\r\n0\r\n\r\n"),
    bad_chunks("a chunk's size with a prefix", b"0x3\r\nabc\r\n0\r\n\r\n"),
    bad_chunks("a chunk's size that no integer holds", b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n", finishes=True),
    bad_chunks("a chunk without its end", b"3\r\nabcXX0\r\n\r\n"),
    bad_chunks("a chunk longer than its size", b"3\r\nabcdef\r\n0\r\n\r\n"),
    bad_chunks("a line feed alone after a chunk's size", b"3\nabc\r\n0\r\n\r\n"),
    bad_chunks("a chunked body that is broken off", b"a\r\nabc", finishes=True),
    Case("a body that is broken off", ask("POST /api/open", "Content-Length: 10", body=b"abc"), gets=refused(400),
         finishes=True, may_begin=True),
]  # fmt: skip


def passes(name: str, sent: Answer, got: Gets, request: str = "GET /api/open", *lines: str) -> Case:
    """An answer of the service, and what becomes of it."""
    return Case(name, ask(request, *lines), sees(f"{request} HTTP/1.1"), got, answers=[sent])


STATUSES = {
    200: "OK", 201: "Created", 202: "Accepted", 203: "Non-Authoritative Information", 206: "Partial Content",
    207: "Multi-Status", 226: "IM Used", 299: "Odd", 300: "Multiple Choices", 301: "Moved Permanently", 302: "Found",
    303: "See Other", 307: "Temporary Redirect", 308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized",
    402: "Payment Required", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable",
    408: "Request Timeout", 409: "Conflict", 410: "Gone", 412: "Precondition Failed", 415: "Unsupported Media Type",
    418: "I'm a Teapot", 422: "Unprocessable Content", 429: "Too Many Requests", 451: "Unavailable For Legal Reasons",
    499: "Odd", 500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout", 511: "Network Authentication Required", 599: "Odd",
}  # fmt: skip

LARGE = bytes(range(256)) * 4096 * 5
COOKIES = ["a=1; Path=/; HttpOnly", "b=2; Expires=Wed, 21 Oct 2037 07:28:00 GMT", "c=3"]
PROBLEM = b'{"type": "about:blank", "status": 409, "origin": "echo"}'
ANSWERS = [
    *(
        passes(f"the status {status}", answer(f"{status} {reason}", "X-Own: 1", body=b"abc"),
               gets(status, {"X-Own": "1"}, b"abc"))
        for status, reason in STATUSES.items()
    ),
    passes("a status without a reason", answer("200 ", body=b"abc"), gets(200, {}, b"abc")),
    passes("204", answer("204 No Content", "ETag: x", body=None), gets(204, {"ETag": "x", "Content-Type": None}, b"")),
    passes("204 with a length, which it may not have", answer("204 No Content"),
           gets(204, {"Content-Length": None}, b"")),
    passes("304 with the length of what is not sent",
           answer("304 Not Modified", 'ETag: "x"', "Content-Length: 500", body=None), gets(304, {"ETag": '"x"'}, b"")),
    passes("205", answer("205 Reset Content"), gets(205, {}, b"")),
    passes("an answer of length 0", answer("200 OK", body=b""), gets(200, {"Content-Length": "0"}, b"")),
    passes("an answer without a type gets none", answer("200 OK", body=b"abc"),
           gets(200, {"Content-Type": None}, b"abc")),
    passes("an answer of exactly as much as is held whole", answer("200 OK", body=LARGE[:65536]),
           gets(200, {"Content-Length": "65536"}, LARGE[:65536])),
    passes("an answer of one byte more than is held whole", answer("200 OK", body=LARGE[:65537]),
           gets(200, {"Content-Length": "65537"}, LARGE[:65537])),
    passes("a large answer", answer("200 OK", body=LARGE), gets(200, {"Content-Length": str(len(LARGE))}, LARGE)),
    passes("a large answer in chunks",
           Answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(LARGE[:100], LARGE[100:])),
           gets(200, {"Content-Length": None}, LARGE, framing="chunked")),
    passes("an answer in chunks", Answer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(b"abc", b"d" * 300, b"e")),
        gets(200, {}, b"abc" + b"d" * 300 + b"e")),
    passes("an empty answer in chunks", Answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks()),
           gets(200, {}, b"")),
    passes("an answer in chunks with extensions", Answer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n" + in_chunks(b"abc", extension=b";a=b")),
        gets(200, {}, b"abc")),
    passes("an answer's trailers are dropped", Answer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
        + in_chunks(b"abc", trailers=b"X-T: 1\r\nX-U: 2\r\n")),
        gets(200, {"X-T": None, "X-U": None, "Trailer": None}, b"abc")),
    passes("an answer that ends with its connection", answer("200 OK", body=None, close=True), gets(200, {}, b"")),
    passes("an answer with a body that ends with its connection",
           Answer(b"HTTP/1.1 200 OK\r\nX-Own: 1\r\n\r\nabc", close=True), gets(200, {"X-Own": "1"}, b"abc")),
    passes("a large answer that ends with its connection", Answer(b"HTTP/1.1 200 OK\r\n\r\n" + LARGE, close=True),
           gets(200, {}, LARGE)),
    passes("an answer that comes byte by byte",
           Answer(b"HTTP/1.1 200 OK\r\nX-Own: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(b"abc", b"de"),
                  step=1),
           gets(200, {"X-Own": "1"}, b"abcde")),
    passes("an answer of HTTP/1.0", Answer(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", close=True),
           gets(200, {}, b"abc")),
    passes("an answer that closes the connection keeps the client's",
           answer("200 OK", "Connection: close", body=b"abc", close=True), gets(200, {}, b"abc")),
    passes("100 (Continue) before the answer", Answer(b"HTTP/1.1 100 Continue\r\n\r\n" + OK.raw), gets()),
    passes("103 (Early Hints) before the answer",
           Answer(b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n" + OK.raw), gets(200, {"Link": None})),
    passes("several 1xx before the answer",
           Answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 X\r\nA: b\r\n\r\n"
                  + OK.raw),
           gets(200, {"A": None})),
    passes("HEAD, with the length that GET would have", answer("200 OK", "Content-Length: 5242880", body=None),
           gets(200, {"Content-Length": "5242880"}, b""), "HEAD /api/open"),
    passes("HEAD, with chunks that GET would have", answer("200 OK", "Transfer-Encoding: chunked", body=None),
           gets(200, {"Content-Length": None}, b""), "HEAD /api/open"),
    passes("HEAD, without a length", answer("200 OK", "X-Own: 1", body=None),
           gets(200, {"Content-Length": None, "X-Own": "1"}, b""), "HEAD /api/open"),
    passes("HEAD of what is not there", answer("404 Not Found", "Content-Length: 77", body=None),
           gets(404, {"Content-Length": "77"}, b""), "HEAD /api/open"),
    passes("a redirect is the client's to follow", answer("302 Found", "Location: http://127.0.0.1:9/x?y=1", body=b""),
           gets(302, {"Location": "http://127.0.0.1:9/x?y=1"}, b"")),
    passes("a redirect within the service", answer("301 Moved Permanently", "Location: /api/items/5", body=b""),
           gets(301, {"Location": "/api/items/5"}, b"")),
    Case("a redirect that the gateway would lead back", ask("GET /api/open?a", "Accept: application/json"),
         sees("GET /api/open?a HTTP/1.1"), problem(502, service="echo", detail=(
             "The echo service redirects this path to the same path, trailing slash aside. Write the route's "
             "path as the service does, or set trailing_slash: append for the service.")),
         answers=[answer("301 Moved Permanently", "Location: /api/open/?a", body=b"")]),
    passes("a problem of the service's", answer("409 Conflict", "Content-Type: application/problem+json", body=PROBLEM),
           gets(409, {"Content-Type": "application/problem+json"}, PROBLEM)),
    passes("a challenge of the service's", answer("401 Unauthorized", "WWW-Authenticate: Basic realm=x", body=b"no"),
           gets(401, {"WWW-Authenticate": "Basic realm=x"}, b"no")),
    passes("a 502 of the service's own", answer("502 Bad Gateway", "Content-Type: text/html", body=b"<h1>"),
           gets(502, {"Content-Type": "text/html"}, b"<h1>")),
    passes("Retry-After of the service's", answer("503 Service Unavailable", "Retry-After: 7", body=b""),
           gets(503, {"Retry-After": "7"}, b"")),
    passes("several cookies", answer("200 OK", *(f"Set-Cookie: {cookie}" for cookie in COOKIES), body=OK_BODY),
           gets(200, {"Set-Cookie": "\n".join(COOKIES)})),
    passes("a repeated header of the service's", answer("200 OK", "Link: <a>", "X-Other: x", "Link: <b>", body=OK_BODY),
           gets(200, {"Link": "<a>\n<b>"})),
    passes("header values of latin-1 and none", answer("200 OK", b"X-A: caf\xe9", "X-B:", "X-C: a\tb", body=OK_BODY),
           gets(200, {"X-A": "caf\xe9", "X-B": "", "X-C": "a\tb"})),
    passes("a body in its coding",
           answer("200 OK", "Content-Encoding: gzip", "Content-Type: text/plain", body=b"\x1f\x8bno"),
           gets(200, {"Content-Encoding": "gzip", "Content-Type": "text/plain"}, b"\x1f\x8bno")),
    passes("a type with a charset", answer("200 OK", "Content-Type: text/csv; charset=latin-1", body=b"\xe9"),
           gets(200, {"Content-Type": "text/csv; charset=latin-1"}, b"\xe9")),
    passes("headers about caching", answer("200 OK", "Cache-Control: no-store", "Age: 3", "Expires: 0", body=OK_BODY),
           gets(200, {"Cache-Control": "no-store", "Age": "3", "Expires": "0"})),
    passes("headers about other origins",
           answer("200 OK", "Access-Control-Allow-Origin: *", "Content-Security-Policy: default-src 'none'",
                  body=OK_BODY),
           gets(200, {"Access-Control-Allow-Origin": "*", "Content-Security-Policy": "default-src 'none'"})),
    passes("hop-by-hop headers of the service",
           answer("200 OK", "Keep-Alive: timeout=5", "Proxy-Authenticate: Basic", "Upgrade: h2c", "TE: x",
                  "Proxy-Connection: x", body=OK_BODY),
           gets(200, {"Keep-Alive": None, "Proxy-Authenticate": None, "Upgrade": None, "TE": None,
                      "Proxy-Connection": None})),
    passes("headers that the service's Connection names",
           answer("200 OK", "Connection: X-Hop, keep-alive", "X-Hop: 1", "X-Kept: 2", body=OK_BODY),
           gets(200, {"X-Hop": None, "X-Kept": "2"})),
    passes("Date and Server of the service's own",
           answer("200 OK", "Date: Tue, 15 Nov 1994 08:12:31 GMT", "Server: own", body=OK_BODY), gets()),
    passes("an answer says what it came through", OK, gets(200, {"Via": "1.1 gatehouse"})),
    passes("an answer of HTTP/1.0 says so in Via",
           Answer(b"HTTP/1.0 200 OK\r\nVia: 1.1 a\r\nContent-Length: 3\r\n\r\nabc", close=True),
           gets(200, {"Via": re.compile("1.1 a(, |\n)1.0 gatehouse")}, b"abc")),
    passes("an error of the service's says what it came through", answer("500 Internal Server Error", body=b"no"),
           gets(500, {"Via": "1.1 gatehouse"}, b"no")),
    passes("X-Request-ID of the service's own", answer("200 OK", "X-Request-ID: of-the-service", body=OK_BODY),
           gets(200, {"X-Request-ID": re.compile("[0-9a-f]{32}")})),
    passes("Vary says that a browser would get another", answer("200 OK", body=OK_BODY), gets(200, {"Vary": "Accept"})),
    *[
        passes(f"a cookie of the gateway's is not set: {value[:26]}",
               answer("200 OK", f"Set-Cookie: {value}", "Set-Cookie: kept=1", body=OK_BODY),
               gets(200, {"Set-Cookie": "kept=1"}))
        for value in ["gatehouse-access=x; Path=/", "Gatehouse-Refresh=x", "__Host-gatehouse-access=x; Secure",
                      " gatehouse-access = x", "=gatehouse-access=x", "gatehouse-access"]
    ],
    passes("Vary of the service's own stays", answer("200 OK", "Vary: Origin, Cookie", body=OK_BODY),
           gets(200, {"Vary": re.compile("Origin, ?Cookie(, ?|\n)Accept")})),
    passes("Vary where a browser gets the same", answer("200 OK", "Vary: Origin", body=OK_BODY),
           gets(200, {"Vary": "Origin"}), "GET /files/a"),
    passes("what has not changed", answer("304 Not Modified", 'ETag: "x"', "Cache-Control: max-age=1", body=None),
           gets(304, {"ETag": '"x"', "Cache-Control": "max-age=1", "Content-Type": None}, b""),
           "GET /api/open", 'If-None-Match: "x"'),
    passes("an ETag is the service's to judge", answer("200 OK", 'ETag: "x"', body=OK_BODY),
           gets(200, {"ETag": '"x"'}), "GET /api/open", 'If-None-Match: "x"'),
    passes("a part of it",
           answer("206 Partial Content", "Content-Range: bytes 2-3/10", "Accept-Ranges: bytes", body=b"cd"),
           gets(206, {"Content-Range": "bytes 2-3/10", "Accept-Ranges": "bytes"}, b"cd"),
           "GET /api/open", "Range: bytes=2-3"),
    passes("a part that is not there", answer("416 Range Not Satisfiable", "Content-Range: bytes */10"),
           gets(416, {"Content-Range": "bytes */10"}, b""), "GET /api/open", "Range: bytes=20-30"),
]  # fmt: skip


def malformed(name: str, sends: bytes, *statuses: int, finishes: bool = False) -> Case:
    """What is no HTTP/1.1 request."""
    return Case(name, sends, gets=refused(*statuses), finishes=finishes)


MALFORMED = [
    malformed("no Host", b"GET /api/open HTTP/1.1\r\n\r\n"),
    malformed("two Hosts", ask("GET /api/open", "Host: localhost", "Host: localhost")),
    malformed("an empty Host", ask("GET /api/open", "Host:")),
    malformed("a line that is none", b"hello\r\n\r\n"),
    malformed("a request line of two words", b"GET /api/open\r\nHost: localhost\r\n\r\n"),
    malformed("a request line of four words", b"GET /api/open x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    malformed("HTTP/2.0", ask("GET /api/open", version="2.0"), 400, 505),
    malformed("a version that is none", ask("GET /api/open", version="1.1x"), 400, 505),
    malformed("a NUL in the target", ask("GET /api/open\x00")),
    malformed("a header without a colon", ask("GET /api/open", "X-Custom")),
    malformed("a header without a name", ask("GET /api/open", ": x")),
    malformed("a space before a colon", ask("GET /api/open", "X-Custom : x")),
    malformed("a space in a name", ask("GET /api/open", "X Custom: x")),
    malformed("a name that is no token", ask("GET /api/open", "X-(Custom): x")),
    malformed("a name that is not ASCII", ask("GET /api/open", b"X-Caf\xe9: x")),
    malformed("a folded header", ask("GET /api/open", "X-Custom: a", " b")),
    malformed("a folded first header", b"GET /api/open HTTP/1.1\r\n X: a\r\nHost: localhost\r\n\r\n"),
    malformed("a NUL in a value", ask("GET /api/open", "X-Custom: a\x00b")),
    malformed("a control character in a value", ask("GET /api/open", "X-Custom: a\x01b")),
    malformed("a DEL in a value", ask("GET /api/open", "X-Custom: a\x7fb")),
    malformed("a carriage return in a value", ask("GET /api/open", "X-Custom: a\rRequest-User-Id: 1")),
    malformed("a line feed alone in a value", ask("GET /api/open", "X-Custom: a\nRequest-User-Id: 1")),
    malformed("a header that is too large", ask("GET /api/open", "X-Custom: " + "x" * 70_000), 400, 431),
    malformed("too many headers", ask("GET /api/open", *(f"X-{n}: x" for n in range(300))), 400, 431),
    malformed("a head that is broken off", b"GET /api/open HTTP/1.1\r\nHost: local", finishes=True),
    malformed("nothing at all", b"", finishes=True),
    malformed("a coding in HTTP/1.0", ask("POST /api/open", "Transfer-Encoding: chunked", body=in_chunks(b"abc"),
                                          version="1.0")),
    malformed("an expectation that nobody knows", ask("POST /api/open", "Expect: 200-ok", body=b"abc"), 400, 417),
    malformed("a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 60 + b"\r\n\r\n"),
]  # fmt: skip

HOSTS = [
    Case("a host that is not ours", ask("GET /api/open", "Host: evil.example"), gets=problem(400, detail=(
        "Expected a Host that names this gateway, as its operator says in GATEWAY_ALLOWED_HOSTS."))),
    Case("a host of ours with another at its end", ask("GET /api/open", "Host: localhost.evil.example"),
         gets=problem(400)),
    Case("a host of ours in a user's place", ask("GET /api/open", "Host: localhost:80@evil.example"),
         gets=problem(400)),
    Case("a host of ours in capitals with a port", ask("GET /api/open", "Host: LOCALHOST:8001"),
         sees("GET /api/open HTTP/1.1", {"X-Forwarded-Host": re.compile("localhost:8001", re.IGNORECASE)}), gets()),
    Case("the host of IPv6", ask("GET /api/open", "Host: [::1]:8001"),
         sees("GET /api/open HTTP/1.1", {"X-Forwarded-Host": "[::1]:8001"}), gets()),
    Case("an absolute-form target's host that is not ours", ask("GET http://evil.example/api/open"),
         gets=problem(400)),
    *[
        Case(f"an absolute-form target of {scheme}", ask(f"GET {scheme}://localhost/api/open"), gets=problem(421))
        for scheme in ["https", "HTTPS", "ftp", "ws"]
    ],
    path("an absolute-form target with its scheme in capitals", "HTTP://localhost/api/open", "/api/open"),
    Case("an absolute-form target of https, of a proxy that ends TLS",
         ask("GET https://localhost/api/open", "X-Forwarded-Proto: https"),
         sees("GET /api/open HTTP/1.1", {"X-Forwarded-Proto": "https"}), gets(), trusted=True),
    Case("an absolute-form target of http, of a proxy that ends TLS",
         ask("GET http://localhost/api/open", "X-Forwarded-Proto: https"), gets=problem(421), trusted=True),
    Case("an absolute-form target of https, of a stranger who says to end TLS",
         ask("GET https://localhost/api/open", "X-Forwarded-Proto: https"), gets=problem(421)),
    Case("an absolute-form target without a Host", b"GET http://localhost/api/open HTTP/1.1\r\n\r\n",
         gets=problem(400)),
    Case("an absolute-form target of HTTP/1.0 without a Host", b"GET http://localhost/api/open HTTP/1.0\r\n\r\n",
         sees("GET /api/open HTTP/1.1"), gets()),
    Case("an absolute-form target's host counts, not Host's",
         ask("GET http://localhost/api/open", "Host: evil.example"),
         sees("GET /api/open HTTP/1.1"), gets()),
]  # fmt: skip

CONNECTIONS = [
    Case("HTTP/1.0", ask("GET /api/open", version="1.0"),
         sees("GET /api/open HTTP/1.1", {"Via": "1.0 gatehouse"}), gets()),
    Case("HTTP/1.0 that would keep the connection", ask("GET /api/open", "Connection: keep-alive", version="1.0"),
         sees("GET /api/open HTTP/1.1"), gets()),
    Case("HTTP/1.0 without a Host", b"GET /api/open HTTP/1.0\r\n\r\n", gets=problem(400)),
    Case("HTTP/1.0 with a body", ask("POST /api/open", body=b"abc", version="1.0"),
         sees("POST /api/open HTTP/1.1", body=b"abc"), gets()),
    Case("HTTP/1.0 gets no chunks", ask("GET /api/open", version="1.0"), sees("GET /api/open HTTP/1.1"),
         gets(200, {"Transfer-Encoding": None}, b"abcde", framing="close"),
         answers=[Answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(b"abc", b"de"))]),
    Case("a client that closes", ask("GET /api/open", "Connection: close"), sees("GET /api/open HTTP/1.1"),
         gets(200, {"Connection": "close"})),
    Case("a client that closes, in capitals and with more",
         ask("GET /api/open", "Connection: X-Hop, CLOSE", "X-Hop: 1"),
         sees("GET /api/open HTTP/1.1", {"X-Hop": None}), gets()),
    Case("an empty line before a request", b"\r\n" + ask("GET /api/open"), sees("GET /api/open HTTP/1.1"), gets()),
    Case("two requests at once are answered in order", ask("GET /api/items/1") + ask("GET /api/items/2"),
         [sees("GET /api/items/1 HTTP/1.1"), sees("GET /api/items/2 HTTP/1.1")],
         [gets(body=b"first"), gets(201, body=b"second")],
         answers=[answer("200 OK", body=b"first"), answer("201 Created", body=b"second")]),
    Case("two requests at once, the first with a body",
         ask("POST /api/open", body=b"GET / HTTP/1.1\r\n\r\n") + ask("GET /api/open"),
         [sees("POST /api/open HTTP/1.1", body=b"GET / HTTP/1.1\r\n\r\n"), sees("GET /api/open HTTP/1.1")],
         [gets(body=b"first"), gets(body=b"second")],
         answers=[answer("200 OK", body=b"first"), answer("200 OK", body=b"second")]),
    Case("two requests at once, the first in chunks",
         chunked("POST /api/open", in_chunks(b"abc")) + ask("GET /api/open"),
         [sees("POST /api/open HTTP/1.1", body=b"abc"), sees("GET /api/open HTTP/1.1")], [gets(), gets()]),
    Case("two requests at once, the first refused", ask("GET /api/private") + ask("GET /api/open"),
         [sees("GET /api/open HTTP/1.1")], [problem(401), gets()]),
    Case("two requests at once, one user's and nobody's", ask("GET /api/open", signed("user")) + ask("GET /api/open"),
         [sees("GET /api/open HTTP/1.1", passport=USER), sees("GET /api/open HTTP/1.1")], [gets(), gets()]),
    Case("a refused body is not taken for the next request",
         ask("POST /api/private", body=ask("GET /api/open")), gets=problem(401)),
]  # fmt: skip

CASES = [
    *PATHS, *QUERIES, *METHODS, *HEADERS_IN, *SPOOFING, *TRUSTED, *TOKENS, *ACCESS, *LIMITS, *BODIES, *ANSWERS,
    *MALFORMED, *HOSTS, *CONNECTIONS,
]  # fmt: skip
