"""The public users API."""

import operator
from collections.abc import Callable
from typing import Any, cast

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from chassis.etags import check_if_match, check_preconditions, expected_etags
from chassis.pagination import PARAMETERS, CursorPages, Position
from chassis.parameters import IF_MATCH, IF_NONE_MATCH
from chassis.permissions import HasRole
from chassis.queries import filters_from, query_parameters
from users import selectors, services
from users.models import User

from .serializers import ChangeOut, MyChanges, PasswordChange, UserIn, UserOut, UserReplacement, UsersFilter

_UNCHANGED = {304: OpenApiResponse(description="Nothing changed since the response with that `ETag`.")}
_TAKEN = {409: OpenApiResponse(description="The username or email is taken, or no active admin would be left.")}
_LAST = {409: OpenApiResponse(description="It is your own user, or the last active admin.")}
FOUND = {200: UserOut, **_UNCHANGED}
CHANGED = {200: UserOut, **_TAKEN}


def caller_id(request: Request) -> int:
    return cast("int", request.user.pk)


def caller_session(request: Request) -> str:
    return getattr(request.user, "sid", None) or ""


def etag_of(user: User) -> str:
    return f'"{user.version}"'


def shown(user: User, *, status: int = 200, **headers: str) -> Response:
    """Return the user as a response with their `ETag`, of which `ConditionalGetMiddleware` makes 304."""
    return Response(UserOut(user).data, status=status, headers={"ETag": etag_of(user)} | headers)


def precondition(request: Request) -> Callable[[User], None]:
    """Return what raises `PreconditionFailed` for a user whom the request must not change. Raises 400 for no tag."""
    expected_etags(request)
    return lambda user: check_preconditions(request, etag_of(user))


class HistoryPages(CursorPages):
    """Pages of a list in memory: of changes, which come newest first and are numbered from the oldest."""

    newest_by = ("number",)

    def fetch(self, queryset: Any, start: Position | None, limit: int) -> list[Any]:  # noqa: ANN401  # the changes
        if start is not None:
            fits, number = getattr(operator, start.lookup.replace("te", "e")), int(start.values[0])
            queryset = [change for change in queryset if fits(change.number, number)]
            queryset = queryset[::-1] if start.is_newer else queryset
        return list(queryset[:limit])


@extend_schema(tags=["users"])
class UserViewSet(ViewSet):
    """All users, for admins."""

    permission_classes = (HasRole("admin"),)
    pagination_class = CursorPages

    @extend_schema(operation_id="users_list", parameters=[UsersFilter], responses=UserOut(many=True))
    def list(self, request: Request) -> Response:
        """List the users, newest first."""
        pages = self.pagination_class()
        page = pages.paginate_queryset(selectors.users(**filters_from(request, UsersFilter)), request)
        return pages.get_paginated_response(UserOut(page, many=True).data)

    @extend_schema(operation_id="users_create", request=UserIn, responses={201: UserOut, **_TAKEN})
    def create(self, request: Request) -> Response:
        """Create a user."""
        data = UserIn(data=request.data)
        data.is_valid(raise_exception=True)
        user = services.user_create(created_by=caller_id(request), **data.validated_data)
        return shown(user, status=201, Location=f"/api/users/{user.pk}")

    @extend_schema(operation_id="users_get", parameters=[IF_NONE_MATCH, IF_MATCH], responses=FOUND)
    def retrieve(self, request: Request, user_id: int) -> Response:
        """Return the user."""
        user = selectors.user_get(user_id=user_id)
        check_if_match(request, etag_of(user))
        return shown(user)

    @extend_schema(operation_id="users_replace", parameters=[IF_MATCH], request=UserReplacement, responses=CHANGED)
    def update(self, request: Request, user_id: int, *, partial: bool = False) -> Response:
        """Replace the user.

        Optional fields that are left out stay as they are.
        """
        user = selectors.user_get(user_id=user_id)
        data = UserReplacement(data=request.data, partial=partial, context={"user": user})
        data.is_valid(raise_exception=True)
        session, check = caller_session(request), precondition(request)
        user = services.user_update(
            user_id=user_id, actor=caller_id(request), kept_session=session, if_version=check, **data.validated_data
        )
        return shown(user)

    @extend_schema(
        operation_id="users_change", parameters=[IF_MATCH], request=UserReplacement(partial=True), responses=CHANGED
    )
    def partial_update(self, request: Request, user_id: int) -> Response:
        """Change the fields that are given."""
        return self.update(request, user_id, partial=True)

    @extend_schema(operation_id="users_delete", parameters=[IF_MATCH], responses={204: None, **_LAST})
    def destroy(self, request: Request, user_id: int) -> Response:
        """Delete the user."""
        services.user_delete(user_id=user_id, actor=caller_id(request), if_version=precondition(request))
        return Response(status=204)

    @extend_schema(operation_id="users_history", responses=ChangeOut(many=True))
    def history(self, request: Request, user_id: int) -> Response:
        """List the changes of the user, newest first.

        Also of a deleted user.
        """
        query_parameters(request, PARAMETERS)
        pages = HistoryPages()
        page = pages.paginate_queryset(selectors.user_history(user_id=user_id), request)
        return pages.get_paginated_response(ChangeOut(page, many=True).data)


@extend_schema(tags=["users"])
class MeViewSet(ViewSet):
    """The caller's own user."""

    permission_classes = (HasRole("admin", "default"),)

    def me(self) -> User:
        """Return the active user of the passport; 401 if the user was deleted or deactivated."""
        try:
            return selectors.account_get(user_id=caller_id(self.request))
        except Http404 as exc:
            raise AuthenticationFailed("This user does not exist any more.") from exc

    @extend_schema(operation_id="me_get", parameters=[IF_NONE_MATCH, IF_MATCH], responses=FOUND)
    def retrieve(self, request: Request) -> Response:
        """Return your own profile."""
        user = self.me()
        check_if_match(request, etag_of(user))
        return shown(user)

    @extend_schema(operation_id="me_change", parameters=[IF_MATCH], request=MyChanges(partial=True), responses=CHANGED)
    def partial_update(self, request: Request) -> Response:
        """Change your own email or full name."""
        user = self.me()
        data = MyChanges(data=request.data, partial=True)
        data.is_valid(raise_exception=True)
        check = precondition(request)
        user = services.user_update(user_id=user.pk, actor=user.pk, if_version=check, **data.validated_data)
        return shown(user)

    @extend_schema(operation_id="me_password", request=PasswordChange, responses={204: None})
    def change_password(self, request: Request) -> Response:
        """Change your password.

        This ends your other sessions.
        """
        user = self.me()
        data = PasswordChange(data=request.data, context={"user": user})
        data.is_valid(raise_exception=True)
        services.password_change(user_id=user.pk, session=caller_session(request), **data.validated_data)
        return Response(status=204)
