"""The users API: validate, call, respond."""

from typing import Any, cast

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.tokens import Token

from chassis.pagination import PARAMETERS, CursorPages
from chassis.permissions import HasRole
from chassis.problems import Errors
from chassis.queries import query_parameters
from chassis.serializers import StrictSerializer
from chassis.validators import printable

from . import selectors, services
from .etags import conditional, precondition, tagged
from .models import User, UserChange, ascii_only, username_characters
from .passwords import MAX_LENGTH


class Password(serializers.CharField):
    """A password, with every space it has."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  # DRF's
        super().__init__(max_length=MAX_LENGTH, trim_whitespace=False, write_only=True, **kwargs)


class UserIn(StrictSerializer):
    """What creates a user."""

    username = serializers.CharField(max_length=150, validators=[username_characters])
    email = serializers.EmailField(max_length=254, validators=[ascii_only])
    full_name = serializers.CharField(max_length=150, allow_blank=True, validators=[printable], required=False)
    user_type = serializers.ChoiceField(User.Type.choices, required=False)
    is_active = serializers.BooleanField(required=False)
    password = Password()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Check the password against the validators of the settings, with what the user is to be called in mind."""
        if "password" in attrs:
            check_password_rules("password", attrs["password"], described(self.context.get("user"), attrs))
        return attrs


class UserReplacement(UserIn):
    """What replaces a user; what is optional and left out stays as it is."""

    password = Password(required=False)


class MyChanges(StrictSerializer):
    """What one may change of oneself."""

    email = serializers.EmailField(max_length=254, validators=[ascii_only], required=False)
    full_name = serializers.CharField(max_length=150, allow_blank=True, validators=[printable], required=False)


class PasswordChange(StrictSerializer):
    """One's old password and the new one."""

    old_password = serializers.CharField(trim_whitespace=False, write_only=True)
    new_password = Password()


class UserOut(serializers.ModelSerializer[User]):
    """A user as answered."""

    class Meta:
        model = User
        fields = (
            "id",
            "username",
            "email",
            "full_name",
            "user_type",
            "is_active",
            "created_by",
            "created_at",
            "updated_at",
        )
        read_only_fields = fields


class ValueOut(serializers.Serializer[Any]):
    """A field that was changed; of the password that alone."""

    field = serializers.CharField()
    old = serializers.JSONField(required=False)
    new = serializers.JSONField(required=False)


class ChangeOut(serializers.Serializer[Any]):
    """An entry of a user's history as answered. `by` is a user's id, or null where it was the service's own doing."""

    action = serializers.ChoiceField(UserChange.Action.choices)
    at = serializers.DateTimeField()
    by = serializers.IntegerField(allow_null=True)
    changes = serializers.SerializerMethodField()

    @extend_schema_field(ValueOut(many=True))
    def get_changes(self, entry: UserChange) -> list[dict[str, object]]:
        """Return the fields with their values."""
        return [
            {"field": field} | dict(zip(("old", "new"), values, strict=False))
            for field, values in sorted(entry.values.items())
        ]


class UsersFilter(serializers.Serializer[Any]):
    """What a list of users can be narrowed to."""

    search = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=200,
        validators=[printable],
        help_text="Only users with this in their username, email or full name, in any case.",
    )
    user_type = serializers.ChoiceField(User.Type.choices, required=False)
    is_active = serializers.ChoiceField(("true", "false"), required=False)

    def validate_is_active(self, value: str) -> bool:
        """Return it as a boolean."""
        return value == "true"


LISTED_BY = (*PARAMETERS, *UsersFilter().fields)


class NotOnesOwn(PermissionDenied):
    """A change of oneself that only an admin may make."""

    def __init__(self, fields: list[str]) -> None:
        super().__init__(f"Only an admin may change {', '.join(fields)}.")
        self.errors: Errors = {field: ["Only an admin may change this."] for field in fields}


def check_password_rules(field: str, password: str, user: User) -> None:
    """Raise `ValidationError` for the field, where the password is one that the settings refuse."""
    try:
        validate_password(password, user)
    except DjangoValidationError as exc:
        raise ValidationError({field: exc.messages}) from exc


def described(user: User | None, values: dict[str, Any]) -> User:
    """Return a user as it would be with those values; the stored one stays as it is."""
    names = ("username", "email", "full_name")
    return User(**{name: values.get(name, getattr(user, name, "")) for name in names})


def caller(request: Request) -> int:
    """Return the id of the user who asks."""
    return cast("int", request.user.pk)


def session(request: Request) -> str:
    """Return the session in which the user asks, `""` where the passport says none."""
    sid = cast("Token", request.auth).get("sid")
    return sid if isinstance(sid, str) else ""


IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="The `ETag` of an earlier answer: 304 if nothing changed.",
)
IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="The `ETag` of an earlier answer: 412 if something changed."
)
UNSEEN = {412: OpenApiResponse(description="The user was changed since the answer with that `ETag`.")}
FOUND = {
    200: UserOut,
    304: OpenApiResponse(description="Nothing has changed since the answer with that `ETag`."),
    **UNSEEN,
}
CHANGED = {200: UserOut, **UNSEEN}


class AdminsView(APIView):
    """A view for admins."""

    permission_classes = (HasRole("admin"),)


