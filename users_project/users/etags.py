"""Answers with an `ETag`, and what is asked of a user as they were (RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2)."""

from collections.abc import Callable

from django.utils.http import parse_etags
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from .models import User

ANY = "*"


class PreconditionFailed(APIException):
    """The user is not as whoever asks has seen them (RFC 9110, section 15.5.13)."""

    status_code = 412
    default_detail = "This user was changed since you saw them. Look at them again; nothing was done."


def tag_of(user: User) -> str:
    """Return the `ETag` of the user's version."""
    return f'"{user.version}"'


def tagged(user: User, data: object, *, status: int = 200, location: str | None = None) -> Response:
    """Return the user's data as an answer with their `ETag`."""
    headers = {"ETag": tag_of(user)} | ({"Location": location} if location else {})
    return Response(data, status=status, headers=headers)


def conditional(request: Request, user: User, data: object) -> Response:
    """Answer a GET with the user's data, or with 304 where its `If-None-Match` has the `ETag`, as a weak one too.

    Raises what `check` does of `If-Match`, which comes first (section 13.2.2).
    """
    expected(request)(user)
    if is_none_of(request, user):
        return tagged(user, data)
    return Response(status=304, headers={"ETag": tag_of(user)})


def precondition(request: Request) -> Callable[[User], None]:
    """Return what raises `PreconditionFailed` for a user whom the request is not to change.

    That is one whose `ETag` is not in its `If-Match`, or is in its `If-None-Match`. Raises as `expected`.
    """
    check_expected = expected(request)

    def check(user: User) -> None:
        check_expected(user)
        if not is_none_of(request, user):
            raise PreconditionFailed("If-None-Match names this user as they are; nothing was done.")

    return check


def expected(request: Request) -> Callable[[User], None]:
    """Return what raises `PreconditionFailed` for a user whose `ETag` is not in the request's `If-Match`.

    A weak tag matches nothing there. Raises 400 for what is no list of tags.
    """
    header = request.headers.get("If-Match", ANY)
    tags = parse_etags(header)
    if not tags:
        raise ValidationError({"If-Match": ["Expected * or the ETag of an earlier answer, in its quotes."]})

    def check(user: User) -> None:
        if not {tag_of(user), ANY}.intersection(tags):
            raise PreconditionFailed

    return check


def is_none_of(request: Request, user: User) -> bool:
    """Return whether the request's `If-None-Match` has not the user's `ETag`, as a weak one neither."""
    tag = tag_of(user)
    return not {tag, f"W/{tag}", ANY}.intersection(parse_etags(request.headers.get("If-None-Match", "")))
