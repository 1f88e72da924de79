"""Answers with an `ETag`, and 304 to who has the same already (RFC 9110, sections 8.8.3 and 13.1.2)."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import cast

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request


def tagged(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """Return the JSON as an answer with its `ETag`: the same for the same bytes, whichever worker answers."""
    response = HttpResponse(body, status=status, content_type="application/json", headers=headers)
    response.headers["ETag"] = f'"{blake2b(body, digest_size=16).hexdigest()}"'
    return response


def conditional(request: Request, data: object) -> HttpResponseBase:
    """Answer a GET with the data, or with 304 where its `If-None-Match` has the `ETag`."""
    response = tagged(JSONRenderer().render(data))
    answer = get_conditional_response(cast("HttpRequest", request), etag=response.headers["ETag"], response=response)
    return answer or response
