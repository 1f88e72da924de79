"""What the gateway alone may ask, with a passport of its own: who may sign in, and whose sessions have ended."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chassis.permissions import HasRole
from chassis.queries import query_parameters
from chassis.serializers import StrictSerializer

from . import selectors, services
from .models import Deletion, User


class CredentialsIn(StrictSerializer):
    """What someone signs in with."""

    username = serializers.CharField(trim_whitespace=False)
    password = serializers.CharField(trim_whitespace=False, write_only=True)


class AccountOut(serializers.ModelSerializer[User]):
    """What the gateway puts into a token."""

    role = serializers.CharField(source="user_type")

    class Meta:
        model = User
        fields = ("id", "username", "role", "session_epoch")


class GatewaysView(APIView):
    """A view for the gateway."""

    permission_classes = (HasRole("service"),)


@extend_schema(exclude=True)
class CredentialsView(GatewaysView):
    """Whether someone may sign in."""

    def post(self, request: Request) -> Response:
        """Return the account of the username and password; 401, the same in all cases, where there is none."""
        data = CredentialsIn(data=request.data)
        data.is_valid(raise_exception=True)
        user = services.credentials_check(**data.validated_data)
        if user is None:
            raise AuthenticationFailed("Wrong username or password.")
        return Response(AccountOut(user).data)


@extend_schema(exclude=True)
class AccountView(GatewaysView):
    """Whether someone may stay signed in."""

    def get(self, request: Request, user_id: int) -> Response:
        """Return the account of the active user; 404 where there is none."""
        return Response(AccountOut(selectors.account_get(user_id=user_id)).data)


@extend_schema(exclude=True)
class SessionEndsView(GatewaysView):
    """Whose sessions have ended."""

    def get(self, request: Request) -> Response:
        """Return those after `?after=`, a cursor of an earlier answer, in the order they ended; `[]`: no more yet."""
        try:
            found = selectors.session_ends(after=query_parameters(request, ("after",)).get("after", ""))
        except ValueError as exc:
            raise ValidationError({"after": [str(exc)]}) from exc
        return Response({"ends": [described(entry) for entry in found.ends], "cursor": found.cursor})


def described(entry: User | Deletion) -> dict[str, Any]:
    """Return whose sessions ended, and which of them did not."""
    return {
        "user_id": entry.pk,
        "session_epoch": entry.session_epoch,
        "kept_session": entry.kept_session or None if isinstance(entry, User) else None,
        "deleted": isinstance(entry, Deletion),
    }
