"""Responses with an `ETag`: the hash of their JSON, so that every worker sends the same one."""

from collections.abc import Mapping
from hashlib import blake2b

from django.http import HttpResponse, HttpResponseNotModified
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from chassis.etags import check_if_match, is_unmodified


def etag_of(body: bytes) -> str:
    return f'"{blake2b(body, digest_size=16).hexdigest()}"'


def tagged(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """Return the JSON as a response with its `ETag`."""
    response = HttpResponse(body, status=status, content_type="application/json", headers=headers)
    response.headers["ETag"] = etag_of(body)
    return response


def conditional(request: Request, data: object) -> HttpResponse:
    """Return the data as the response to a GET, or 304 if its `If-None-Match` has the `ETag`.

    `If-Match` comes first (RFC 9110, section 13.2.2): raises `PreconditionFailed`.
    """
    response = tagged(JSONRenderer().render(data))
    etag = response.headers["ETag"]
    check_if_match(request, etag)
    return HttpResponseNotModified(headers={"ETag": etag}) if is_unmodified(request, etag) else response
