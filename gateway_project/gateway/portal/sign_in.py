"""The pages to sign in and to sign out."""

from contextlib import suppress
from typing import cast

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import render
from django.views import View
from rest_framework.exceptions import APIException

from chassis import problems
from gateway import bodies
from gateway.identity import attempts, sessions
from gateway.policy import cookies, origins
from gateway.policy.rejections import BadRequest, CrossOrigin, InvalidToken, RateLimited, UpstreamError

from . import browsers
from .api import PASSWORD_LENGTH, USERNAME_LENGTH, WrongCredentials
from .context import WebRequest, client_of
from .drf import REJECTIONS, problem_of
from .schemas import FORM, MULTIPART

# What is raised once a form has been read.
READ = (WrongCredentials, RateLimited, UpstreamError, DatabaseError, InterfaceError)


class Redirect(HttpResponseRedirect):
    """To another page, with GET (RFC 9110, section 15.4.4)."""

    status_code = 303


def check_origin(request: WebRequest) -> None:
    """Raise `CrossOrigin` unless the gateway's own page sent the form."""
    scheme, host = request.gateway.origin()
    if not origins.is_same_origin(request.gateway.headers.pairs, scheme, host):
        raise CrossOrigin("The form was not sent from this page. A program signs in with POST /api/login.")


def posted(request: WebRequest, most: int | None = None) -> QueryDict:
    """Return the form that a browser sent; raise `RequestRejected` for a body that is not one, or is too large.

    With `most`, its bound in bytes, it may have files.
    """
    length = bodies.check_length(request.META, most or settings.MAX_BODY)
    kinds = (FORM, MULTIPART) if most else (FORM,)
    if length is None or request.content_type not in kinds:
        raise BadRequest(f"The body is not a form. Send {' or '.join(kinds)}, with a Content-Length.")
    request.encoding = "utf-8"
    try:
        return request.POST
    except (MultiPartParserError, SuspiciousOperation, UnreadablePostError) as exc:
        raise BadRequest("The form is malformed, or has too many fields. Send it as a browser does.") from exc


def form(request: WebRequest) -> dict[str, str]:
    """Return the fields of a form without files, each of which is there once. Raises `RequestRejected`."""
    fields = posted(request)
    if any(len(values) > 1 for _, values in fields.lists()):
        raise BadRequest("A field of this form is there twice. Send each once.")
    return {name: str(value) for name, value in fields.items()}


class Page(View):
    """A page with one form, which shows the form's problem."""

    template: str

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        """Respond; after a rejection with the same page, which shows the problem."""
        try:
            response: HttpResponse = super().dispatch(request, *args, **kwargs)  # type: ignore[assignment]
        except REJECTIONS as exc:
            problem = problem_of(exc, request.method)
            # A rejected body is not read.
            fields = request.POST if isinstance(exc, READ) else request.GET
            response = self.page(cast("WebRequest", request), problem, fields)
        response.headers["Cache-Control"] = "no-store"
        return response

    def page(
        self, request: WebRequest, problem: APIException | None = None, fields: QueryDict | None = None
    ) -> HttpResponse:
        values = request.GET if fields is None else fields
        shown = {
            "next": origins.own_path(values.get("next")),
            "username": values.get("username", "") if problem else "",
            "problem": _explanation(problem) if problem else "",
            "signed_out": "signed-out" in request.GET and not problem,
        }
        response = render(request, self.template, shown, status=problem.status_code if problem else 200)
        for name, value in problems.headers_of(problem).items() if problem else ():
            response.headers[name] = value
        return response


def _explanation(problem: APIException) -> str:
    if problem.status_code == RateLimited.status:
        return (
            f"Too many sign-ins have failed. Try again in {duration(int(problems.headers_of(problem)['Retry-After']))}."
        )
    return str(problem.detail)


def duration(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{-(-seconds // 60)} minutes"


class LoginPage(Page):
    """Signs in with name and password, then redirects to the requested page."""

    template = "gateway/login.html"

    def get(self, request: WebRequest) -> HttpResponse:
        if request.gateway.signed_in():
            return Redirect(origins.own_path(request.GET.get("next")))
        return self.page(request)

    def post(self, request: WebRequest) -> HttpResponse:
        check_origin(request)
        fields = form(request)
        username, password = fields.get("username", ""), fields.get("password", "")
        if not (0 < len(username) <= USERNAME_LENGTH and 0 < len(password) <= PASSWORD_LENGTH):
            raise WrongCredentials
        client, runtime = client_of(request), request.gateway.runtime
        account = attempts.account_by_password(
            runtime.login, username=username, password=password, address=client.address
        )
        if account is None:
            raise WrongCredentials
        end_session(request)
        response = Redirect(origins.own_path(fields.get("next")))
        pair = runtime.sessions.begin(account=account, client=client)
        browsers.cookies_set(response, pair, request.gateway.origin()[0])
        return response


class LogoutPage(Page):
    """Ends the browser's session."""

    template = "gateway/logout.html"

    def get(self, request: WebRequest) -> HttpResponse:
        return self.page(request) if request.gateway.signed_in() else Redirect("/login/")

    def post(self, request: WebRequest) -> HttpResponse:
        check_origin(request)
        end_session(request)
        response = Redirect("/login/?signed-out")
        browsers.cookies_drop(response, request.gateway.origin()[0])
        return response


def end_session(request: WebRequest) -> None:
    """End the browser's session, if one of its two tokens is valid."""
    scheme, _ = request.gateway.origin()
    if identity := request.gateway.signed_in():
        address = request.gateway.headers.address
        sessions.sign_out(
            session_id=identity.session, user_id=identity.user_id, username=identity.username, address=address
        )
    if token := cookies.read(request.gateway.headers.pairs, cookies.REFRESH, scheme):
        with suppress(InvalidToken):
            session, _ = request.gateway.runtime.sessions.find(token)
            sessions.session_end(session_id=session.id)
