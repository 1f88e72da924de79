"""The pages to sign in and to sign out."""

from contextlib import suppress
from typing import cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views import View

from gateway import bodies
from gateway.identity import attempts, sessions, storage
from gateway.policy import cookies, origins
from gateway.policy.rejections import BadRequest, CrossOrigin, InvalidToken, RateLimited, RequestRejected, UpstreamError

from . import browsers
from .api import PASSWORD_LENGTH, USERNAME_LENGTH, WrongCredentials
from .context import WebRequest, client_of

FORM = "application/x-www-form-urlencoded"
# What is raised once a form has been read.
READ = (WrongCredentials, RateLimited, UpstreamError, storage.StoreBusy, storage.StoreFull)


class Redirect(HttpResponseRedirect):
    """On to another page, with GET (RFC 9110, section 15.4.4)."""

    status_code = 303


def check_origin(request: WebRequest) -> None:
    """Raise `CrossOrigin` unless a page of ours sent the form."""
    scheme, host = request.gateway.origin()
    if not origins.is_same_origin(request.gateway.headers.pairs, scheme, host):
        raise CrossOrigin("Expected this form to be sent from this page.")


def form(request: WebRequest) -> dict[str, str]:
    """Return a form's fields; raise `RequestRejected` for what is none, or too long."""
    length = bodies.check_length(request.META, settings.MAX_BODY)
    if length is None or request.content_type != FORM:
        raise BadRequest(f"Expected a form: {FORM}, with a Content-Length.")
    request.encoding = "utf-8"
    if any(len(values) > 1 for _, values in request.POST.lists()):
        raise BadRequest("A field of this form is there twice. Send each once.")
    return {name: str(value) for name, value in request.POST.items()}


class Page(View):
    """A page with one form, which says what was wrong with it."""

    template: str

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        """Answer; a refusal is the page again, with what was expected."""
        try:
            with storage.as_rejections():
                response: HttpResponse = super().dispatch(request, *args, **kwargs)  # type: ignore[assignment]
        except RequestRejected as refused:
            response = self.page(cast("WebRequest", request), refused)
        response.headers["Cache-Control"] = "no-store"
        return response

    def page(self, request: WebRequest, refused: RequestRejected | None = None) -> HttpResponse:
        """Return the page."""
        # A body that was refused is not read.
        said = request.POST if isinstance(refused, READ) else request.GET
        shown = {
            "next": origins.own_path(said.get("next")),
            "username": said.get("username", "") if refused else "",
            "problem": explained(refused) if refused else "",
            "signed_out": "signed-out" in request.GET and not refused,
        }
        response = render(request, self.template, shown, status=refused.status if refused else 200)
        for name, value in (refused.headers if refused else {}).items():
            response.headers[name] = value
        return response


def explained(refused: RequestRejected) -> str:
    """Return what to tell a person."""
    if isinstance(refused, RateLimited):
        seconds = int(refused.headers["Retry-After"])
        wait = f"{seconds} seconds" if seconds < 120 else f"{-(-seconds // 60)} minutes"
        return f"Too many sign-ins have failed. Try again in {wait}."
    return refused.detail


class LoginPage(Page):
    """Signs in with name and password, and goes on to the page that was asked for."""

    template = "gateway/login.html"

    def get(self, request: WebRequest) -> HttpResponse:
        """Return the form; go on, where there is nothing left to do."""
        if request.gateway.signed_in():
            return Redirect(origins.own_path(request.GET.get("next")))
        return self.page(request)

    def post(self, request: WebRequest) -> HttpResponse:
        """Begin a session, and go on."""
        check_origin(request)
        said = form(request)
        username, password = said.get("username", ""), said.get("password", "")
        if not (0 < len(username) <= USERNAME_LENGTH and 0 < len(password) <= PASSWORD_LENGTH):
            raise WrongCredentials
        client, runtime = client_of(request), request.gateway.runtime
        account = attempts.account_by_password(
            runtime.login, username=username, password=password, address=client.address
        )
        if account is None:
            raise WrongCredentials
        end_session(request)
        response = Redirect(origins.own_path(said.get("next")))
        pair = runtime.sessions.begin(account=account, client=client)
        browsers.cookies_set(response, pair, request.gateway.origin()[0])
        return response


class LogoutPage(Page):
    """Ends the browser's session."""

    template = "gateway/logout.html"

    def get(self, request: WebRequest) -> HttpResponse:
        """Ask: a link must not sign anyone out."""
        return self.page(request) if request.gateway.signed_in() else Redirect("/login/")

    def post(self, request: WebRequest) -> HttpResponse:
        """End the session, and have the browser forget it."""
        check_origin(request)
        end_session(request)
        response = Redirect("/login/?signed-out")
        browsers.cookies_drop(response, request.gateway.origin()[0])
        return response


def end_session(request: WebRequest) -> None:
    """End the session that the browser is in, if any, whichever of its two tokens still holds."""
    scheme, _ = request.gateway.origin()
    if identity := request.gateway.signed_in():
        sessions.session_end(session_id=identity.session)
    if token := cookies.read(request.gateway.headers.pairs, cookies.REFRESH, scheme):
        with suppress(InvalidToken):
            session, _ = request.gateway.runtime.sessions.find(token)
            sessions.session_end(session_id=session.id)
