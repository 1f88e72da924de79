"""A person's browser: the two cookies that keep it signed in, and their renewal while it is in use."""

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from chassis import problems
from chassis.middleware import Middleware
from gateway.identity import sessions
from gateway.identity.sessions import TokenPair
from gateway.policy import cookies, origins
from gateway.policy.rejections import InvalidToken, RequestRejected

from .context import WebRequest, client_of, parse_request
from .drf import REJECTIONS, problem_of
from .upstream_responses import forbid_storing


def cookies_set(response: HttpResponseBase, pair: TokenPair, scheme: str) -> None:
    """Store the pair in the browser, each token for its lifetime."""
    lifetime = int(sessions.lifetime("REFRESH_TOKEN_LIFETIME").total_seconds())
    for name, token, seconds in (
        (cookies.ACCESS, pair.access_token, pair.expires_in),
        (cookies.REFRESH, pair.refresh_token, lifetime),
    ):
        response.set_cookie(
            cookies.name_over(name, scheme),
            token,
            max_age=seconds,
            secure=scheme == "https",
            httponly=True,
            samesite="Lax",
        )
    forbid_storing(response)


def cookies_drop(response: HttpResponseBase, scheme: str) -> None:
    for name in (cookies.ACCESS, cookies.REFRESH):
        # `__Host-` needs Secure, to be forgotten too.
        response.set_cookie(
            cookies.name_over(name, scheme), "", max_age=0, secure=scheme == "https", httponly=True, samesite="Lax"
        )
    forbid_storing(response)


class RefreshSession(Middleware):
    """Renews a browser's access token in the last fifth of its lifetime, or after it, if its refresh token is valid.

    The request continues with the new one, and the response sets both cookies.
    """

    def __call__(self, request: WebRequest) -> HttpResponse:
        try:
            context = request.gateway
            incoming, gate = context.request, context.runtime.gate
            if not gate.can_refresh(incoming, sessions.lifetime("ACCESS_TOKEN_LIFETIME").total_seconds() / 5):
                return self.get_response(request)
            scheme, host = context.origin()
            origins.check_same_origin(incoming.method, incoming.headers.pairs, scheme, host)
        except RequestRejected:
            # Not to be decided here: the view comes to it, if it matters there.
            return self.get_response(request)
        token = cookies.read(incoming.headers.pairs, cookies.REFRESH, scheme) or ""
        try:
            pair = context.runtime.sessions.refresh(
                refresh_token=token, grace=sessions.BROWSER_GRACE, client=client_of(request)
            )
        except REJECTIONS as exc:
            problem = problem_of(exc, request.method)
            if not gate.can_refresh(incoming):
                # It was early: the access token is still valid.
                return self.get_response(request)
            if not isinstance(exc, InvalidToken):
                return problems.problem_of(request, problem)
            response = self.get_response(request)
            if not response.cookies:
                cookies_drop(response, scheme)
            return response
        carry(request, pair, scheme)
        response = self.get_response(request)
        # A sign-in or a sign-out has set its own.
        if not response.cookies:
            cookies_set(response, pair, scheme)
        return response


def carry(request: WebRequest, pair: TokenPair, scheme: str) -> None:
    """Replace the request's cookies by this pair."""
    others = [
        f"{name}={value}" for name, value in cookies.pairs(list(request.headers.items())) if not cookies.is_own(name)
    ]
    own = [
        f"{cookies.name_over(cookies.ACCESS, scheme)}={pair.access_token}",
        f"{cookies.name_over(cookies.REFRESH, scheme)}={pair.refresh_token}",
    ]
    request.META["HTTP_COOKIE"] = "; ".join([*others, *own])
    for read_before in ("headers", "COOKIES"):
        request.__dict__.pop(read_before, None)
    request.gateway = parse_request(request, request.gateway.runtime)
