"""Request headers: forwarded, dropped or replaced; of clients and of a trusted proxy; and the host."""

import re
from collections.abc import Sequence

from tests.conformance.cases.case import (
    USER,
    Case,
    Expectations,
    ask,
    gets,
    path,
    problem,
    sees,
    signed,
)


def header(name: str, *lines: str | bytes, keeps: Expectations | None = None, drops: Sequence[str] = ()) -> Case:
    """Headers that a client sends to a public route, and what the service receives."""
    expected = {**(keeps or {}), **dict.fromkeys(drops)}
    return Case(name, ask("GET /api/open", *lines), sees("GET /api/open HTTP/1.1", expected), gets())


TRACE = "0af7651916cd43dd8448eb211c80319c"
NO_TRACES = {
    "no version ff": [f"ff-{TRACE}-b7ad6b7169203331-01"],
    "no more than four parts": [f"00-{TRACE}-b7ad6b7169203331-01-more"],
    "no capitals": [f"00-{TRACE.upper()}-b7ad6b7169203331-01"],
    "no trace id of zeros": [f"00-{'0' * 32}-b7ad6b7169203331-01"],
    "no span id of zeros": [f"00-{TRACE}-{'0' * 16}-01"],
    "no short ids": [f"00-{TRACE[1:]}-b7ad6b7169203331-01"],
    "no two": [f"00-{TRACE}-b7ad6b7169203331-01"] * 2,
}


