"""Answers with an `ETag`, and what is asked of a user as they were (RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2)."""

from django.utils.http import parse_etags
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from .models import User


def tagged(user: User, data: object, *, status: int = 200, location: str | None = None) -> Response:
    """Return the user's data as an answer with the `ETag` of their version."""
    headers = {"ETag": f'"{user.version}"'} | ({"Location": location} if location else {})
    return Response(data, status=status, headers=headers)


def conditional(request: Request, user: User, data: object) -> Response:
    """Answer a GET with the user's data, or with 304 where its `If-None-Match` has the `ETag`, as a weak one too."""
    response = tagged(user, data)
    tags = [tag.removeprefix("W/") for tag in parse_etags(request.headers.get("If-None-Match", ""))]
    if response.headers["ETag"] in tags or tags == ["*"]:
        return Response(status=304, headers={"ETag": response.headers["ETag"]})
    return response


def versions(request: Request) -> list[str] | None:
    """Return the versions that `If-Match` names; `None` where any will do. Raises 400 for what is no list of tags.

    A weak tag is no version: it matches nothing.
    """
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return None
    tags = parse_etags(header)
    if not tags:
        raise ValidationError({"If-Match": ["Expected * or the ETag of an earlier answer, in its quotes."]})
    return [tag.strip('"') for tag in tags if not tag.startswith("W/")]
