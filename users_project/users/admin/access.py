"""Access to the admin by passport, and the security headers of its pages."""

import json

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from chassis import problems, security
from chassis.middleware import Middleware
from chassis.passports import PassportAuthentication
from users.models import User

PREFIX = "/admin/"
# Django's SecurityMiddleware adds the others.
_HEADERS = {"Content-Security-Policy": security.PAGE_POLICY} | {
    name: security.HEADERS[name] for name in ("Permissions-Policy", "Cross-Origin-Resource-Policy")
}


class PassportAdminMiddleware(Middleware):
    """Lets an admin in for this one request, by the passport. There is no sign-in here.

    Django's own sessions are ignored, so that they can neither outlive nor replace the passport.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        try:
            accepted = PassportAuthentication().authenticate(Request(request))
        except APIException as exc:
            return problems.problem_of(request, exc)
        if accepted is None:
            detail = "The request has no passport. Send it through the gateway."
            return problems.problem(request, 401, detail, code="authentication_failed")
        caller = accepted[0]
        admin = User.objects.active_admins().filter(pk=caller.pk).first() if caller.role == User.Type.ADMIN else None
        if admin is None:
            return problems.problem(request, 403, "This page is for admins.", code="permission_denied")
        request.user = admin
        request.session_id = caller.sid or ""  # type: ignore[attr-defined]  # ours
        return self.get_response(request)


class AdminPagesMiddleware(Middleware):
    """Adds the security headers to the admin's pages, and shows a problem to a browser as a page."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not request.path_info.startswith(PREFIX):
            return response
        is_problem = response.headers.get("Content-Type") == problems.MEDIA_TYPE
        if is_problem and "text/html" in request.headers.get("Accept", ""):
            _show_as_page(request, response)
        for name, value in _HEADERS.items():
            response.headers[name] = value
        return response


def _show_as_page(request: HttpRequest, problem: HttpResponse) -> None:
    document, sent = json.loads(problem.content), request.method == "POST"
    context = {"problem": document, "again": request.get_full_path(), "sent": sent}
    problem.content = render_to_string("admin/problem.html", context)
    problem.headers.pop("Content-Length", None)
    problem.headers["Content-Type"] = "text/html; charset=utf-8"
    problem.headers["Cache-Control"] = "no-store"
