"""Conditional requests (RFC 9110, section 13.1): a client that sends an `ETag` back changes only what it has seen.

`If-Unmodified-Since` and `If-Modified-Since` are ignored: they need a date of the last change to the second.
"""

from django.http import HttpRequest
from django.utils.http import parse_etags
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request

_ANY = "*"


class PreconditionFailed(APIException):
    """The resource is not in the state that the client has seen (RFC 9110, section 15.5.13)."""

    status_code = 412
    default_code = "precondition_failed"
    default_detail = "It has changed since you read it, and nothing was done. Read it again, then send the new ETag."


def expected_etags(request: Request | HttpRequest) -> list[str]:
    """Return the tags in `If-Match`, `*` without the header; raise `ValidationError` if it holds no tag."""
    header = request.META.get("HTTP_IF_MATCH")
    if header is None:
        return [_ANY]
    tags = parse_etags(header)
    if not tags:
        raise ValidationError({"If-Match": ["Expected * or the ETag of an earlier response, in its quotes."]})
    return tags


def check_if_match(request: Request | HttpRequest, etag: str) -> None:
    """Raise `PreconditionFailed` if `If-Match` lacks the tag. A weak tag in the header never matches."""
    if not {etag, _ANY}.intersection(expected_etags(request)):
        raise PreconditionFailed


def is_unmodified(request: Request | HttpRequest, etag: str) -> bool:
    """Return whether `If-None-Match` has the tag, also as a weak one: a GET is then answered with 304."""
    header = request.META.get("HTTP_IF_NONE_MATCH")
    return header is not None and bool({etag, f"W/{etag}", _ANY}.intersection(parse_etags(header)))


def check_preconditions(request: Request | HttpRequest, etag: str) -> None:
    """Raise `PreconditionFailed` if `If-Match` lacks the tag or `If-None-Match` has it: for a change."""
    check_if_match(request, etag)
    if is_unmodified(request, etag):
        raise PreconditionFailed("If-None-Match names the current version, so nothing was done.")