def span(trace_id: str | None = None, flags: str = "01") -> re.Pattern[str]:
    """A span of the gateway, in this trace or in one that it has begun."""
    trace = trace_id or f"(?!{TRACE})(?!0{{32}})[0-9a-f]{{32}}"
    return re.compile(f"00-{trace}-(?!b7ad6b7169203331)(?!0{{16}})[0-9a-f]{{16}}-{flags}")


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
    header("no header is added that the client has not sent",
           drops=["Accept", "Accept-Encoding", "User-Agent", "Content-Type", "Content-Length", "Transfer-Encoding",
                  "Cookie"], keeps={"Via": "1.1 gatehouse"}),
    header("Via goes on, with the gateway at its end", "Via: 1.0 fred, HTTPS/2 a.example:1 (x)", "Via: 1.1 b",
           keeps={"Via": re.compile(r"1\.0 fred, HTTPS/2 a\.example:1 \(x\), ?1\.1 b, ?1\.1 gatehouse")}),
    header("User-Agent and Accept", "User-Agent: x/1 (y)", "Accept: text/plain;q=0.5, */*",
           keeps={"User-Agent": "x/1 (y)", "Accept": "text/plain;q=0.5, */*"}),
    header("Origin, Referer and fetch metadata", "Origin: http://a.example", "Referer: http://a.example/x",
           "Sec-Fetch-Site: cross-site",
           keeps={"Origin": "http://a.example", "Referer": "http://a.example/x", "Sec-Fetch-Site": "cross-site"}),
    header("no trace begins one", keeps={"traceparent": span(flags="01"), "tracestate": None}),
    header("a trace goes on, by way of a span of the gateway", f"traceparent: 00-{TRACE}-b7ad6b7169203331-01",
           "tracestate: a=1, b@c=2", "tracestate: d=3",
           keeps={"traceparent": span(TRACE, "01"), "tracestate": "a=1,b@c=2,d=3"}),
    header("a trace that is not recorded stays so", f"traceparent: 00-{TRACE}-b7ad6b7169203331-00",
           keeps={"traceparent": span(TRACE, "00")}),
    header("a trace of a later version goes on as 00", f"traceparent: cc-{TRACE}-b7ad6b7169203331-ff-more",
           keeps={"traceparent": span(TRACE, "01")}),
    *[
        header(f"another trace is begun: {name}", *(f"traceparent: {value}" for value in values), "tracestate: a=1",
               keeps={"traceparent": span(flags="01"), "tracestate": None})
        for name, values in NO_TRACES.items()
    ],
    header("a malformed tracestate is dropped, its trace goes on", f"traceparent: 00-{TRACE}-b7ad6b7169203331-01",
           "tracestate: a=1,A=2", keeps={"traceparent": span(TRACE, "01"), "tracestate": None}),
    header("conditions and ranges", 'If-None-Match: "a", W/"b"', "If-Modified-Since: Sat, 01 Jan 2022 00:00:00 GMT",
           "Range: bytes=0-4", 'If-Range: "a"',
           keeps={"If-None-Match": '"a", W/"b"', "If-Modified-Since": "Sat, 01 Jan 2022 00:00:00 GMT",
                  "Range": "bytes=0-4", "If-Range": '"a"'}),
    header("Host is the service's", "Host: localhost:8001",
           keeps={"Host": re.compile(r"127\.0\.0\.1:[0-9]+"), "X-Forwarded-Host": "localhost:8001"}),
    header("hop-by-hop headers", "Keep-Alive: timeout=5", "TE: trailers", "Trailer: X-T",
           "Proxy-Authorization: Basic eDp5", "Proxy-Connection: keep-alive", "Proxy-Authenticate: Basic",
           drops=["Keep-Alive", "TE", "Trailer", "Proxy-Authorization", "Proxy-Connection", "Proxy-Authenticate"]),
    header("an upgrade that is not supported",
           "Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__",
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
    header("X-Envoy-Expected-Rq-Timeout-Ms", "X-Envoy-Expected-Rq-Timeout-Ms: 1",
           keeps={"X-Envoy-Expected-Rq-Timeout-Ms": "10000"}),
    Case("the path as the client asked for it", ask("GET /api/v1/appended/%41?a"),
         sees("GET /api/appended/A/?a HTTP/1.1", {"X-Forwarded-Path": "/api/v1/appended/%41"}), gets()),
    Case("the client's Host, for a service that keeps it", ask("GET /api/kept", "Host: localhost:8001"),
         sees("GET /api/kept HTTP/1.1", {"Host": "localhost:8001", "X-Forwarded-Host": "localhost:8001"}), gets()),
    Case("the client's Host, with a body, for a service that keeps it", ask("POST /api/kept", body=b"abc"),
         sees("POST /api/kept HTTP/1.1", {"Host": "localhost"}, body=b"abc"), gets()),
    Case("the target's host, for a service that keeps it", ask("GET http://127.0.0.1:81/api/kept", "Host: localhost"),
         sees("GET /api/kept HTTP/1.1", {"Host": "127.0.0.1:81", "X-Forwarded-Host": "127.0.0.1:81"}), gets()),
    Case("a host that is not allowed, for a service that keeps it", ask("GET /api/kept", "Host: evil.example"),
         gets=problem(400)),
    Case("a forged host, for a service that keeps it", ask("GET /api/kept", "X-Forwarded-Host: evil.example"),
         sees("GET /api/kept HTTP/1.1", {"Host": "localhost"}), gets()),
    header("X-Forwarded-Host", "X-Forwarded-Host: evil.example", keeps={"X-Forwarded-Host": "localhost"}),
    header("X-Forwarded-Proto", "X-Forwarded-Proto: https", keeps={"X-Forwarded-Proto": "http"}),
    header("other X-Forwarded headers", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /x", "X-Forwarded: for=6.6.6.6",
           "X-Forwarded-User: admin",
           drops=["X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded", "X-Forwarded-User"]),
    header("X-Real-IP", "X-Real-IP: 6.6.6.6", drops=["X-Real-IP"]),
    header("baggage", "baggage: tenant=1", drops=["baggage"]),
    header("X-Request-ID", "X-Request-ID: chosen-by-the-client", keeps={"X-Request-ID": re.compile("[0-9a-f]{32}")}),
    header("a Basic Authorization", "Authorization: Basic YWRtaW46YQ==", drops=["Authorization"]),
    header("an Authorization without a scheme", "Authorization: ", drops=["Authorization"]),
    Case("a user who claims to be another", ask("GET /api/private", signed("user"), "Request-User-Id: 1"),
         sees("GET /api/private HTTP/1.1", passport=USER), gets()),
    Case("Connection that names authorization", ask("GET /api/private", signed("user"), "Connection: authorization"),
         sees("GET /api/private HTTP/1.1", passport=USER), gets()),
    Case("Connection that names request-user-id",
         ask("GET /api/private", signed("user"), "Connection: Request-User-Id, Authorization, Host, Content-Length"),
         sees("GET /api/private HTTP/1.1", passport=USER), gets()),
    Case("Connection that names headers of the gateway",
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
    proxied("address of the client", "X-Forwarded-For: 203.0.113.9", keeps={"X-Forwarded-For": "203.0.113.9"}),
    proxied("client is the last untrusted address", "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 127.0.0.5",
            keeps={"X-Forwarded-For": "203.0.113.9"}),
    proxied("client in two headers", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.9",
            keeps={"X-Forwarded-For": "203.0.113.9"}),
    proxied("client with a port", "X-Forwarded-For: 203.0.113.9:1234", keeps={"X-Forwarded-For": "203.0.113.9"}),
    proxied("client of IPv6", "X-Forwarded-For: 2001:DB8::1", keeps={"X-Forwarded-For": "2001:db8::1"}),
    proxied("client that is not an address",
            "X-Forwarded-For: 6.6.6.6, unknown", keeps={"X-Forwarded-For": "127.0.0.1"}),
    proxied("scheme and host", "X-Forwarded-Proto: https", "X-Forwarded-Host: 127.0.0.1:444",
            keeps={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "127.0.0.1:444"}),
    proxied("scheme that is unknown", "X-Forwarded-Proto: gopher", keeps={"X-Forwarded-Proto": "http"}),
    proxied("other X-Forwarded headers", "X-Forwarded-Prefix: /x", keeps={"X-Forwarded-Prefix": "/x"}),
    proxied("request id", "X-Request-ID: abc.DEF-123_4", keeps={"X-Request-ID": "abc.DEF-123_4"}),
    proxied("baggage", "baggage: tenant=1", keeps={"baggage": "tenant=1"}),
    proxied("trace goes on", f"traceparent: 00-{TRACE}-b7ad6b7169203331-01", "X-Request-ID: abc.DEF-123_4",
            keeps={"traceparent": span(TRACE, "01")}),
    proxied("request id is no trace id", f"X-Request-ID: {TRACE}", keeps={"traceparent": span()}),
    proxied("request id that is not valid",
            "X-Request-ID: not an id", keeps={"X-Request-ID": re.compile("[0-9a-f]{32}")}),
    proxied("Forwarded and X-Real-IP are ignored", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6",
            keeps={"Forwarded": None, "X-Real-IP": None, "X-Forwarded-For": "127.0.0.1"}),
    proxied("request-user-id is ignored", "Request-User-Id: 1", keeps={"Request-User-Id": None}),
    Case("a trusted proxy's host, for a service that keeps it", ask("GET /api/kept", "X-Forwarded-Host: 127.0.0.1:444"),
         sees("GET /api/kept HTTP/1.1", {"Host": "127.0.0.1:444", "X-Forwarded-Host": "127.0.0.1:444"}), gets(),
         trusted=True),
    proxied("the path", "X-Forwarded-Path: /evil", keeps={"X-Forwarded-Path": "/api/open"}),
    Case("a trusted proxy's host that is not allowed", ask("GET /api/open", "X-Forwarded-Host: evil.example"),
         gets=problem(400), trusted=True),
    Case("a rate limit counts each client of a trusted proxy alone",
         ask("GET /api/forwarded", "X-Forwarded-For: 203.0.113.2"), sees("GET /api/forwarded HTTP/1.1", {
             "X-Forwarded-For": "203.0.113.2"}), gets(),
         before=[ask("GET /api/forwarded", "X-Forwarded-For: 203.0.113.1")], trusted=True),
    Case("a rate limit ignores the X-Forwarded-For of other clients",
         ask("GET /api/hearsay", "X-Forwarded-For: 203.0.113.2"), gets=problem(429),
         before=[ask("GET /api/hearsay", "X-Forwarded-For: 203.0.113.1")]),
]  # fmt: skip


HOSTS = [
    Case("a host that is not allowed", ask("GET /api/open", "Host: evil.example"), gets=problem(400, detail=(
        "This host is not served here. The operator lists the served ones in GATEWAY_ALLOWED_HOSTS."))),
    Case("an allowed host with another domain at its end", ask("GET /api/open", "Host: localhost.evil.example"),
         gets=problem(400)),
    Case("an allowed host as the user of a URL", ask("GET /api/open", "Host: localhost:80@evil.example"),
         gets=problem(400)),
    Case("an allowed host in capitals with a port", ask("GET /api/open", "Host: LOCALHOST:8001"),
         sees("GET /api/open HTTP/1.1", {"X-Forwarded-Host": re.compile("localhost:8001", re.IGNORECASE)}), gets()),
    Case("the host of IPv6", ask("GET /api/open", "Host: [::1]:8001"),
         sees("GET /api/open HTTP/1.1", {"X-Forwarded-Host": "[::1]:8001"}), gets()),
    Case("an absolute-form target's host that is not allowed", ask("GET http://evil.example/api/open"),
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
    Case("an absolute-form target of https, of a client that claims to end TLS",
         ask("GET https://localhost/api/open", "X-Forwarded-Proto: https"), gets=problem(421)),
    Case("an absolute-form target without a Host", b"GET http://localhost/api/open HTTP/1.1\r\n\r\n",
         gets=problem(400)),
    Case("an absolute-form target of HTTP/1.0 without a Host", b"GET http://localhost/api/open HTTP/1.0\r\n\r\n",
         sees("GET /api/open HTTP/1.1"), gets()),
    Case("an absolute-form target's host counts, not Host's",
         ask("GET http://localhost/api/open", "Host: evil.example"),
         sees("GET /api/open HTTP/1.1"), gets()),
]  # fmt: skip
