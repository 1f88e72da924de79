"""JSON as RFC 8259 defines it: UTF-8, each name once in its object, no NaN. DRF's own parser accepts more.

APIException (DRF's)
└── UnsupportedMediaType
    └── EncodedBody         the body has a Content-Encoding: 415
"""

import codecs
import json
from collections import Counter
from typing import Any, Never

from rest_framework.exceptions import ParseError, UnsupportedMediaType, ValidationError
from rest_framework.parsers import JSONParser
from rest_framework.request import Request

from .serializers import MAX_NAMED, printable_name


class EncodedBody(UnsupportedMediaType):
    """The body has a `Content-Encoding` (RFC 9110, section 15.5.16). Nothing is decompressed, so no bomb goes off."""

    headers = {"Accept-Encoding": "identity"}

    def __init__(self, coding: str) -> None:
        super().__init__(
            "", f"Unsupported Content-Encoding {printable_name(coding)}. Send the body uncompressed and without it."
        )


class StrictJSONParser(JSONParser):
    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:  # noqa: ANN401  # DRF's signature
        """Return the parsed JSON. Raises `ParseError` or `ValidationError` (400), `UnsupportedMediaType` (415)."""
        _check_encoding(parser_context["request"], media_type)
        try:
            return _DECODER.decode(stream.read().decode())
        except (ValueError, RecursionError) as exc:  # DRF's parser leads to a 500 for the latter
            raise ParseError(describe(exc)) from exc


def describe(error: ValueError | RecursionError) -> str:
    """Return what is wrong with a body that Python's parser does not read, and what to do."""
    if isinstance(error, UnicodeDecodeError):
        return f"The body is not UTF-8: byte {error.start + 1}. Send JSON in UTF-8."
    if isinstance(error, json.JSONDecodeError):
        return _describe_place(error)
    if isinstance(error, RecursionError):
        return "The JSON is nested too deeply. Send fewer levels."
    return "A number in the JSON is too long. Send fewer digits."  # of more than 4,300 digits


def _check_encoding(request: Request, media_type: str) -> None:
    coding = request.META.get("HTTP_CONTENT_ENCODING", "")
    if coding and coding.lower() != "identity":
        raise EncodedBody(coding)
    if media_type != JSONParser.media_type:
        parameters = request._request.content_params or {}  # noqa: SLF001  # DRF has no other way
        charset = parameters.get("charset", "utf-8")
        # RFC 8259, section 8.1; clients often leave out the hyphen.
        if charset.lower() not in {"utf-8", "utf8"}:
            raise UnsupportedMediaType("", f"Unsupported charset {printable_name(charset)}. Send JSON in UTF-8.")


def _describe_place(error: json.JSONDecodeError) -> str:
    """Return where the text stops being JSON. Python's own message differs between versions."""
    if error.doc.startswith(codecs.BOM_UTF8.decode()):
        return "The JSON begins with a byte order mark. Send it without one."
    place = f"line {error.lineno}, column {error.colno}"
    if not error.doc[error.pos :].strip():
        return f"Incomplete JSON: it ends at {place}."
    return f"Invalid JSON at {place}."


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the object; reject a repeated name, whose meaning differs between readers (RFC 8259, section 4)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        repeated = [name for name, count in counts.items() if count > 1][:MAX_NAMED]
        raise ValidationError(
            {printable_name(name): [f"Expected this name once, got it {counts[name]} times."] for name in repeated}
        )
    return found


def _reject_constant(name: str) -> Never:
    """Reject NaN, Infinity and -Infinity, which Python writes but JSON does not have (RFC 8259, section 6)."""
    raise ParseError(f"Invalid JSON: it has no {name}.")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_reject_constant)
