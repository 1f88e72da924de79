"""The admin's pages, behind the gateway: who is asking is who the passport says, and what their pages may do."""

import json
from typing import cast

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.request import Request

from chassis import problems
from chassis.middleware import GetResponse
from chassis.passports import PassportAuthentication

from .models import User

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
        raise AuthenticationFailed("No passport. Send the request through the gateway.", code="not_authenticated")
    if accepted[0].role != User.Type.ADMIN:
        return None
    return cast("User | None", User.objects.active_admins().filter(pk=accepted[0].pk).first())


def session_of(request: HttpRequest) -> str:
    """Return the session in which the admin asks, `""` where the passport says none.

    DRF's own `Request.auth` would put the passport's user in the place of Django's `request.user`.
    """
    accepted = PassportAuthentication().authenticate(Request(request))
    sid = accepted[1].get("sid") if accepted else None
    return sid if isinstance(sid, str) else ""


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
            response = problems.problem_of(request, exc)
            if exc.status_code == 401:
                response.headers["WWW-Authenticate"] = 'Bearer realm="api"'
            return response
        if admin is None:
            return problems.problem(request, 403, "This page is for the role admin.", code="permission_denied")
        request.user = admin
        return self.get_response(request)


def is_for_a_person(request: HttpRequest) -> bool:
    """Return whether a browser asks for a page."""
    return "text/html" in request.headers.get("Accept", "")


def page_of(request: HttpRequest, problem: HttpResponse) -> HttpResponse:
    """Return the problem as a page, with a way on."""
    context = {
        "problem": json.loads(problem.content),
        "again": request.get_full_path(),
        "sent": request.method == "POST",
    }
    page = HttpResponse(render_to_string("admin/problem.html", context), status=problem.status_code)
    for name in ("Retry-After", "WWW-Authenticate"):
        if name in problem.headers:
            page.headers[name] = problem.headers[name]
    page.headers["Cache-Control"] = "no-store"
    return page


class SecurityHeaders:
    """Says to browsers what the admin's pages, and its files, may do; to people, what is wrong as a page."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        response = self.get_response(request)
        if request.path_info.startswith(ADMIN):
            if response.headers.get("Content-Type") == problems.MEDIA_TYPE and is_for_a_person(request):
                response = page_of(request, response)
            for name, value in HEADERS.items():
                response.headers[name] = value
            if request.is_secure():
                response.headers["Strict-Transport-Security"] = HSTS
        return response
