"""Login, refresh, logout, sessions and the public keys."""

from dataclasses import asdict
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.parsers import FormParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chassis.pagination import PARAMETERS, CursorPages
from chassis.parsers import StrictJSONParser
from chassis.queries import query_parameters
from chassis.serializers import MAX_NAMED, StrictSerializer, printable_name
from gateway import bodies
from gateway.identity import attempts, keys, sessions
from gateway.identity.authentication import Caller
from gateway.identity.models import Session
from gateway.policy import access
from gateway.policy.rejections import InvalidToken, RequestRejected

from .context import APIRequest, client_of

# What the users service takes at the most.
USERNAME_LENGTH = 150
PASSWORD_LENGTH = 1024


@extend_schema_serializer(
    examples=[OpenApiExample("The demo user", {"username": "user", "password": "u"}, request_only=True)]
)
class LoginSerializer(StrictSerializer):
    """Name and password; the rest is what OAuth 2 clients send along (RFC 6749, section 4.3.2).

    Of that only `grant_type` is looked at: it is `password`, or left out.
    """

    username = serializers.CharField(max_length=USERNAME_LENGTH)
    password = serializers.CharField(
        max_length=PASSWORD_LENGTH, trim_whitespace=False, style={"input_type": "password"}
    )
    grant_type = serializers.CharField(required=False, allow_blank=True)
    scope = serializers.CharField(required=False, allow_blank=True)
    client_id = serializers.CharField(required=False, allow_blank=True)
    client_secret = serializers.CharField(required=False, allow_blank=True)


class RefreshSerializer(StrictSerializer):
    """The refresh token, to be used once."""

    refresh_token = serializers.CharField(max_length=4096)


class TokensSerializer(serializers.Serializer[Any]):
    """An access token for the `Authorization` header, and the refresh token that buys the next pair."""

    access_token = serializers.CharField()
    token_type = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds until the access token expires.")
    refresh_token = serializers.CharField()


TOKENS: dict[Any, Any] = {
    200: TokensSerializer,
    401: OpenApiResponse(description="The credentials are wrong."),
    429: OpenApiResponse(description="Too many failed sign-ins."),
}
FOR_ADMINS: dict[Any, Any] = {403: OpenApiResponse(description="Only an admin may end another user's sessions.")}


def token_response(pair: sessions.TokenPair) -> Response:
    """Return the pair, not to be stored on its way (RFC 6749, section 5.1)."""
    return Response(asdict(pair), headers={"Cache-Control": "no-store"})


class WrongCredentials(RequestRejected):
    """The username or the password is wrong; the response does not tell which."""

    status = 401
    code = "wrong_credentials"

    def __init__(self) -> None:
        super().__init__("Wrong username or password.", {"WWW-Authenticate": 'Bearer realm="api"'})


class UnsupportedGrantType(RequestRejected):
    """The client asks for another of OAuth's grants; `error` is its word for that (RFC 6749, section 5.2)."""

    status = 400
    code = "unsupported_grant_type"
    error = "unsupported_grant_type"

    def __init__(self) -> None:
        super().__init__("Unsupported grant_type. Send grant_type=password, or leave it out.")


