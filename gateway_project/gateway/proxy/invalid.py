"""What is not a request that is accepted, and the status that it gets."""

import re
from typing import Final

import httptools

# A well-formed one, whatever its method.
REQUEST_LINE = re.compile(rb"(?:\r\n)*[!#$%&'*+.^_`|~0-9A-Za-z-]+ (?P<path>[!-~]+?)(?:\?[!-~]*)? HTTP/1\.[0-9]\r\n")
DETAILS: Final = {
    400: "The request is not well-formed HTTP/1.1.",
    500: "Something went wrong here. The log has it under this request_id.",
    408: "Timed out reading the request headers. Send them faster.",
    414: "The request line is too long. Shorten the URL.",
    431: "The header fields are too many or too long. Send fewer or shorter ones.",
    501: "Unsupported method or transfer coding. Use a method of HTTP, and no transfer coding except chunked.",
    505: "Unsupported HTTP version. Use HTTP/1.1 or HTTP/1.0.",
}
UPGRADE_WITH_BODY: Final = "A request with an Upgrade header must have no body. Leave out one of them."


class InvalidRequest(Exception):  # noqa: N818  # an outcome, which the parser carries through
    """The client's bytes are not a request that is accepted; `path` is its path if that is known."""

    def __init__(self, status: int, path: str = "", detail: str = "") -> None:
        super().__init__(status)
        self.status = status
        self.path = path
        self.detail = detail or DETAILS[status]


def invalid_request(exc: httptools.HttpParserError, data: bytes) -> InvalidRequest:
    if isinstance(exc.__context__, InvalidRequest):
        return exc.__context__
    if isinstance(exc, httptools.HttpParserInvalidMethodError) and (line := REQUEST_LINE.match(data)):
        return InvalidRequest(501, line["path"].decode())
    return InvalidRequest(400)
