"""Responses of the service, and what the client receives."""

import re

from tests.conformance.cases.case import (
    OK,
    OK_BODY,
    Case,
    Gets,
    answer,
    ask,
    gets,
    in_chunks,
    problem,
    sees,
)
from tests.conformance.upstream import Answer


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
