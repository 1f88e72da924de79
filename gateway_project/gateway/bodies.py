"""A request's body at the DRF door, never read beyond its bound."""

from collections.abc import Mapping
from typing import Any, cast

from .policy.refusals import BadRequest, Refused, TooLarge


class LengthRequired(Refused):
    """The server in front does not undo chunked framing, so the body's end is not known (RFC 9110, section 15.5.12)."""

    status = 411


def check_length(environ: Mapping[str, Any], limit: int) -> int | None:
    """Return the body's length in bytes, `None` where it is chunked.

    Raises `BadRequest`, `TooLarge` or `LengthRequired`.
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
        raise TooLarge(limit)
    return int(digits)


def read(environ: Mapping[str, Any], limit: int) -> bytes:
    """Return the whole body; raise as `check_length` does, and `TooLarge` before reading more than `limit` bytes."""
    length = check_length(environ, limit)
    try:
        body = cast("bytes", environ["wsgi.input"].read(limit + 1 if length is None else length))
    except Refused:
        raise
    except Exception as exc:  # each WSGI server has its own for malformed chunks and for a client that left
        raise BadRequest("Expected a well-framed body.") from exc
    if len(body) > limit:
        raise TooLarge(limit)
    if length is not None and len(body) != length:
        raise BadRequest("Expected as many bytes of body as Content-Length says.")
    return body
