"""Responses with a user's `ETag`, and the preconditions of a change."""

from collections.abc import Callable

from rest_framework.request import Request
from rest_framework.response import Response

from chassis.etags import check_if_match, check_preconditions, expected_etags, is_unmodified

from .models import User


def etag_of(user: User) -> str:
    return f'"{user.version}"'


def tagged(user: User, data: object, *, status: int = 200, location: str | None = None) -> Response:
    """Return the user's data as a response with their `ETag`."""
    headers = {"ETag": etag_of(user)} | ({"Location": location} if location else {})
    return Response(data, status=status, headers=headers)


def conditional(request: Request, user: User, data: object) -> Response:
    """Return the user's data as the response to a GET, or 304 if its `If-None-Match` has the `ETag`.

    `If-Match` comes first (RFC 9110, section 13.2.2): raises `PreconditionFailed`.
    """
    etag = etag_of(user)
    check_if_match(request, etag)
    return Response(status=304, headers={"ETag": etag}) if is_unmodified(request, etag) else tagged(user, data)


def precondition(request: Request) -> Callable[[User], None]:
    """Return what raises `PreconditionFailed` for a user whom the request does not mean to change.

    Raises `ValidationError` now if `If-Match` holds no tag, before anything is locked.
    """
    expected_etags(request)
    return lambda user: check_preconditions(request, etag_of(user))
