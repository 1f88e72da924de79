"""Login, refresh, logout and the public keys."""

from dataclasses import asdict
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.parsers import FormParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from gateway import bodies
from gateway.inputs import StrictJSONParser, StrictSerializer
from gateway.policy import clients
from gateway.policy.refusals import Refused

from . import attempts, credentials, keys, sessions
from .authentication import Caller

# What the users service takes at the most.
USERNAME_LENGTH = 150
PASSWORD_LENGTH = 1024


class Login(StrictSerializer):
    """Name and password; the rest is what OAuth 2 clients send along (RFC 6749, section 4.3.2) and is not looked at."""

    username = serializers.CharField(max_length=USERNAME_LENGTH)
    password = serializers.CharField(
        max_length=PASSWORD_LENGTH, trim_whitespace=False, style={"input_type": "password"}
    )
    grant_type = serializers.CharField(required=False, allow_blank=True)
    scope = serializers.CharField(required=False, allow_blank=True)
    client_id = serializers.CharField(required=False, allow_blank=True)
    client_secret = serializers.CharField(required=False, allow_blank=True)


class Refresh(StrictSerializer):
    """The refresh token, to be used once."""

    refresh_token = serializers.CharField(max_length=4096)


class Tokens(serializers.Serializer[Any]):
    """An access token for the `Authorization` header, and the refresh token that buys the next pair."""

    access_token = serializers.CharField()
    token_type = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds until the access token expires.")
    refresh_token = serializers.CharField()


def answer(pair: sessions.TokenPair) -> Response:
    """Return the pair, not to be stored on its way (RFC 6749, section 5.1)."""
    return Response(asdict(pair), headers={"Cache-Control": "no-store"})


def client_address(request: HttpRequest | Request) -> str:
    """Return the client's address: the peer's, or the one that proxies of ours have forwarded for."""
    forwarded_for = request.META.get("HTTP_X_FORWARDED_FOR", "")
    return clients.address(request.META.get("REMOTE_ADDR", ""), [forwarded_for], settings.TRUSTED_PROXIES)


class WrongCredentials(Refused):
    """Nobody has this name and this password; which of the two is wrong is not said."""

    status = 401

    def __init__(self) -> None:
        super().__init__("Wrong username or password.", {"WWW-Authenticate": 'Bearer realm="api"'})


class OwnView(APIView):
    """An endpoint of the gateway's own, with its own bound on the body."""

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:  # noqa: ANN401  # DRF's signature
        """Read as UTF-8 alone (RFC 8259, section 8.1): a `charset` could name a codec that unpacks."""
        request.encoding = "utf-8"
        return super().initialize_request(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # DRF's signature
        """Refuse a body that is too large before anything reads it."""
        super().initial(request, *args, **kwargs)
        bodies.check_length(request.META, settings.MAX_BODY)


@extend_schema(tags=["session"])
class LoginView(OwnView):
    """Begins a session."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    parser_classes = (StrictJSONParser, FormParser)

    @extend_schema(operation_id="login", request=Login, responses=Tokens)
    def post(self, request: Request) -> Response:
        """Sign in with name and password."""
        data = Login(data=request.data)
        data.is_valid(raise_exception=True)
        account = attempts.account_by_password(
            username=data.validated_data["username"],
            password=data.validated_data["password"],
            address=client_address(request),
        )
        if account is None:
            raise WrongCredentials
        return answer(sessions.session_begin(account=account))


@extend_schema(tags=["session"])
class RefreshView(OwnView):
    """Goes on with a session."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(operation_id="token_refresh", request=Refresh, responses=Tokens)
    def post(self, request: Request) -> Response:
        """Exchange a refresh token for the next pair. A token that was used before ends the session."""
        data = Refresh(data=request.data)
        data.is_valid(raise_exception=True)
        session, jti = sessions.session_of(data.validated_data["refresh_token"])
        if session.refresh_jti != jti:
            sessions.session_reused(session=session)
        account = credentials.account_by_id(session.user_id)
        return answer(sessions.session_refresh(session=session, jti=jti, account=account))


@extend_schema(tags=["session"])
class LogoutView(OwnView):
    """Ends a session."""

    @extend_schema(operation_id="logout", request=None, responses={204: None})
    def post(self, request: Request) -> Response:
        """End the session that the access token belongs to; its tokens are refused everywhere within two seconds."""
        sessions.session_end(session_id=cast("Caller", request.user).identity.session)
        return Response(status=204)


@extend_schema(exclude=True)
class JWKSView(OwnView):
    """The public keys (RFC 7517, section 5)."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request: Request) -> Response:
        """Return the keys that verify tokens and passports."""
        return Response(keys.ring().jwks(), headers={"Cache-Control": f"public, max-age={keys.MAX_AGE}"})
