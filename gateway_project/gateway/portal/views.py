"""The DRF door: one view for every route."""

import json
from collections.abc import Iterable
from typing import Any, cast

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase, ResponseHeaders
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from gateway import bodies, configuration, logs
from gateway.config import Route
from gateway.counters import counters
from gateway.identity.authentication import Caller, identify
from gateway.identity.passports import passports
from gateway.policy import access, headers, paths
from gateway.policy.access import Identity
from gateway.policy.refusals import TooMany
from gateway.policy.routes import Match
from gateway.upstreams import Answer, upstreams

from . import clients

# Bytes: an answer up to this size is read whole before its head is sent, so that one broken off is a 502.
WHOLE = 64 * 1024


def wants_page(request: HttpRequest) -> bool:
    """Return whether a person's browser asks: it prefers HTML to JSON."""
    return request.get_preferred_type(["application/json", "text/html"]) == "text/html"


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
        path = paths.canonical(clients.raw_path(http))
        self.match = match = configuration.route_table().match(http.method or "", path)
        http.route_label = match.route.path  # type: ignore[attr-defined]
        if match.route.browser == "passthrough":
            self.headers = {}
        if match.answer_options:
            return Response(status=204, headers={"Allow": match.allow})
        said = headers.from_client(clients.headers(http), trusted=clients.is_trusted(http))
        identity = identify(clients.headers(http))
        request.user = cast("Any", None if identity is None else Caller(identity))
        access.check(match.route.allow, identity)
        within_limit(match.route, identity, clients.address(http))
        body = bodies.read(http.META, match.route.max_body)
        page = match.route.browser == "api" and wants_page(http)
        answer = upstreams().send(
            match.route.service,
            http.method or "",
            match.upstream_path + clients.target_query(http),
            timeouts=match.route.timeouts,
            headers=for_service(http, match.route, identity, for_page(said) if page else said),
            body=body,
        )
        return self.page(answer) if page else passed_on(answer, whole=http.method == "HEAD")

    # Whatever the method: the route says which are allowed.
    options = forward  # type: ignore[assignment]  # an answer that may not be DRF's
    http_method_not_allowed = forward  # type: ignore[assignment]

    def page(self, answer: Answer) -> HttpResponseBase:
        """Return the answer in the browsable API, or as it is where it is not JSON."""
        kept = answer.headers
        kind = next((value for name, value in kept if name.lower() == "content-type"), "")
        content = answer.read()
        if content and "json" not in kind.partition(";")[0]:
            return Passed(content, answer.status, kept)
        try:
            data = json.loads(content) if content else None
        except ValueError:
            return Passed(content, answer.status, kept)
        shown = {name: value for name, value in kept if name.lower() not in {"content-type", "content-length"}}
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


def within_limit(route: Route, identity: Identity | None, address: str) -> None:
    """Count the request against its route's limit; raise `TooMany` where it is used up."""
    if route.rate_limit is None:
        return
    who = f"user {identity.user_id}" if identity else f"address {address}"
    verdict = counters().admit(f"{route.path} {','.join(route.methods)} {who}", route.rate_limit)
    if not verdict.admitted:
        raise TooMany(verdict.retry_after)


def for_page(said: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers with which a service answers what the browsable API can show."""
    dropped = {"accept", "accept-encoding", "if-none-match", "if-modified-since", "range"}
    return [(name, value) for name, value in said if name.lower() not in dropped] + [("Accept", "application/json")]


def for_service(
    request: HttpRequest, route: Route, identity: Identity | None, said: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the headers that the service gets: what the client may say, and what the gateway knows."""
    scheme, host = clients.origin(request)
    return headers.to_upstream(
        said,
        request_id=logs.request_id.get(),
        address=clients.address(request),
        scheme=scheme,
        host=host,
        user_id=identity.user_id if identity else None,
        passport=passports().get(identity, route.service) if identity else None,
    )


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
    if whole or answer.status in {204, 304} or (length is not None and length.isdigit() and int(length) <= WHOLE):
        return Passed(answer.read(), answer.status, kept)
    return PassedStream(answer.body(), answer.status, kept)
