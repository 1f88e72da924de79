"""A request's body at the DRF door, never read beyond its bound."""

from collections.abc import Mapping
from typing import Any, cast

from .policy.rejections import BadRequest, ContentTooLarge, RequestRejected


class LengthRequired(RequestRejected):
    """The server in front does not undo chunked framing, so the body's end is not known (RFC 9110, section 15.5.12)."""

    status = 411
    code = "length_required"


def check_length(environ: Mapping[str, Any], limit: int) -> int | None:
    """Return the body's length in bytes, `None` where it is chunked.

    Raises `BadRequest`, `ContentTooLarge` or `LengthRequired`.
    """
    if "HTTP_TRANSFER_ENCODING" in environ:
        if not environ.get("wsgi.input_terminated"):
            raise LengthRequired("Expected a body with a Content-Length.")
        return None
    length = environ.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit()):
        raise BadRequest("Expected a Content-Length in digits.")
    digits = length.lstrip("0") or "0"
    # Compared by how many they are first: int() refuses very many digits.
    if len(digits) > len(str(limit)) or int(digits) > limit:
        raise ContentTooLarge(limit)
    return int(digits)


class Stream:
    """The body of a WSGI request of that length, `None` where it is chunked; it is never read beyond its end."""

    def __init__(self, source: Any, length: int | None) -> None:  # noqa: ANN401  # PEP 3333's input, which has no type
        self.source = source
        self.left = length

    def read(self, size: int) -> bytes:
        """Return at most so many bytes, none at the end; raise `BadRequest` where it ends early or is badly framed."""
        try:
            piece = cast("bytes", self.source.read(size if self.left is None else min(size, self.left)))
        except RequestRejected:
            raise
        except Exception as exc:  # each WSGI server has its own for malformed chunks and for a client that left
            raise BadRequest("Expected a well-framed body.") from exc
        if self.left is not None:
            if self.left and not piece:
                raise BadRequest("Expected as many bytes of body as Content-Length says.")
            self.left -= len(piece)
        return piece
