"""`compress`: which responses are compressed, and how their headers change. test_compression.py decodes them."""

import re
from typing import Any

from tests.conformance.cases.case import Case, Expectations, answer, ask, gets, problem, sees
from tests.conformance.upstream import Answer

ROUTES: list[dict[str, Any]] = [
    {"path": "/api/compressed", "methods": ["GET", "POST", "PATCH"], "allow": "public", "compress": True},
]
LINE = "GET /api/compressed HTTP/1.1"
GZIP = "Accept-Encoding: gzip"
JSON = "Content-Type: application/json"
LONG = b"[" + b'{"item": "book"}, ' * 200 + b"{}]"
SHORT = LONG[:1023]
VARIES = "Accept, Accept-Encoding"


def case(name: str, response: Answer, headers: Expectations, *sent: str, body: bytes | None = None) -> Case:
    """A response to a client that takes gzip; of a compressed one the length differs, so `body` is not given."""
    status = int(response.raw.split(b" ")[1])
    return Case(name, ask("GET /api/compressed", *(sent or [GZIP])), sees(LINE), gets(status, headers, body),
                answers=[response])  # fmt: skip


def compressed(name: str, *headers: str, sent: str = GZIP, expected: Expectations | None = None) -> Case:
    return case(name, answer("200 OK", *(headers or [JSON]), body=LONG),
                {"Content-Encoding": "gzip", "Vary": VARIES, "Content-Length": re.compile("[0-9]{2,3}")}
                | dict(expected or {}), sent)  # fmt: skip


def unchanged(name: str, *headers: str, sent: str = GZIP, body: bytes = LONG, status: str = "200 OK") -> Case:
    """A response that no client gets compressed."""
    return case(name, answer(status, *headers, body=body), {"Vary": "Accept", "ETag": '"1"'}, sent, body=body)


def not_taken(name: str, sent: str) -> Case:
    """A client that takes no coding: another one would get another response."""
    return case(name, answer("200 OK", JSON, 'ETag: "1"', body=LONG),
                {"Vary": VARIES, "ETag": '"1"', "Content-Encoding": None}, sent, body=LONG)  # fmt: skip


TAG = 'ETag: "1"'
COMPRESSION = [
    compressed("a compressed response"),
    compressed("a compressed problem of the service", "Content-Type: application/problem+json; charset=utf-8"),
    compressed("an SVG image", "Content-Type: image/svg+xml"),
    compressed("a strong ETag becomes weak", JSON, TAG, expected={"ETag": 'W/"1"'}),
    compressed("a weak ETag stays", JSON, 'ETag: W/"1"', expected={"ETag": 'W/"1"'}),
    compressed("ranges are not offered", JSON, "Accept-Ranges: bytes", expected={"Accept-Ranges": None}),
    compressed("Vary of the service stays", JSON, "Vary: Cookie", expected={"Vary": "Cookie, Accept, Accept-Encoding"}),
    compressed("a coding by its weight", sent="Accept-Encoding: br;q=0.2, gzip;q=0.8, zstd;q=0, identity;q=0.5"),
    compressed("the old name of gzip", sent="Accept-Encoding: X-GZIP"),
    not_taken("no Accept-Encoding", "Accept: */*"),
    not_taken("an empty Accept-Encoding", "Accept-Encoding:"),
    not_taken("a coding that is not known", "Accept-Encoding: compress"),
    not_taken("gzip with weight 0", "Accept-Encoding: gzip;q=0, *;q=0"),
    not_taken("identity preferred", "Accept-Encoding: gzip;q=0.5, identity"),
    unchanged("a small response", JSON, TAG, body=SHORT),
    unchanged("an image", "Content-Type: image/png", TAG),
    unchanged("a type that is not known", "Content-Type: application/vnd.example", TAG),
    unchanged("no type", TAG),
    unchanged("an event stream", "Content-Type: text/event-stream", TAG),
    unchanged("a response that is encoded already", JSON, TAG, "Content-Encoding: br"),
    unchanged("no-transform", JSON, TAG, "Cache-Control: private, No-Transform"),
    unchanged("a digest of the content", JSON, TAG, "Content-Digest: sha-256=:AAAA:"),
    unchanged("a range", JSON, TAG, "Content-Range: bytes 0-3602/9999", status="206 Partial Content"),
    Case("HEAD", ask("HEAD /api/compressed", GZIP), sees("HEAD /api/compressed HTTP/1.1"),
         gets(200, {"Vary": VARIES, "ETag": '"1"', "Content-Encoding": None, "Content-Length": str(len(LONG))}, b""),
         answers=[Answer(answer("200 OK", JSON, TAG, body=LONG).raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")]),
    case("no content", answer("204 No Content", JSON, body=None), {"Content-Encoding": None, "Vary": "Accept"},
         body=b""),
    Case("If-None-Match gets the strong tag too", ask("GET /api/compressed", GZIP, 'If-None-Match: W/"0", W/"1"'),
         sees(LINE, {"If-None-Match": 'W/"0", W/"1", "0", "1"'}), gets(304, {"ETag": 'W/"1"', "Vary": VARIES}, b""),
         answers=[answer("304 Not Modified", TAG, body=None)]),
    Case("a strong If-None-Match", ask("GET /api/compressed", 'If-None-Match: "1"'),
         sees(LINE, {"If-None-Match": '"1"'}), gets(304, {"ETag": '"1"', "Vary": VARIES}, b""),
         answers=[answer("304 Not Modified", TAG, body=None)]),
    Case("If-Match gets the strong tag too", ask("PATCH /api/compressed", 'If-Match: W/"1"', body=b"{}"),
         sees("PATCH /api/compressed HTTP/1.1", {"If-Match": 'W/"1", "1"'}, body=b"{}"), gets()),
    Case("a problem of the gateway is not compressed", ask("DELETE /api/compressed", GZIP),
         gets=problem(405, {"Content-Encoding": None})),
]  # fmt: skip
