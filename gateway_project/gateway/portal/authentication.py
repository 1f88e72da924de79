"""Who is asking, for DRF's own views: what `gate` decides on every route."""

from typing import Any, cast

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from gateway.identity.authentication import Caller
from gateway.policy.rejections import RequestRejected

from .context import APIRequest


class CallerAuthentication(BaseAuthentication):
    """By `Authorization: Bearer <access token>`, or by a browser's cookie."""

    def authenticate(self, request: Request) -> tuple[Caller, None] | None:
        """Return the caller; `None` without credentials, which is 401 where a login is required."""
        try:
            identity = cast("APIRequest", request).gateway.identify()
        except RequestRejected:
            # The page of this error reads `request.user`, which must not fail again. DRF does so for its own errors.
            cast("Any", request)._not_authenticated()  # noqa: SLF001
            raise
        if identity is None:
            return None
        request.META["HTTP_REQUEST_USER_ID"] = identity.user_id
        return Caller(identity), None

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401 (RFC 6750, section 3)."""
        return 'Bearer realm="api"'
