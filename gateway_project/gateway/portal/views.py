"""The DRF door: one view for every route."""

from codecs import getincrementaldecoder
from contextlib import suppress
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from chassis import logs, problems
from gateway import callers
from gateway.admission import Decision
from gateway.identity.authentication import Caller
from gateway.policy import access, compression, negotiation, origins
from gateway.policy.headers import Headers, values, varying_by_accept
from gateway.policy.limits import Standing
from gateway.policy.rejections import Forbidden, MethodNotAllowed, RequestRejected, Unauthenticated, UpstreamError
from gateway.policy.routes import Match
from gateway.upstreams import BlockingResponse, ClientLeft

from . import changes
from .browsable import BrowsablePage, PageOrJSON
from .context import APIRequest, RequestContext, WebRequest, body, log_service, on_disconnect, whole
from .middleware import OF_PAGES
from .upstream_responses import ResponsePage, UpstreamResponse, to_response

# Bytes of JSON that a page shows; of more it shows the first part.
MAX_SHOWN = 256 * 1024
PART_SHOWN = 64 * 1024
UTF8 = getincrementaldecoder("utf-8")
# Answers that have no content, or a part of it.
NOT_SHOWN = {204, 205, 206, 304}
SANDBOX = ("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'")


class ProxyView(APIView):
    """A service's response, at the gateway."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    content_negotiation_class = PageOrJSON
    renderer_classes = (JSONRenderer, BrowsablePage)
    schema = None
    match: Match | None = None
    # Where the client stands, once its request is counted.
    standing: Standing | None = None

    def forward(self, request: APIRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # noqa: ANN401  # DRF's signature
        """Decide on the request, forward it, and return the response. Raises `RequestRejected`."""
        http = request._request  # noqa: SLF001  # DRF's own name for what it wraps
        context = request.gateway
        runtime, incoming = context.runtime, context.request
        try:
            self.match = match = runtime.gate.route(incoming.method, incoming.path, incoming.query)
        except MethodNotAllowed as exc:
            if incoming.method in {"GET", "HEAD"} and context.headers.prefers_page:
                return self.forms_alone(context, exc)
            raise
        http.route_label = match.route.path  # type: ignore[attr-defined]
        log_service(http, match.route.service)
        http.cors = match.policies.cors if match.policies else None  # type: ignore[attr-defined]
        if runtime.gate.handles_options(incoming, match):
            self.headers = {}
            return UpstreamResponse(b"", 204, runtime.gate.options(incoming, match))
        decision = runtime.authorize(incoming, match)
        self.standing = decision.standing
        if decision.identity:
            request.user = cast("Any", Caller(decision.identity))
            http.META["HTTP_REQUEST_USER_ID"] = decision.identity.user_id
        page = match.route.browser == "api" and context.headers.prefers_page
        upload = body(http, match.route.max_body)
        if match.policies is not None and match.policies.is_validated:
            upload = whole(upload)
            content = upload if isinstance(upload, bytes) else None
            runtime.validation.check(match, incoming.method, incoming.query, context.headers.pairs, content)
        if match.policies is not None and match.policies.deprecation is not None:
            callers.count(incoming.method, match.route.path, decision.identity, context.headers)
        with changes.recording_uncertain(decision):
            response = runtime.upstreams.send(
                match.route.service,
                # The page is the gateway's, and its HEAD is its GET without the content.
                "GET" if page and incoming.method == "HEAD" else incoming.method,
                decision.target,
                timeouts=match.route.timeouts,
                headers=negotiation.for_data(decision.headers) if page else decision.headers,
                body=upload,
                host=decision.host,
                policies=match.route,
                on_disconnect=on_disconnect(http),
            )
        log_service(http, match.route.service, response.address)
        http.tries = response.forwarding.went_wrong  # type: ignore[attr-defined]
        return self.deliver(request, decision, response, page=page)

    def deliver(
        self, request: APIRequest, decision: Decision, response: BlockingResponse, *, page: bool
    ) -> HttpResponseBase:
        """Return the service's response as the client gets it. Raises `UpstreamRedirects`."""
        context, match = request.gateway, decision.match
        try:
            headers = changes.recorded(decision, response.status, response.headers)
            headers = context.runtime.gate.public_headers(decision, response.status, headers)
        except RequestRejected:
            response.close()
            raise
        # `Vary` and the like are the service's; the gateway adds only that a browser would get a page.
        self.headers = {}
        headers = varying_by_accept(headers) if match.route.browser == "api" else headers
        coding, method = None, context.request.method
        if (policies := match.policies) is not None:
            headers = policies.response(headers, context.headers.page_origin)
            if policies.compresses and not page:
                is_head = method == "HEAD"
                headers, coding = compression.applied(headers, response.status, context.headers, bodiless=is_head)
            headers = [*headers, *deprecation_of(match)]
        if self.standing:
            headers = [*headers, *self.standing.headers()]
        if not page:
            return to_response(response, headers, method, coding)
        http = request._request  # noqa: SLF001  # DRF's own name for what it wraps
        return shown(response, headers, method, is_sent=getattr(http, "sent", None) is not None)

    def forms_alone(self, context: RequestContext, exc: MethodNotAllowed) -> HttpResponseBase:
        """Return a page for a path without GET: its forms, for a person whom one of its routes lets in."""
        found = []
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            with suppress(MethodNotAllowed):
                found.append(context.runtime.gate.route(method, context.request.path))
        match = next((each for each in found if each.route.browser == "api"), None)
        if match is None:
            raise exc
        self.match = match
        http = cast("Any", self.request._request)  # noqa: SLF001  # DRF's own name for what it wraps
        http.route_label = match.route.path
        if match.policies is not None:
            match.policies.check_address(context.headers.address)
        access.check(match.route.allow, context.identify())
        self.headers = {}
        page = ResponsePage("", 200, [("Vary", "Accept")], [])
        page.upstream_status = None
        return page

    def handle_exception(self, exc: Exception) -> Response:
        """Respond with the rejection, where the client stands if it was counted, and that its route is deprecated."""
        response = self.respond_to(exc)
        for name, value in [*(self.standing.headers() if self.standing else []), *deprecation_of(self.match)]:
            response.headers[name] = value
        return response

    def respond_to(self, exc: Exception) -> Response:
        """Respond with the problem; redirect a browser without a login to the login page.

        A rejection of a service's own pages is a page, not one of the browsable API.
        """
        http = cast("Any", self.request._request)  # noqa: SLF001  # DRF's own name for what it wraps
        context = cast("APIRequest", self.request).gateway
        if self.match is None:
            http.cors = getattr(exc, "cors", None)
        if isinstance(exc, ClientLeft):
            # Only for the log: the client has left.
            return cast("Response", HttpResponse(status=exc.status))
        if isinstance(exc, RequestRejected):
            http.rejected = exc
        if isinstance(exc, UpstreamError):
            log_service(http, exc.service, exc.address or None)
            http.tries = exc.tries
        if isinstance(exc, RequestRejected) and exc.identity:
            http.META["HTTP_REQUEST_USER_ID"] = exc.identity.user_id
        is_page = context.headers.prefers_page
        has_login = context.runtime.config.login is not None
        if isinstance(exc, Unauthenticated) and has_login and is_page and http.method in {"GET", "HEAD"}:
            asked = quote(origins.own_path(context.target), safe="/")
            return redirect(f"/login/?next={asked}")
        if isinstance(exc, RequestRejected) and self.match and self.match.route.browser == "passthrough" and is_page:
            return rejection_page(cast("WebRequest", http), exc)
        if is_page and (identity := context.signed_in()):
            self.request.user = cast("Any", Caller(identity))
        return super().handle_exception(exc)

    # Whatever the method: the route says which are allowed.
    options = forward  # type: ignore[assignment]  # a response that may not be DRF's
    http_method_not_allowed = forward  # type: ignore[assignment]

    @property
    def default_response_headers(self) -> dict[str, str]:
        """The gateway's own responses vary: a browser gets a page."""
        return {"Vary": "Accept"}


