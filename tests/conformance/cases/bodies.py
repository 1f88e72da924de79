"""Request bodies: their limits and their framing."""

from collections.abc import Sequence

from tests.conformance.cases.case import (
    Case,
    answer,
    ask,
    chunked,
    gets,
    in_chunks,
    problem,
    rejected,
    sees,
)

MIB = 1024 * 1024
BODY_LIMITS = [
    Case("a body of exactly the limit", ask("POST /api/small", body=b"x" * 10),
         sees("POST /api/small HTTP/1.1", body=b"x" * 10), gets()),
    Case("a body of exactly the limit, chunked", chunked("POST /api/small", in_chunks(b"x" * 6, b"y" * 4)),
         sees("POST /api/small HTTP/1.1", body=b"xxxxxxyyyy"), gets()),
    Case("a body of one byte more than the limit", ask("POST /api/small", body=b"x" * 11), gets=problem(413)),
    Case("a body of one byte more than the limit, chunked", chunked("POST /api/small", in_chunks(b"x" * 11)),
         gets=problem(413), may_begin=True),
    Case("a body over the limit in many chunks", chunked("POST /api/small", in_chunks(*[b"xyz"] * 50)),
         gets=problem(413), may_begin=True),
    Case("no body on a route without bodies", ask("POST /api/bodyless"), sees("POST /api/bodyless HTTP/1.1"), gets()),
    Case("an empty body on a route without bodies", ask("POST /api/bodyless", body=b""),
         sees("POST /api/bodyless HTTP/1.1"), gets()),
    Case("an empty chunked body on a route without bodies", chunked("POST /api/bodyless", in_chunks()),
         sees("POST /api/bodyless HTTP/1.1"), gets()),
    Case("a body on a route without bodies", ask("POST /api/bodyless", body=b"x"), gets=problem(413)),
    Case("a chunked body on a route without bodies", chunked("POST /api/bodyless", in_chunks(b"x")), gets=problem(413),
         may_begin=True),
    Case("a length over the limit is rejected before the body comes",
         ask("POST /api/open", f"Content-Length: {MIB + 1}", "Connection: close"), gets=problem(413)),
    Case("a length of very many digits", ask("POST /api/open", "Content-Length: " + "9" * 30, "Connection: close"),
         gets=rejected(400, 413)),
    Case("a body of exactly the default limit", ask("POST /api/open", body=b"0123456789abcdef" * 65536),
         sees("POST /api/open HTTP/1.1", body=b"0123456789abcdef" * 65536), gets()),
    Case("a chunked body of exactly the default limit",
         chunked("POST /api/open", in_chunks(*[b"0123456789abcdef" * 1024] * 64)),
         sees("POST /api/open HTTP/1.1", body=b"0123456789abcdef" * 65536), gets()),
    Case("a missing token is reported before a body that is too large",
         ask("POST /api/private", f"Content-Length: {MIB + 1}", "Connection: close"), gets=problem(401)),
]  # fmt: skip


def bad_body(name: str, *lines: str, body: bytes = b"", statuses: Sequence[int] = (400,)) -> Case:
    """A framing that leaves the end of the body in doubt."""
    return Case(name, ask("POST /api/open", *lines, body=body), gets=rejected(*statuses))


def bad_chunks(name: str, framed: bytes, *, finishes: bool = False) -> Case:
    """A chunked body that is malformed."""
    return Case(
        name, chunked("POST /api/open", framed), gets=rejected(400), may_begin=True, finishes=finishes,
    )  # fmt: skip


EXPECT = "Expect: 100-continue"
BODIES = [
    Case("a body of a known length", ask("POST /api/open", body=b"\x00\xff\r\n\r\n" * 10),
         sees("POST /api/open HTTP/1.1", {"Transfer-Encoding": None}, body=b"\x00\xff\r\n\r\n" * 10), gets()),
    Case("a POST without a body is forwarded with length 0", ask("POST /api/open"),
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
    Case("a body that is too large is rejected at Expect: 100-continue",
         ask("POST /api/small", EXPECT, "Content-Length: 11"), gets=problem(413), body=b"x" * 11),
    Case("a body without a token is rejected at Expect: 100-continue",
         ask("POST /api/private", EXPECT, "Content-Length: 3"),
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
    bad_body("an unknown coding", "Transfer-Encoding: rot13", body=b"abc", statuses=(400, 501)),
    bad_body("a coding that only looks like chunked", "Transfer-Encoding: xchunked", body=in_chunks(b"abc"),
             statuses=(400, 501)),
    bad_body("the coding identity", "Transfer-Encoding: identity", body=b"abc", statuses=(400, 501)),
    bad_body("chunked twice", "Transfer-Encoding: chunked, chunked", body=in_chunks(b"abc")),
    bad_body("chunked that is not the last", "Transfer-Encoding: chunked, gzip", body=in_chunks(b"abc"),
             statuses=(400, 501)),
    bad_body("a space before the colon of the coding", "Transfer-Encoding : chunked", body=in_chunks(b"abc")),
    bad_chunks("a chunk's size that is not a number", b"xyz\r\nabc\r\n0\r\n\r\n"),
    bad_chunks("a chunk's size that is negative", b"-3\r\nabc\r\n0\r\n\r\n"),
    bad_chunks("a chunk's size with a prefix", b"0x3\r\nabc\r\n0\r\n\r\n"),
    bad_chunks("a chunk's size that is too large", b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n", finishes=True),
    bad_chunks("a chunk without its end", b"3\r\nabcXX0\r\n\r\n"),
    bad_chunks("a chunk longer than its size", b"3\r\nabcdef\r\n0\r\n\r\n"),
    bad_chunks("a line feed alone after a chunk's size", b"3\nabc\r\n0\r\n\r\n"),
    bad_chunks("a chunked body that is truncated", b"a\r\nabc", finishes=True),
    Case("a body that is truncated", ask("POST /api/open", "Content-Length: 10", body=b"abc"), gets=rejected(400),
         finishes=True, may_begin=True),
]  # fmt: skip
