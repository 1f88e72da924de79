"""Malformed requests, and several requests on one connection."""

from tests.conformance.cases.case import (
    USER,
    Case,
    answer,
    ask,
    chunked,
    gets,
    in_chunks,
    problem,
    rejected,
    sees,
    signed,
)
from tests.conformance.upstream import Answer


def malformed(name: str, sends: bytes, *statuses: int, finishes: bool = False) -> Case:
    """A request that is not valid HTTP/1.1."""
    return Case(name, sends, gets=rejected(*statuses), finishes=finishes)


MALFORMED = [
    malformed("no Host", b"GET /api/open HTTP/1.1\r\n\r\n"),
    malformed("two Hosts", ask("GET /api/open", "Host: localhost", "Host: localhost")),
    malformed("an empty Host", ask("GET /api/open", "Host:")),
    malformed("a line that is not a request line", b"hello\r\n\r\n"),
    malformed("a request line of two words", b"GET /api/open\r\nHost: localhost\r\n\r\n"),
    malformed("a request line of four words", b"GET /api/open x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    malformed("HTTP/2.0", ask("GET /api/open", version="2.0"), 400, 505),
    malformed("a version that is not a number", ask("GET /api/open", version="1.1x"), 400, 505),
    malformed("a NUL in the target", ask("GET /api/open\x00")),
    malformed("a header without a colon", ask("GET /api/open", "X-Custom")),
    malformed("a header without a name", ask("GET /api/open", ": x")),
    malformed("a space before a colon", ask("GET /api/open", "X-Custom : x")),
    malformed("a space in a name", ask("GET /api/open", "X Custom: x")),
    malformed("a name with invalid characters", ask("GET /api/open", "X-(Custom): x")),
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
    malformed("truncated headers", b"GET /api/open HTTP/1.1\r\nHost: local", finishes=True),
    malformed("nothing at all", b"", finishes=True),
    malformed("a coding in HTTP/1.0", ask("POST /api/open", "Transfer-Encoding: chunked", body=in_chunks(b"abc"),
                                          version="1.0")),
    malformed("an unknown expectation", ask("POST /api/open", "Expect: 200-ok", body=b"abc"), 400, 417),
    malformed("a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 60 + b"\r\n\r\n"),
]  # fmt: skip


CONNECTIONS = [
    Case("HTTP/1.0", ask("GET /api/open", version="1.0"),
         sees("GET /api/open HTTP/1.1", {"Via": "1.0 gatehouse"}), gets()),
    Case("HTTP/1.0 with keep-alive", ask("GET /api/open", "Connection: keep-alive", version="1.0"),
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
    Case("two requests at once, the first rejected", ask("GET /api/private") + ask("GET /api/open"),
         [sees("GET /api/open HTTP/1.1")], [problem(401), gets()]),
    Case("two requests at once, the first with a token and the second without",
         ask("GET /api/open", signed("user")) + ask("GET /api/open"),
         [sees("GET /api/open HTTP/1.1", passport=USER), sees("GET /api/open HTTP/1.1")], [gets(), gets()]),
    Case("a rejected body is not read as the next request",
         ask("POST /api/private", body=ask("GET /api/open")), gets=problem(401)),
]  # fmt: skip
