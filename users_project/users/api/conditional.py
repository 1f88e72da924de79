"""`ETag` of a user, and conditional requests (RFC 9110, section 13)."""

from collections.abc import Callable

from rest_framework.request import Request
from rest_framework.response import Response

from chassis.etags import check_if_match, check_preconditions, expected_etags, is_unmodified
from users.models import User


def etag_of(user: User) -> str:
    return f'"{user.version}"'


def tagged(user: User, data: object, *, status: int = 200, location: str | None = None) -> Response:
    """Return the user's data as a response with their `ETag`."""
    headers = {"ETag": etag_of(user)} | ({"Location": location} if location else {})
    return Response(data, status=status, headers=headers)


def conditional(request: Request, user: User, data: object) -> Response:
    """Return the user's data, or 304. `If-Match` comes first (section 13.2.2) and raises `PreconditionFailed`."""
    check_if_match(request, etag_of(user))
    if is_unmodified(request, etag_of(user)):
        return Response(status=304, headers={"ETag": etag_of(user)})
    return tagged(user, data)


def precondition(request: Request) -> Callable[[User], None]:
    """Return what raises `PreconditionFailed` for a user whom the request must not change. Raises 400 for no tag."""
    expected_etags(request)
    return lambda user: check_preconditions(request, etag_of(user))
