"""Header blocks of requests: parsed and checked once, and reused for the exact same bytes.

A client repeats its headers, with another request line. `RequestMemo` recognizes a request whose header block equals,
byte by byte, one that was parsed and checked, and whose request line has a form that every parser reads alike. The
header block alone decides how long the body is, and that there is no other protocol. A body of a known length needs no
parser either.
"""

import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from .messages import BodyBuffer, RequestMessage

if TYPE_CHECKING:
    from gateway.admission import RequestHeaders

REQUEST_LINE: Final = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*) HTTP/1\.1"
)
METHODS: Final = {method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
# Bytes of a head that is recalled; how many header blocks are remembered, and bytes of all together. With what is
# parsed from it, a block of a signed-in user takes about 8 KB.
MAX_REMEMBERED_HEAD: Final = 4096
MAX_REMEMBERED: Final = 16_384
MAX_REMEMBERED_BYTES: Final = 8 * 1024 * 1024


class KnownBlock:
    """A remembered header block: its bytes and fields, and once they are needed, what they mean."""

    __slots__ = ("block", "fields", "headers", "keep_alive", "length")

    def __init__(self, block: bytes, message: RequestMessage) -> None:
        self.block = block
        self.fields = message.fields
        self.keep_alive = message.keep_alive
        # Of the body.
        self.length = 0 if message.body is None else message.body.length or 0
        self.headers: RequestHeaders | None = None


class RequestMemo:
    """The header blocks of a worker's clients, by address; the one remembered first is forgotten first."""

    def __init__(self) -> None:
        self.known: OrderedDict[tuple[str, bytes], KnownBlock] = OrderedDict()
        self.size = 0

    def forget(self) -> None:
        self.known.clear()
        self.size = 0

    def recall(self, address: str, data: bytes, last: KnownBlock | None = None) -> RequestMessage | None:
        """Return the request that the data is, up to a part of its body, if it needs no parser.

        `last` is the header block that the same connection had before, and probably has again.
        """
        start = data.find(b"\r\n", 0, MAX_REMEMBERED_HEAD)
        if last is not None and data.startswith(last.block, start):
            known = last
        else:
            end = data.find(b"\r\n\r\n", start, MAX_REMEMBERED_HEAD) + 4
            found = self.known.get((address, data[start:end]))
            if found is None:
                return None
            known = found
        size = len(data) - start - len(known.block)
        line = REQUEST_LINE.fullmatch(data, 0, start)
        if line is None or size > known.length:
            return None
        message = RequestMessage()
        message.method = METHODS[line[1]]
        message.target = line[2]
        message.fields = known.fields
        message.keep_alive = known.keep_alive
        message.http_1_1 = True
        message.known = known
        if known.length:
            message.body = body = BodyBuffer(known.length, expect_continue=False)
            if size:
                body.add(data[-size:])
                body.is_complete = size == known.length
        return message

    def remember(self, address: str, data: bytes, message: RequestMessage) -> None:
        """Remember the header block of a request that was parsed, and that the data begins with."""
        start = data.find(b"\r\n")
        end = data.find(b"\r\n\r\n", start, MAX_REMEMBERED_HEAD) + 4
        body = message.body
        if end < 4 or (body is not None and body.length is None) or REQUEST_LINE.fullmatch(data, 0, start) is None:
            return
        block = data[start:end]
        if self.known.pop((address, block), None) is None:
            self.size += len(block)
        while self.known and (len(self.known) >= MAX_REMEMBERED or self.size > MAX_REMEMBERED_BYTES):
            self.size -= len(self.known.popitem(last=False)[1].block)
        self.known[address, block] = message.known = KnownBlock(block, message)
