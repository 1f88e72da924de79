"""Answers with an `ETag`, and what is asked of an order as it was (RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2).

`If-Unmodified-Since` and `If-Modified-Since` are passed over: nothing here has a date of its last change to the second
(sections 13.1.3 and 13.1.4).
"""

from collections.abc import Mapping
from hashlib import blake2b

from django.http import HttpResponse, HttpResponseNotModified
from django.utils.http import parse_etags
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request


class PreconditionFailed(APIException):
    """What is asked for is not as whoever asks has seen it (RFC 9110, section 15.5.13)."""

    status_code = 412
    default_detail = "This was changed since you saw it. Look at it again; nothing was done."


def etag(body: bytes) -> str:
    """Return the tag of the JSON: the same for the same bytes, whichever worker answers."""
    return f'"{blake2b(body, digest_size=16).hexdigest()}"'


def tagged(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """Return the JSON as an answer with its `ETag`."""
    response = HttpResponse(body, status=status, content_type="application/json", headers=headers)
    response.headers["ETag"] = etag(body)
    return response


def conditional(request: Request, data: object) -> HttpResponse:
    """Answer a GET with the data, or with 304 where its `If-None-Match` has the `ETag`, as a weak one too.

    Raises what `check` does, which comes first (section 13.2.2).
    """
    response = tagged(JSONRenderer().render(data))
    tag = response.headers["ETag"]
    check(request, tag)
    if has_already(request, tag):
        return HttpResponseNotModified(headers={"ETag": tag})
    return response


def check(request: Request, tag: str) -> None:
    """Raise `PreconditionFailed` where the request's `If-Match` has not the tag, as no weak one is; 400 for no tags."""
    expected = request.META.get("HTTP_IF_MATCH")
    if expected is None:
        return
    tags = parse_etags(expected)
    if not tags:
        raise ValidationError({"If-Match": ["Expected * or the ETag of an earlier answer, in its quotes."]})
    if not {tag, "*"}.intersection(tags):
        raise PreconditionFailed


def check_change(request: Request, tag: str) -> None:
    """Raise what `check` does, and `PreconditionFailed` where the request's `If-None-Match` has the tag."""
    check(request, tag)
    if has_already(request, tag):
        raise PreconditionFailed("If-None-Match names this order as it is; nothing was done.")


def has_already(request: Request, tag: str) -> bool:
    """Return whether the request's `If-None-Match` has the tag, as a weak one too."""
    known = request.META.get("HTTP_IF_NONE_MATCH")
    return known is not None and bool({tag, f"W/{tag}", "*"}.intersection(parse_etags(known)))
