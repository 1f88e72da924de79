"""What happens to every request at the DRF door, besides its id and log line."""

import time

from django.http import HttpRequest, HttpResponse

from chassis import problems
from chassis.middleware import GetResponse
from gateway import configuration, gate
from gateway.policy import headers
from gateway.policy.rejections import RequestRejected

from . import clients, endpoints, metrics
from .answers import StreamingUpstreamResponse, UpstreamResponse

# For pages: everything from here, no script in the page itself. Styles may stand in it, as DRF's pages and ReDoc
# need; ReDoc searches in a worker that it makes itself.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src blob:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
# The usual ones (OWASP's HTTP headers). With `no-referrer` browsers would send forms with `Origin: null`.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
DATA_HEADERS = {"Content-Security-Policy": DATA_POLICY, **HEADERS}
# All that pages say of themselves: none of it is a service's to say of one.
OF_PAGES = {
    "content-security-policy",
    "content-security-policy-report-only",
    "strict-transport-security",
    *map(str.lower, HEADERS),
}


class StripClientIdentity:
    """Forgets what a client may not say of itself: who it is, and the request's id, which a proxy of ours may name."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        request.META.pop("HTTP_REQUEST_USER_ID", None)
        if not gate.current().is_trusted(clients.peer(request)):
            request.META.pop("HTTP_X_REQUEST_ID", None)
        # After those have gone: Django keeps the headers that are read first.
        address = clients.heard(request).address
        request.log_fields = {"client": address, "service": None, "address": None}  # type: ignore[attr-defined]
        return self.get_response(request)


class RequestMetrics:
    """Counts and times each request under its route, as /metrics tells."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        started = time.perf_counter()
        response = self.get_response(request)
        metrics.observe(request, response.status_code, time.perf_counter() - started)
        return response


class CheckTarget:
    """Refuses what is not for this gateway, and answers what is for all of it: `OPTIONS *`."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        incoming = clients.parse_request(request)
        try:
            gate.current().check(incoming)
        except RequestRejected as refused:
            return problems.problem(request, refused.status, refused.detail, headers=refused.headers)
        if (incoming.method, incoming.path) == ("OPTIONS", "*"):
            return endpoints.bodiless(204)
        return self.get_response(request)


class CurrentVersion:
    """Lets `/api/v1/login` find what `/api/login` is, where `v1` is the current version in gateway.yaml."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        if not request.path_info.startswith("/"):
            return problems.problem(request, 400, "Expected a path that starts with /.")
        versions = configuration.current().versions
        prefix = f"/api/{versions.current}/" if versions else None
        if prefix and request.path_info.startswith(prefix):
            request.path_info = "/api/" + request.path_info.removeprefix(prefix)
        return self.get_response(request)


class SecurityHeaders:
    """Says to browsers what the gateway's own answers may do; a service's answers say it themselves."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        response = self.get_response(request)
        if isinstance(response, UpstreamResponse | StreamingUpstreamResponse):
            return response
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        response.headers.setdefault("Content-Security-Policy", PAGE_POLICY if is_page else DATA_POLICY)
        if is_page:
            # Its header shows who is signed in.
            response.headers.setdefault("Cache-Control", "no-store")
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        try:
            scheme, _ = clients.origin(request)
        except RequestRejected:
            return response
        if scheme == "https":
            response.headers["Strict-Transport-Security"] = headers.HSTS
        return response
