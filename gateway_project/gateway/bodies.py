"""A request's body at the DRF door, never read beyond its bound."""

from collections.abc import Mapping
from typing import Any, cast

from chassis.lengths import content_length

from .policy.rejections import BadRequest, ContentTooLarge, RequestRejected

# Bytes of a form with files that a page sends, if its route takes as much. Django keeps large files in temporary ones.
MAX_UPLOAD = 32 * 1024 * 1024


class LengthRequired(RequestRejected):
    """The server in front does not decode chunks, so the body's end is unknown (RFC 9110, section 15.5.12)."""

    status = 411
    code = "length_required"


class InvalidContentLength(BadRequest):
    """The value of `Content-Length` is not a number of bytes (RFC 9110, section 8.6)."""

    code = "invalid_content_length"


def check_length(environ: Mapping[str, Any], limit: int) -> int | None:
    """Return the body's length in bytes, `None` where it is chunked.

    Raises `InvalidContentLength`, `ContentTooLarge` or `LengthRequired`.
    """
    if "HTTP_TRANSFER_ENCODING" in environ:
        if not environ.get("wsgi.input_terminated"):
            raise LengthRequired("The body has no Content-Length. Send it with one.")
        return None
    try:
        length = content_length(environ.get("CONTENT_LENGTH") or "0")
    except ValueError as exc:
        raise InvalidContentLength(str(exc)) from exc
    if length > limit:
        raise ContentTooLarge(limit)
    return length


class Stream:
    """A WSGI request's body of that length, `None` if it is chunked; it is never read beyond its end."""

    def __init__(self, source: Any, length: int | None) -> None:  # noqa: ANN401  # PEP 3333's input, which has no type
        self.source = source
        self.left = length

    def read(self, size: int) -> bytes:
        """Return at most so many bytes, none at the end; raise `BadRequest` for a body that is cut off or malformed."""
        try:
            piece = cast("bytes", self.source.read(size if self.left is None else min(size, self.left)))
        except RequestRejected:
            raise
        except Exception as exc:  # each WSGI server has its own for malformed chunks and for a client that left
            raise BadRequest("The body's chunks are malformed, or the connection broke.") from exc
        if self.left is not None:
            if self.left and not piece:
                raise BadRequest("The body is shorter than its Content-Length. Send it whole.")
            self.left -= len(piece)
        return piece
