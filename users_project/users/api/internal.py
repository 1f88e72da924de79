"""The API for the gateway alone, with its own passport: sign-in, accounts and ended sessions."""

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import AuthenticationFailed, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chassis.permissions import HasRole
from chassis.queries import query_parameters
from users import selectors, services

from .serializers import AccountOut, CredentialsIn, session_end_out


class GatewayView(APIView):
    permission_classes = (HasRole("service"),)


@extend_schema(exclude=True)
class CredentialsView(GatewayView):
    def post(self, request: Request) -> Response:
        """Return the account of the username and password; otherwise 401, always the same."""
        data = CredentialsIn(data=request.data)
        data.is_valid(raise_exception=True)
        user = services.credentials_check(**data.validated_data)
        if user is None:
            raise AuthenticationFailed("Wrong username or password.")
        return Response(AccountOut(user).data)


@extend_schema(exclude=True)
class AccountView(GatewayView):
    def get(self, request: Request, user_id: int) -> Response:
        """Return the account of the active user, or 404."""
        return Response(AccountOut(selectors.account_get(user_id=user_id)).data)


@extend_schema(exclude=True)
class SessionEndsView(GatewayView):
    def get(self, request: Request) -> Response:
        """Return the ends after `?after=`, the cursor of an earlier response, in their order.

        With `all_ended` every session that began before this response ends: what is stored is of another generation.
        """
        try:
            found = selectors.session_ends(after=query_parameters(request, ("after",)).get("after", ""))
        except ValueError as exc:
            raise ValidationError({"after": [str(exc)]}) from exc
        ends = [session_end_out(entry) for entry in found.ends]
        return Response({"ends": ends, "cursor": found.cursor, "all_ended": found.all_ended})
