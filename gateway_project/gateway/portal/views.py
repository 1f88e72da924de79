"""The DRF door: one view for every route."""

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase, ResponseHeaders
from django.shortcuts import render
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from gateway import bodies, configuration, gate, logs
from gateway.identity.authentication import Caller
from gateway.policy import origins
from gateway.policy.negotiation import prefers_page
from gateway.policy.refusals import NotAllowed, NotSignedIn, Refused
from gateway.policy.routes import Match
from gateway.upstreams import Answer, upstreams

from . import clients

# Bytes: an answer up to this size is read whole before its head is sent, so that one broken off is a 502.
WHOLE = 64 * 1024

# Headers that are about the JSON itself, not about a page that shows it.
NOT_SHOWN = {"content-type", "content-length", "content-security-policy"}
SANDBOX = "sandbox; default-src 'none'; frame-ancestors 'none'"


def wants_page(request: HttpRequest) -> bool:
    """Return whether a person's browser asks: it prefers HTML to JSON."""
    return prefers_page(request.headers.get("Accept", ""))


class Page(BrowsableAPIRenderer):
    """DRF's browsable API, for paths that are routes of gateway.yaml and not views of their own."""

    def get_breadcrumbs(self, request: Request) -> list[tuple[str, str]]:
        """Return the way here: the root and the path."""
        return [("Gatehouse", "/"), (request.path, request.path)]


class PageOrJSON(BaseContentNegotiation):
    """A browser gets the browsable API, everyone else what the service answered, whatever they accept."""

    def select_parser(self, request: Request, parsers: Any) -> Any:  # noqa: ANN401  # DRF's signature
        """Return no parser: a body is the service's to read."""
        return None

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> tuple[BaseRenderer, str]:  # noqa: ANN401
        """Return the renderer and its media type."""
        renderer: BaseRenderer = Page() if wants_page(request) else JSONRenderer()
        return renderer, str(renderer.media_type)


class ProxyView(APIView):
    """What a service answers, at the gateway."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    content_negotiation_class = PageOrJSON
    renderer_classes = (JSONRenderer, Page)
    schema = None
    match: Match | None = None

    def forward(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:  # noqa: ANN401  # DRF's signature
        """Decide on the request, send it on and answer with what comes back. Raises `Refused`."""
        http = request._request  # noqa: SLF001  # DRF's own name for what it wraps
        incoming = clients.taken_apart(http)
        self.match = match = gate.current().route(incoming.method, incoming.path, incoming.query)
        http.route_label = match.route.path  # type: ignore[attr-defined]
        if match.route.browser == "passthrough":
            self.headers = {}
        if match.answer_options:
            return Response(status=204, headers={"Allow": match.allow})
        admitted = gate.current().admit(incoming, match)
        if admitted.identity:
            request.user = cast("Any", Caller(admitted.identity))
            http.META["HTTP_REQUEST_USER_ID"] = admitted.identity.user_id
        body = bodies.read(http.META, match.route.max_body)
        page = match.route.browser == "api" and wants_page(http)
        answer = upstreams().send(
            match.route.service,
            incoming.method,
            admitted.target,
            timeouts=match.route.timeouts,
            headers=for_page(admitted.headers) if page else admitted.headers,
            body=body,
            host=admitted.host,
        )
        try:
            answer.headers = gate.current().public_headers(admitted, answer.status, answer.headers)
        except Refused:
            answer.close()
            raise
        return self.page(answer) if page else passed_on(answer, whole=http.method == "HEAD")

    def handle_exception(self, exc: Exception) -> Response:
        """Send a person on to where they wanted to; answer any other refusal as a problem.

        Who is not signed in goes to the page where they can. Who may not see a service's own pages is told so on a
        page, which is none of an API.
        """
        http = self.request._request  # noqa: SLF001  # DRF's own name for what it wraps
        if http.method in {"GET", "HEAD"}:
            path, query, _ = clients.target(http)
            mark = "?" if query else ""
            if isinstance(exc, NotSignedIn) and configuration.current().login is not None and wants_page(http):
                asked = quote(origins.own_path(f"{path}{mark}{query}"), safe="/")
                return redirect(f"/login/?next={asked}")
        if isinstance(exc, Refused) and self.match and self.match.route.browser == "passthrough" and wants_page(http):
            return refused_page(http, exc)
        return super().handle_exception(exc)

    # Whatever the method: the route says which are allowed.
    options = forward  # type: ignore[assignment]  # an answer that may not be DRF's
    http_method_not_allowed = forward  # type: ignore[assignment]

    def page(self, answer: Answer) -> HttpResponseBase:
        """Return the answer in the browsable API, or as it is where it is not JSON."""
        kept = answer.headers
        kind = next((value for name, value in kept if name.lower() == "content-type"), "")
        content = answer.read()
        if content and "json" not in kind.partition(";")[0]:
            # What an API hands out is no page of ours, whoever wrote it: it gets no scripts, and not our origin.
            return Passed(content, answer.status, [*kept, ("Content-Security-Policy", SANDBOX)])
        try:
            data = json.loads(content) if content else None
        except ValueError:
            return Passed(content, answer.status, kept)
        shown = {name: value for name, value in kept if name.lower() not in NOT_SHOWN}
        return Response(data, status=answer.status, headers=shown)

    @property
    def default_response_headers(self) -> dict[str, str]:
        """Add to a service's answer only that a browser would get another."""
        return {"Vary": "Accept"}

    @property
    def allowed_methods(self) -> list[str]:
        """The methods of the path, for the browsable API's forms."""
        return self.match.allow.split(", ") if self.match else []

    def get_view_name(self) -> str:
        """Return the page's heading."""
        return self.match.route.path if self.match else "Gatehouse"

    def get_view_description(self, html: bool = False) -> str:
        """Return what stands under the heading."""
        if self.match is None:
            return ""
        route = self.match.route
        allow = route.allow if isinstance(route.allow, str) else ", ".join(route.allow)
        return f"Service: {route.service}. Allowed: {allow}."