@extend_schema(tags=["users"])
class UsersView(AdminsView):
    """All users."""

    pagination_class = CursorPages

    @extend_schema(operation_id="users_list", parameters=[UsersFilter], responses=UserOut(many=True))
    def get(self, request: Request) -> Response:
        """List the users, newest first."""
        wanted = UsersFilter(data=query_parameters(request, LISTED_BY).dict())
        wanted.is_valid(raise_exception=True)
        pages = self.pagination_class()
        page = pages.paginate_queryset(selectors.users(**wanted.validated_data), request, view=self)
        return pages.get_paginated_response(UserOut(page, many=True).data)

    @extend_schema(operation_id="users_create", request=UserIn, responses={201: UserOut})
    def post(self, request: Request) -> Response:
        """Create a user."""
        data = UserIn(data=request.data)
        data.is_valid(raise_exception=True)
        user = services.user_create(created_by=caller(request), **data.validated_data)
        return tagged(user, UserOut(user).data, status=201, location=f"/api/users/{user.pk}")


@extend_schema(tags=["users"])
class UserView(AdminsView):
    """One user."""

    @extend_schema(operation_id="users_get", parameters=[IF_NONE_MATCH, IF_MATCH], responses=FOUND)
    def get(self, request: Request, user_id: int) -> Response:
        """Return the user."""
        user = selectors.user_get(user_id=user_id)
        return conditional(request, user, UserOut(user).data)

    @extend_schema(operation_id="users_replace", parameters=[IF_MATCH], request=UserReplacement, responses=CHANGED)
    def put(self, request: Request, user_id: int) -> Response:
        """Replace the user's username and email, and what else is said."""
        return self.change(request, user_id, partial=False)

    @extend_schema(
        operation_id="users_change",
        parameters=[IF_MATCH],
        request=UserReplacement(partial=True),
        responses=CHANGED,
    )
    def patch(self, request: Request, user_id: int) -> Response:
        """Change what is said."""
        return self.change(request, user_id, partial=True)

    @extend_schema(operation_id="users_delete", parameters=[IF_MATCH], responses={204: None, **UNSEEN})
    def delete(self, request: Request, user_id: int) -> Response:
        """Delete the user."""
        services.user_delete(user_id=user_id, actor=caller(request), check=precondition(request))
        return Response(status=204)

    def change(self, request: Request, user_id: int, *, partial: bool) -> Response:
        """Validate against the user as it is, update, respond."""
        user = selectors.user_get(user_id=user_id)
        data = UserReplacement(data=request.data, partial=partial, context={"user": user})
        data.is_valid(raise_exception=True)
        user = services.user_update(
            user_id=user_id,
            actor=caller(request),
            kept_session=session(request),
            check=precondition(request),
            **data.validated_data,
        )
        return tagged(user, UserOut(user).data)


@extend_schema(tags=["users"])
class HistoryView(AdminsView):
    """A user's history."""

    pagination_class = CursorPages

    @extend_schema(operation_id="users_history", responses=ChangeOut(many=True))
    def get(self, request: Request, user_id: int) -> Response:
        """List what was changed, by whom and when, newest first; also of a user who was deleted."""
        query_parameters(request, PARAMETERS)
        pages = self.pagination_class()
        entries = selectors.user_history(user_id=user_id)
        if isinstance(entries, list):
            pages.get_page_size(request)
            pages.decode_cursor(request)
            return Response({"next": None, "previous": None, "results": ChangeOut(entries, many=True).data})
        page = pages.paginate_queryset(entries, request, view=self)
        return pages.get_paginated_response(ChangeOut(page, many=True).data)


class OwnView(APIView):
    """A view of oneself."""

    permission_classes = (HasRole("admin", "default"),)

    def me(self) -> User:
        """Return the active user who asks; 401 where there is none any more."""
        try:
            user = selectors.user_get(user_id=caller(self.request))
        except Http404:
            user = None
        if user is None or not user.is_active:
            raise AuthenticationFailed("This user does not exist any more.")
        return user


@extend_schema(tags=["users"])
class MeView(OwnView):
    """One's own profile."""

    @extend_schema(operation_id="me_get", parameters=[IF_NONE_MATCH, IF_MATCH], responses=FOUND)
    def get(self, request: Request) -> Response:
        """Return the user who asks."""
        user = self.me()
        return conditional(request, user, UserOut(user).data)

    @extend_schema(operation_id="me_change", parameters=[IF_MATCH], request=MyChanges(partial=True), responses=CHANGED)
    def patch(self, request: Request) -> Response:
        """Change one's own email or full name."""
        user = self.me()
        refuse_others_fields(request.data)
        data = MyChanges(data=request.data)
        data.is_valid(raise_exception=True)
        user = services.user_update(user_id=user.pk, actor=user.pk, check=precondition(request), **data.validated_data)
        return tagged(user, UserOut(user).data)


def refuse_others_fields(data: object) -> None:
    """Raise 403 for what only an admin may change, 400 for the password, which has its own place."""
    if not isinstance(data, dict):
        return
    if fields := sorted(data.keys() & {"username", "user_type", "is_active"}):
        raise NotOnesOwn(fields)
    if "password" in data:
        raise ValidationError({"password": ["Change it with POST /api/users/me/password."]})


@extend_schema(tags=["users"])
class MyPasswordView(OwnView):
    """One's own password."""

    @extend_schema(operation_id="me_password", request=PasswordChange, responses={204: None})
    def post(self, request: Request) -> Response:
        """Change one's own password, which ends one's other sessions."""
        user = self.me()
        data = PasswordChange(data=request.data)
        data.is_valid(raise_exception=True)
        check_password_rules("new_password", data.validated_data["new_password"], user)
        try:
            services.password_change(user_id=user.pk, session=session(request), **data.validated_data)
        except services.WrongPasswordError as exc:
            raise ValidationError({"old_password": exc.messages}) from exc
        return Response(status=204)
