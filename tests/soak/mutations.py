"""Mutations of a request's or a response's bytes, drawn from a seeded `Random`."""

import re
from collections.abc import Callable
from random import Random

Mutation = Callable[[Random, bytes], bytes]


def mutated(random: Random, data: bytes) -> bytes:
    """Return the data with one to four mutations."""
    for _ in range(random.choice([1, 1, 1, 2, 2, 3, 4])):
        data = random.choice(MUTATIONS)(random, data) or b"\r\n"
    return data


def flip(random: Random, data: bytes) -> bytes:
    """Flip a few bits."""
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 1, 2, 4, 16])):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def replace(random: Random, data: bytes) -> bytes:
    """Replace a byte with one that has a meaning in HTTP."""
    at = random.randrange(len(data))
    return data[:at] + random.choice(SPECIAL) + data[at + 1 :]


def insert(random: Random, data: bytes) -> bytes:
    """Insert bytes."""
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice([random.choice(SPECIAL), random.randbytes(random.randrange(1, 9))]) + data[at:]


def cut(random: Random, data: bytes) -> bytes:
    """Remove a part."""
    start = random.randrange(len(data))
    return data[:start] + data[start + random.choice([1, 1, 2, 8, 64]) :]


def truncate(random: Random, data: bytes) -> bytes:
    """Remove the end."""
    return data[: random.randrange(1, len(data) + 1)]


def lines(random: Random, data: bytes) -> bytes:
    """Double, move, swap or drop a line."""
    parts = data.split(b"\r\n")
    at, to = random.randrange(len(parts)), random.randrange(len(parts))
    match random.randrange(4):
        case 0:
            parts.insert(to, parts[at])
        case 1:
            parts.insert(to, parts.pop(at))
        case 2:
            parts[at], parts[to] = parts[to], parts[at]
        case _:
            del parts[at]
    return b"\r\n".join(parts)


def line_ends(random: Random, data: bytes) -> bytes:
    """Change how a line ends."""
    ends = [found.start() for found in re.finditer(b"\r\n", data)]
    if not ends:
        return data
    at = random.choice(ends)
    return data[:at] + random.choice(LINE_ENDS) + data[at + 2 :]


def header(random: Random, data: bytes) -> bytes:
    """Insert a header that matters."""
    line, end, rest = data.partition(b"\r\n")
    return line + end + random.choice(HEADERS) + b"\r\n" + rest


def case(random: Random, data: bytes) -> bytes:
    """Change the case of a part."""
    start = random.randrange(len(data))
    return data[:start] + data[start : start + 20].swapcase() + data[start + 20 :]


def number(random: Random, data: bytes) -> bytes:
    """Change a number."""
    found = list(re.finditer(rb"[0-9]+", data))
    if not found:
        return data
    one = random.choice(found)
    return data[: one.start()] + random.choice(NUMBERS) + data[one.end() :]


def huge(random: Random, data: bytes) -> bytes:
    """Make a line, or the number of lines, very large."""
    line, end, rest = data.partition(b"\r\n")
    match random.randrange(4):
        case 0:
            return line.replace(b" HTTP", b"x" * random.choice([4000, 9000, 70_000]) + b" HTTP") + end + rest
        case 1:
            return line + end + b"X-Huge: " + b"x" * random.choice([8000, 8200, 70_000]) + end + rest
        case 2:
            return line + end + b"X-Many: x\r\n" * random.choice([99, 101, 3000]) + rest
        case _:
            return line + end + b"x" * random.choice([300, 70_000]) + b": x\r\n" + rest


def noise(random: Random, data: bytes) -> bytes:
    """Replace everything with random bytes."""
    return random.randbytes(random.choice([1, 16, 256, 4096]))


SPECIAL = [bytes([n]) for n in [*range(33), 127, 128, 160, 255]] + [
    b"\r\n", b"\r\n\r\n", b":", b" ", b"%", b"%00", b"%2e%2e", b"%2F", b"/", b"//", b"/..", b"\\", b"?", b"#", b";",
    b"\xc0\xaf", b"\xe2\x80\xa8", b"@", b"[", b"]", b"{", b"0x", b"+", b"-", b"_",
]  # fmt: skip
LINE_ENDS = [b"\n", b"\r", b"\r\r\n", b"\n\r", b"", b"\r\n ", b"\r\n\t", b"\0\r\n"]
NUMBERS = [b"0", b"1", b"-1", b"+1", b"00", b"7", b"11", b"0x10", b"1e3", b"10, 10", b"65536", b"4294967296", b"9" * 17,
           b"18446744073709551616", b"9" * 40, b"f", b"FFFFFFFFFFFFFFFF", b"", b" 3", b"3_0", "٣".encode()]  # fmt: skip
HEADERS = [
    b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 4, 4", b"Content-Length : 4", b"Content-Length: +4",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding:\x0bchunked", b"Transfer_Encoding: chunked",
    b"Transfer-Encoding: xchunked", b" Transfer-Encoding: chunked", b"Transfer-Encoding\t: chunked",
    b"Request-User-Id: 666", b"request-user-id: 666", b"Request_User_Id: 666", b"REQUEST-USER-ID : 666",
    b"Request-User-Id: 666\r\nRequest-User-Id: 666", b"X-Forwarded-For: 6.6.6.6", b"X_Forwarded_For: 6.6.6.6",
    b"X-Forwarded-Host: evil", b"X-Forwarded-Proto: https", b"Forwarded: for=6.6.6.6", b"X-Real-IP: 6.6.6.6",
    b"X-Request-Id: 66666666666666666666666666666666", b"Host: evil.example", b"Host: localhost", b"Host:",
    b"Connection: close", b"Connection: keep-alive", b"Connection: Request-User-Id, X-Forwarded-For, Host",
    b"Connection: Upgrade\r\nUpgrade: websocket", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c",
    b"Expect: 100-continue", b"Expect: nothing", b"Authorization: Bearer x.y.z", b"Authorization: Basic eDp5",
    b"Cookie: a=b; \xff=\x01", b"Accept: text/html", b"TE: trailers", b"Trailer: X", b"Keep-Alive: timeout=1",
    b"Range: bytes=0-", b"Accept: " + b"text/html;q=0.1," * 200, b": empty", b"No colon", b"X-Odd: \xe4\xf6\xfc",
]  # fmt: skip
MUTATIONS: list[Mutation] = [
    flip, flip, replace, replace, insert, insert, cut, truncate, lines, lines, line_ends, header, header, header, case,
    number, number, huge, noise,
]  # fmt: skip