class StrictFormParser(FormParser):
    """A form that has each field once: readers differ in which of two counts."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:  # noqa: ANN401  # DRF's signature
        """Return the fields; raise `ValidationError` that names each one that is there more often."""
        fields = super().parse(stream, media_type, parser_context)
        errors = {
            printable_name(name): [f"This field is there {len(values)} times. Send it once."]
            for name, values in fields.lists()
            if len(values) > 1
        }
        if errors:
            raise serializers.ValidationError(dict(list(errors.items())[:MAX_NAMED]))
        return fields


class OwnView(APIView):
    """An endpoint of the gateway's own, with its own bound on the body."""

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:  # noqa: ANN401  # DRF's signature
        """Read as UTF-8 alone (RFC 8259, section 8.1): a `charset` could name a codec that unpacks."""
        request.encoding = "utf-8"
        if not request.content_type:
            request.META["CONTENT_TYPE"] = ""  # DRF would read again what cannot be read, and raise
        return super().initialize_request(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # DRF's signature
        """Reject a body that is too large before anything reads it."""
        super().initial(request, *args, **kwargs)
        bodies.check_length(request.META, settings.MAX_BODY)


@extend_schema(tags=["session"])
class LoginView(OwnView):
    """Begins a session."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    parser_classes = (StrictJSONParser, StrictFormParser)

    # A form is for clients of OAuth 2: the document has it as the flow of the security scheme.
    @extend_schema(operation_id="login", request={"application/json": LoginSerializer}, responses=TOKENS)
    def post(self, request: APIRequest) -> Response:
        """Sign in with name and password."""
        data = LoginSerializer(data=request.data)
        data.is_valid(raise_exception=True)
        # Sent without a value it counts as left out (RFC 6749, section 3.2).
        if data.validated_data.get("grant_type") not in {None, "", "password"}:
            raise UnsupportedGrantType
        client, runtime = client_of(request), request.gateway.runtime
        account = attempts.account_by_password(
            runtime.login,
            username=data.validated_data["username"],
            password=data.validated_data["password"],
            address=client.address,
        )
        if account is None:
            raise WrongCredentials
        return token_response(runtime.sessions.begin(account=account, client=client))


@extend_schema(tags=["session"])
class RefreshView(OwnView):
    """Goes on with a session."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(operation_id="token_refresh", request=RefreshSerializer, responses=TOKENS)
    def post(self, request: APIRequest) -> Response:
        """Exchange a refresh token for the next pair.

        A token that was used before ends the session.
        """
        data = RefreshSerializer(data=request.data)
        data.is_valid(raise_exception=True)
        pair = request.gateway.runtime.sessions.refresh(
            refresh_token=data.validated_data["refresh_token"], grace=settings.REFRESH_GRACE, client=client_of(request)
        )
        return token_response(pair)


@extend_schema(tags=["session"])
class LogoutView(OwnView):
    """Ends a session."""

    @extend_schema(operation_id="logout", request=None, responses={204: None})
    def post(self, request: APIRequest) -> Response:
        """Sign out.

        This ends the session of the access token. All its tokens are rejected within two seconds.
        """
        identity, address = cast("Caller", request.user).identity, request.gateway.headers.address
        sessions.sign_out(
            session_id=identity.session, user_id=identity.user_id, username=identity.username, address=address
        )
        return Response(status=204)


class SessionSerializer(serializers.Serializer[Session]):
    """A session, for its user to recognise."""

    id = serializers.CharField()
    created_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(help_text="When it began, or was last refreshed.")
    client_address = serializers.CharField(help_text="Where it was last used from.")
    user_agent = serializers.CharField(help_text="What it was last used with, in that program's own words.")
    current = serializers.SerializerMethodField(help_text="Whether this request belongs to it.")

    def get_current(self, session: Session) -> bool:
        """Return whether the one who asks is in this session."""
        return session.id == cast("str", self.context["current"])


class SessionPages(CursorPages):
    """CursorPages of sessions, the one that began last first."""

    newest_by = ("created_at", "id")


@extend_schema(tags=["session"])
class SessionsView(OwnView):
    """The caller's sessions."""

    pagination_class = SessionPages

    @extend_schema(operation_id="sessions_list", responses=SessionSerializer(many=True))
    def get(self, request: APIRequest) -> Response:
        """List your open sessions."""
        query_parameters(request, PARAMETERS)
        identity = cast("Caller", request.user).identity
        pages = self.pagination_class()
        page = pages.paginate_queryset(sessions.open_sessions(identity.user_id), request, self)
        shown = SessionSerializer(cast("Any", page), many=True, context={"current": identity.session})
        return pages.get_paginated_response(shown.data)


@extend_schema(tags=["session"])
class SessionView(OwnView):
    """One of the caller's sessions."""

    @extend_schema(operation_id="session_end", request=None, responses={204: None})
    def delete(self, request: APIRequest, session_id: str) -> Response:
        """End one of your sessions.

        All its tokens are rejected within two seconds.
        """
        identity = cast("Caller", request.user).identity
        if not sessions.open_sessions(identity.user_id).filter(id=session_id).exists():
            raise NotFound("You have no open session with this id.")
        sessions.session_end(session_id=session_id)
        sessions.log_ends(1, user_id=identity.user_id, by=identity, address=request.gateway.headers.address)
        return Response(status=204)


@extend_schema(tags=["session"])
class UserSessionsView(OwnView):
    """All sessions of one user."""

    @extend_schema(operation_id="user_sessions_end", request=None, responses={204: None} | FOR_ADMINS)
    def delete(self, request: APIRequest, user_id: str) -> Response:
        """End all sessions of a user.

        The user may sign in again. For: admin; with `me` as the id, any signed-in user.
        """
        identity = cast("Caller", request.user).identity
        if user_id == "me":
            user_id = identity.user_id
        else:
            access.check(("admin",), identity)
        ended = sessions.sessions_end(user_id=user_id, session_epoch=None, kept_session="")
        if not ended:
            try:
                request.gateway.runtime.login.account_by_id(user_id)
            except InvalidToken as exc:
                raise NotFound("No active user, and no open session, has this id.") from exc
        sessions.log_ends(ended, user_id=user_id, by=identity, address=request.gateway.headers.address)
        return Response(status=204)


@extend_schema(exclude=True)
class JWKSView(OwnView):
    """The public keys (RFC 7517, section 5)."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request: APIRequest) -> Response:
        """Return the keys that verify tokens and passports."""
        return Response(request.gateway.runtime.keys.current().jwks(), headers=keys.PUBLIC_HEADERS)