def redirect(location: str) -> Response:
    """Return the way to another path of ours, for now."""
    return cast("Response", HttpResponse(status=302, headers={"Location": location, "Cache-Control": "no-store"}))


def refused_page(request: HttpRequest, refused: Refused) -> Response:
    """Return what kept a service's own page from a person, as a page."""
    # What was sent is lost with the session; after a sign-in the page's form can be filled in again.
    is_unsaved = refused.status == HTTPStatus.UNAUTHORIZED and request.method not in origins.SAFE_METHODS
    path, query, _ = clients.target(request)
    shown = {
        "title": "Not signed in" if is_unsaved else HTTPStatus(refused.status).phrase,
        "detail": "Nothing was saved: you are not signed in any more." if is_unsaved else refused.detail,
        "sign_in_for": origins.own_path(f"{path}?{query}" if query else path)
        if is_unsaved and configuration.current().login
        else "",
        "is_role": isinstance(refused, NotAllowed),
        "request_id": logs.request_id.get(),
    }
    response = render(request, "gateway/refused.html", shown, status=refused.status)
    for name, value in {**refused.headers, "Cache-Control": "no-store"}.items():
        response.headers[name] = value
    return cast("Response", response)


def for_page(said: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers with which a service answers what the browsable API can show."""
    dropped = {"accept", "accept-encoding", "if-none-match", "if-modified-since", "range"}
    return [(name, value) for name, value in said if name.lower() not in dropped] + [("Accept", "application/json")]


class Repeated:
    """Headers that a service sent more than once. Django's responses hold one value a name."""

    headers: ResponseHeaders
    repeated: list[tuple[str, str]]

    def take(self, passed: list[tuple[str, str]]) -> None:
        """Hold these headers and no others."""
        self.headers.pop("Content-Type")
        self.repeated = []
        for name, value in passed:
            if name in self.headers:
                self.repeated.append((name, value))
            else:
                self.headers[name] = value

    def items(self) -> Any:  # noqa: ANN401  # pairs, as Django's
        """Return every header as often as the service sent it."""
        return [*self.headers.items(), *self.repeated]


class Passed(Repeated, HttpResponse):
    """A service's answer as it is."""

    def __init__(self, content: bytes, status: int, passed: list[tuple[str, str]]) -> None:
        super().__init__(content, status=status)
        self.take(passed)


class PassedStream(Repeated, StreamingHttpResponse):
    """A service's answer as it comes."""

    def __init__(self, content: Iterable[bytes], status: int, passed: list[tuple[str, str]]) -> None:
        super().__init__(content, status=status)
        self.take(passed)


def passed_on(answer: Answer, *, whole: bool) -> HttpResponseBase:
    """Return the answer as it is, whole where it is small, else as it comes."""
    kept = answer.headers
    length = next((value for name, value in kept if name.lower() == "content-length"), None)
    if whole and length is None:
        # Of an answer to HEAD without a length Django must not say that it is 0.
        answer.close()
        return PassedStream((), answer.status, kept)
    if whole or answer.status in {204, 304} or (length is not None and length.isdigit() and int(length) <= WHOLE):
        return Passed(answer.read(), answer.status, kept)
    return PassedStream(answer.body(), answer.status, kept)
