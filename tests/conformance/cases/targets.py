"""Paths, queries and methods."""

from tests.conformance.cases.case import (
    Case,
    ask,
    bad_path,
    gets,
    path,
    problem,
    rejected,
    sees,
)


def no_path(name: str, sent: str) -> Case:
    """A path without a route."""
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
    path("an encoded semicolon is not a path parameter", "/api/items/special%3Bx=1", "/api/items/special%3Bx=1"),
    *[
        Case(f"a role is required at {spelled}", ask(f"GET {spelled}"), gets=problem(401))
        for spelled in ["/api/items/locked+up", "/api/items/locked%2Bup", "/api/items/locked+up;x=1",
                        "/api/items/%6cocked%2bup;x", "/api;v/items;y/locked+up", "/api/data/locked;x/1",
                        "/api/data/%6Cocked/1", "/api/v1/data;y/locked;/1"]
    ],
    path("a path that only resembles one with a role", "/api/items/locked%2B%2Bup", "/api/items/locked%2B%2Bup"),
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
    bad_path("invalid UTF-8", "/api/items/%ff"),
    bad_path("an overlong slash", "/api/items/%c0%af"),
    bad_path("an encoded surrogate", "/api/items/%ed%a0%80"),
    bad_path("a percent sign without digits", "/api/items/%zz"),
    bad_path("a percent sign at the end", "/api/items/100%"),
    bad_path("an absolute-form target with a dot-dot segment", "http://localhost/api/items/../private"),
    no_path("a path without a route", "/api/nothing"),
    no_path("a path of the service's own", "/internal/credentials"),
    no_path("an empty parameter", "/api/items/"),
    moved("a trailing slash", "GET /api/open/?a=%20b", "/api/open?a=%20b"),
    moved("a missing slash at the end", "GET /api/slashed/7?a=b", "/api/slashed/7/?a=b"),
    moved("a missing slash, of the current version", "GET /api/v1/slashed/7", "/api/v1/slashed/7/"),
    moved("a missing slash, of a body that is not read", "POST /api/slashed/7", "/api/slashed/7/", body=b"x"),
    moved("a missing slash, with a method that is not routed there", "DELETE /api/slashed/7", "/api/slashed/7/"),
    moved("a missing slash, without a token", "GET /api/slashed/locked", "/api/slashed/locked/"),
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
    Case("the rest of a path without its slash, for a browser", ask("GET /files?a=b", "Accept: text/html"),
         gets=gets(308, {"Location": "/files/?a=b", "Cache-Control": "no-store"}, None)),
    moved("the rest of a path without its slash, of the current version", "GET /api/v1/shelf", "/api/v1/shelf/"),
    no_path("other letters' case", "/API/open"),
    no_path("another version", "/api/v2/open"),
    no_path("the version twice", "/api/v1/v1/open"),
    Case(
        "a problem's instance is a URI reference", ask("GET /api/n%C3%A9ant"),
        gets=problem(404, instance="/api/n%C3%A9ant"),
    ),
    Case("a raw byte that is not ASCII", ask("GET /api/items/\xe9"), gets=rejected(400)),
    Case("a fragment", ask("GET /api/open#x"), gets=rejected(400)),
    Case("a fragment after a query", ask("GET /api/open?a=1#x"), gets=rejected(400)),
    Case("a path that is too long", ask("GET /api/items/" + "x" * 9000), gets=rejected(400, 414)),
    Case("a target without a slash", ask("GET api/open"), gets=rejected(400)),
    Case("an asterisk for another method", ask("GET *"), gets=rejected(400)),
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
    query("broken percent-encoding beside valid", "?q=%&r=%20"),
    query("slashes, question marks and dots", "?next=/a/../b?c"),
    query("characters that a URI has no place for", '?q="<>[]{}|\\^`'),
    query("empty names and values", "?=&&=&a"),
    query("a semicolon", "?a=1;b=2"),
    query("an encoded NUL and line break", "?q=%00%0d%0a"),
    query("one long value", "?q=" + "x" * 3500),
    query("nothing after the question mark", "?", ""),
    Case("a query with a raw byte that is not ASCII", ask("GET /api/open?q=\xe9"), gets=rejected(400)),
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
    Case("HEAD of a path without a route", ask("HEAD /api/nothing"), gets=problem(404)),
    Case("OPTIONS is answered by the gateway", ask("OPTIONS /api/items/5"), gets=gets(204, ALLOW, b"")),
    Case("OPTIONS of a route for two roles is answered by the gateway", ask("OPTIONS /api/staff"),
         gets=gets(204, {"Allow": "GET, HEAD, OPTIONS"}, b"")),
    Case("OPTIONS of several routes at one path", ask("OPTIONS /api/mixed"),
         gets=gets(204, {"Allow": "GET, HEAD, OPTIONS, POST"}, b"")),
    Case("OPTIONS of a route that lists it", ask("OPTIONS /api/asks"), sees("OPTIONS /api/asks HTTP/1.1"), gets()),
    Case("OPTIONS of a path without a route", ask("OPTIONS /api/nothing"), gets=problem(404)),
    Case("OPTIONS of an ambiguous path", ask("OPTIONS /api/items/%2e%2e"), gets=problem(400)),
    Case("OPTIONS of the server as a whole", ask("OPTIONS *"), gets=gets(204, {"Content-Type": None}, b"")),
    Case("OPTIONS of the server as a whole, of a host that is not allowed", ask("OPTIONS *", "Host: evil.example"),
         gets=problem(400)),
    Case("OPTIONS of a route, of a host that is not allowed", ask("OPTIONS /api/open", "Host: evil.example"),
         gets=problem(400)),
    Case("a method that the route does not have, of a host that is not allowed",
         ask("PATCH /api/items/5", "Host: evil.example"), gets=problem(400)),
    Case("a path without a route, of a host that is not allowed",
         ask("GET /api/nothing", "Host: evil.example"), gets=problem(400)),
    Case("a method that the route does not have", ask("PATCH /api/items/5"), gets=problem(405, ALLOW)),
    Case("a method that only a less specific route has", ask("DELETE /api/items/special"),
         gets=problem(405, {"Allow": "GET, HEAD, OPTIONS"})),
    Case("a wrong method is rejected before a missing token", ask("PUT /api/private"),
         gets=problem(405, {"Allow": "GET, HEAD, OPTIONS, POST"})),
    Case("an unknown method", ask("BREW /api/items/5"), gets=problem(501)),
    Case("TRACE", ask("TRACE /api/items/5"), gets=problem(405, ALLOW)),
    Case("PROPFIND", ask("PROPFIND /api/items/5"), gets=problem(501)),
    Case("a method in small letters", ask("get /api/open"), gets=rejected(400, 501)),
    Case("a method with invalid characters", ask("G@T /api/open"), gets=rejected(400, 405)),
    Case("CONNECT to a route", ask("CONNECT /api/open"), gets=rejected(400, 405)),
    Case("CONNECT to elsewhere", ask("CONNECT example.org:443"), gets=rejected(400, 404, 405)),
]  # fmt: skip
