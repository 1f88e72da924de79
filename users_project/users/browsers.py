"""The admin's pages, behind the gateway: who is asking is who the passport says, and what their pages may do."""

from typing import cast

from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.request import Request

from . import problems
from .middleware import GetResponse
from .models import User
from .passports import PassportAuthentication

ADMIN = "/admin/"
# Everything from here; no script in the page itself. The admin's own widgets style what they make.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # With `no-referrer` browsers would send forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Seconds; a year.
HSTS = "max-age=31536000"


def admin_of(request: HttpRequest) -> User | None:
    """Return the active admin that the request's passport speaks for; `None` for anyone else's passport.

    Raise `AuthenticationFailed` without a passport that holds, `Unavailable` where that cannot be told.
    """
    accepted = PassportAuthentication().authenticate(Request(request))
    if accepted is None:
        raise AuthenticationFailed("Expected a passport of the gateway's.")
    if accepted[0].role != User.Type.ADMIN:
        return None
    return cast("User | None", User.objects.active_admins().filter(pk=accepted[0].pk).first())


class AdminByPassport:
    """Lets into the admin whoever the passport says is an admin, for this one request: there is no sign-in of its own.

    Whatever a session of Django's says about a user is not asked, so that it can neither outlive nor replace the
    passport.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        if not request.path_info.startswith(ADMIN):
            return self.get_response(request)
        try:
            admin = admin_of(request)
        except APIException as exc:
            headers = {"WWW-Authenticate": 'Bearer realm="api"'} if exc.status_code == 401 else None
            return problems.problem(request, exc.status_code, said(exc), headers=headers)
        if admin is None:
            return problems.problem(request, 403, "Expected the role admin.")
        request.user = admin
        return self.get_response(request)


def said(exc: APIException) -> str:
    """Return what an error says, whether in one piece or, as Simple JWT does, with details."""
    detail = exc.detail
    return str(detail.get("detail", exc.default_detail)) if isinstance(detail, dict) else str(detail)


class SecurityHeaders:
    """Says to browsers what the admin's pages, and its files, may do."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        response = self.get_response(request)
        if request.path_info.startswith(ADMIN):
            for name, value in HEADERS.items():
                response.headers[name] = value
            if request.is_secure():
                response.headers["Strict-Transport-Security"] = HSTS
        return response