def deprecation_of(match: Match | None) -> Headers:
    """Return the headers of a deprecated route."""
    policies = match.policies if match else None
    return policies.deprecation.headers(match.params) if match and policies and policies.deprecation else []


def redirect(location: str) -> Response:
    return cast("Response", HttpResponse(status=302, headers={"Location": location, "Cache-Control": "no-store"}))


def rejection_page(request: WebRequest, rejection: RequestRejected) -> Response:
    """Return a rejection of a service's own page, as a page."""
    # What was sent is lost with the session; after a sign-in the page's form can be filled in again.
    is_unsaved = rejection.status == HTTPStatus.UNAUTHORIZED and request.method not in origins.SAFE_METHODS
    shown = {
        "status": rejection.status,
        "title": "Not signed in" if is_unsaved else HTTPStatus(rejection.status).phrase,
        "detail": "Nothing was saved: you are not signed in any more." if is_unsaved else rejection.detail,
        "sign_in_for": origins.own_path(request.gateway.target)
        if is_unsaved and request.gateway.runtime.config.login
        else "",
        "is_role": isinstance(rejection, Forbidden),
        "request_id": logs.request_id.get(),
    }
    response = render(request, "gateway/problem.html", shown, status=rejection.status)
    for name, value in {**rejection.headers, "Cache-Control": "no-store"}.items():
        response.headers[name] = value
    return cast("Response", problems.with_code(response, rejection.problem_code))


def shown(response: BlockingResponse, headers: Headers, method: str, *, is_sent: bool = False) -> HttpResponseBase:
    """Return the response in the browsable API, a large one truncated; unchanged if it is not JSON.

    A form gets a page even without content: at a 204 a browser stays on the page of the form.
    """
    passed = [header for header in headers if goes_with_page(header[0])]
    if is_sent and response.status in {204, 205}:
        response.close()
        return ResponsePage("", response.status, passed, headers)
    # An API's response that is HTML gets no scripts, and not the gateway's origin.
    as_it_is = [*headers, SANDBOX]
    if not can_be_shown(response):
        return to_response(response, as_it_is, method)
    is_cut = not response.hold(MAX_SHOWN)
    content = b"".join(response.held)
    try:
        text = UTF8().decode(content[:PART_SHOWN] if is_cut else content, final=not is_cut)
    except UnicodeDecodeError:
        return to_response(response, as_it_is, method)
    response.close()
    return ResponsePage(text, response.status, passed, headers, is_cut=is_cut)


def can_be_shown(response: BlockingResponse) -> bool:
    """Return whether the response is JSON, or empty."""
    kind = ",".join(values(response.headers, "content-type")).partition(";")[0].strip(" \t").lower()
    is_json = kind.endswith(("/json", "+json")) or not (kind or response.has_content)
    return is_json and response.status not in NOT_SHOWN and not values(response.headers, "content-encoding")


def goes_with_page(name: str) -> bool:
    """Return whether the page has the service's header: not those about the JSON, nor those of pages."""
    return not (negotiation.is_about_content(name) or negotiation.is_about_storing(name) or name.lower() in OF_PAGES)
