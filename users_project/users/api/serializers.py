"""What requests may contain, and what responses do."""

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from chassis.serializers import StrictSerializer
from chassis.validators import printable
from users.models import Deletion, Entry, User
from users.passwords import MAX_LENGTH


class Password(serializers.CharField):
    """A password, with every space it has."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  # DRF's
        super().__init__(max_length=MAX_LENGTH, trim_whitespace=False, write_only=True, **kwargs)


_EXAMPLE = OpenApiExample("A user", request_only=True, value={
    "username": "kim", "email": "kim@example.com", "full_name": "Kim", "password": "correct horse battery"
})  # fmt: skip


@extend_schema_serializer(examples=[_EXAMPLE])
class UserIn(StrictSerializer, serializers.ModelSerializer[User]):
    """What creates a user."""

    password = Password()

    class Meta:
        model = User
        fields: tuple[str, ...] = ("username", "email", "full_name", "user_type", "is_active", "password")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Check the password against the validators of the settings, and against the user's names."""
        if "password" in attrs:
            stored, names = self.context.get("user"), ("username", "email", "full_name")
            described = User(**{name: attrs.get(name, getattr(stored, name, "")) for name in names})
            try:
                validate_password(attrs["password"], described)
            except DjangoValidationError as exc:
                raise ValidationError({"password": exc.messages}) from exc
        return attrs


class UserReplacement(UserIn):
    """What replaces a user; optional fields that are left out stay as they are."""

    password = Password(required=False)


class MyChanges(StrictSerializer, serializers.ModelSerializer[User]):
    """What users may change of themselves."""

    class Meta:
        model = User
        fields = ("email", "full_name")


class PasswordChange(StrictSerializer):
    """The user's old password and the new one."""

    old_password = serializers.CharField(trim_whitespace=False, write_only=True)
    new_password = Password()

    def validate_new_password(self, value: str) -> str:
        validate_password(value, self.context["user"])
        return value


class UserOut(serializers.ModelSerializer[User]):
    """A user in a response."""

    class Meta:
        model = User
        fields = read_only_fields = (
            *("id", "username", "email", "full_name", "user_type", "is_active"),
            *("created_by", "created_at", "updated_at"),
        )


class ValueOut(serializers.Serializer[Any]):
    """A field that was changed; of the password only its name."""

    field = serializers.CharField()
    old = serializers.JSONField(required=False)
    new = serializers.JSONField(required=False)


class ChangeOut(serializers.Serializer[Any]):
    """An entry of a user's history. `by` is a user's id, or null for the service itself."""

    action = serializers.ChoiceField(("created", "changed", "deleted"))
    at = serializers.DateTimeField()
    by = serializers.IntegerField(allow_null=True)
    changes = ValueOut(many=True)


class UsersFilter(serializers.Serializer[Any]):
    """How a list of users can be filtered."""

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
        return value == "true"


class CredentialsIn(StrictSerializer):
    """What a person signs in with."""

    username = serializers.CharField(trim_whitespace=False)
    password = serializers.CharField(trim_whitespace=False, write_only=True)


class AccountOut(serializers.ModelSerializer[User]):
    """What the gateway puts into a token."""

    role = serializers.CharField(source="user_type")

    class Meta:
        model = User
        fields = ("id", "username", "role", "session_epoch")


def session_end_out(entry: Entry) -> dict[str, Any]:
    return {
        "user_id": entry.pk,
        "session_epoch": entry.session_epoch,
        "kept_session": entry.kept_session or None if isinstance(entry, User) else None,
        "deleted": isinstance(entry, Deletion),
    }
