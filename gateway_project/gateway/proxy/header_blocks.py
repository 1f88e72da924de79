"""Header blocks of requests: parsed and checked once, and reused for the exact same bytes.

A client repeats its headers, with another request line. `RequestMemo` recognizes a request without a body whose header
block equals, byte by byte, one that was parsed and checked, and whose request line has a form that every parser
reads alike. The header block alone decides that there is no body and no other protocol.
"""

import re
from typing import TYPE_CHECKING, Final

from .messages import RequestMessage

if TYPE_CHECKING:
    from gateway.gate import RequestHeaders

REQUEST_LINE: Final = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*) HTTP/1\.1"
)
METHODS: Final = {method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
# Bytes of a request that is recalled, and how many header blocks are remembered.
MAX_REQUEST: Final = 4096
MAX_REMEMBERED: Final = 1024


class KnownBlock:
    """A remembered header block: its fields, and once they are needed, what they mean."""

    __slots__ = ("fields", "headers", "keep_alive")

    def __init__(self, message: RequestMessage) -> None:
        self.fields = message.fields
        self.keep_alive = message.keep_alive
        self.headers: RequestHeaders | None = None


class RequestMemo:
    """The header blocks of a worker's clients, by address; the one remembered first is forgotten first."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, bytes], KnownBlock] = {}

    def forget(self) -> None:
        """Forget all of them."""
        self.known.clear()

    def recall(self, address: str, data: bytes) -> RequestMessage | None:
        """Return the request that the data is all of, if it needs no parser."""
        if not data.endswith(b"\r\n\r\n"):
            return None
        end = data.find(b"\r\n")
        known = self.known.get((address, data[end:]))
        if known is None:
            return None
        line = REQUEST_LINE.fullmatch(data, 0, end)
        if line is None or len(data) > MAX_REQUEST:
            return None
        message = RequestMessage()
        message.method = METHODS[line[1]]
        message.target = line[2]
        message.fields = known.fields
        message.keep_alive = known.keep_alive
        message.http_1_1 = True
        message.known = known
        return message

    def remember(self, address: str, data: bytes, message: RequestMessage) -> None:
        """Remember the header block of a request that was parsed and is all of the data."""
        end = data.find(b"\r\n")
        if message.body is not None or len(data) > MAX_REQUEST or data.find(b"\r\n\r\n") != len(data) - 4:
            return
        if REQUEST_LINE.fullmatch(data, 0, end) is None:
            return
        if len(self.known) >= MAX_REMEMBERED:
            del self.known[next(iter(self.known))]
        self.known[address, data[end:]] = message.known = KnownBlock(message)
