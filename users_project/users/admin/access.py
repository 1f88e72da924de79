"""Access to the admin by passport, and the security headers of its pages."""

import json
from typing import cast

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.request import Request

from chassis import problems
from chassis.middleware import GetResponse
from chassis.passports import PassportAuthentication
from users.models import User

PREFIX = "/admin/"
# Everything from here; no script in the page itself. The admin's own widgets style what they make.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    # With `no-referrer` browsers would send forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HSTS = "max-age=31536000"  # seconds: a year
_KEPT_HEADERS = ("Retry-After", "WWW-Authenticate", "X-Request-ID")


def session_of(request: HttpRequest) -> str:
    """Return the session in which the admin asks, or "" if the passport has none."""
    # DRF's own `Request.auth` would replace Django's `request.user` by the passport's.
    accepted = PassportAuthentication().authenticate(Request(request))
    sid = accepted[1].get("sid") if accepted else None
    return sid if isinstance(sid, str) else ""


def _admin_of(request: HttpRequest) -> User | None:
    """Return the active admin whom the passport names, None for another user. Raises DRF's `APIException`."""
    accepted = PassportAuthentication().authenticate(Request(request))
    if accepted is None:
        raise AuthenticationFailed("The request has no passport. Send it through the gateway.")
    if accepted[0].role != User.Type.ADMIN:
        return None
    return cast("User | None", User.objects.active_admins().filter(pk=accepted[0].pk).first())


class PassportAdminMiddleware:
    """Lets an admin in for this one request, by the passport. There is no sign-in here.

    Django's own sessions are ignored, so that they can neither outlive nor replace the passport.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        try:
            admin = _admin_of(request)
        except APIException as exc:
            return problems.problem_of(request, exc)
        if admin is None:
            return problems.problem(request, 403, "This page is for admins.", code="permission_denied")
        request.user = admin
        return self.get_response(request)


class AdminPagesMiddleware:
    """Adds the security headers to the admin's pages, and shows a problem to a browser as a page."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not request.path_info.startswith(PREFIX):
            return response
        is_problem = response.headers.get("Content-Type") == problems.MEDIA_TYPE
        if is_problem and "text/html" in request.headers.get("Accept", ""):
            response = _problem_page(request, response)
        for name, value in _HEADERS.items():
            response.headers[name] = value
        if request.is_secure():
            response.headers["Strict-Transport-Security"] = _HSTS
        return response


def _problem_page(request: HttpRequest, problem: HttpResponse) -> HttpResponse:
    context = {
        "problem": json.loads(problem.content),
        "again": request.get_full_path(),
        "sent": request.method == "POST",
    }
    page = HttpResponse(render_to_string("admin/problem.html", context), status=problem.status_code)
    for name in _KEPT_HEADERS:
        if name in problem.headers:
            page.headers[name] = problem.headers[name]
    page.headers["Cache-Control"] = "no-store"
    return page
