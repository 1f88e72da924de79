"""The DRF door's middleware, in the order of settings.MIDDLEWARE."""

import json
import time
from typing import Any, cast

from django.apps import apps
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from chassis import logs, problems, security
from chassis.middleware import GetResponse, Middleware
from gateway.apps import GatewayConfig
from gateway.policy import clients, cors
from gateway.policy.rejections import BadRequest, RequestRejected
from gateway.recent_problems import described

from . import endpoints, prometheus
from .context import WebRequest, parse_request
from .drf import rejection
from .upstream_responses import MultiHeaders, StreamingUpstreamResponse, UpstreamResponse

# ReDoc searches in a worker that it makes itself.
PAGE_POLICY = f"{security.PAGE_POLICY}; worker-src blob:"
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
DATA_HEADERS = {"Content-Security-Policy": DATA_POLICY, **security.HEADERS}
# All that pages say of themselves: none of it is a service's to say of one.
OF_PAGES = {
    "content-security-policy",
    "content-security-policy-report-only",
    "strict-transport-security",
    *map(str.lower, security.HEADERS),
}


class StripClientIdentity(Middleware):
    """Drops `request-user-id`, and a request id that no trusted proxy sent."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.META.pop("HTTP_REQUEST_USER_ID", None)
        if not clients.is_trusted(request.META.get("REMOTE_ADDR", ""), settings.TRUSTED_PROXIES):
            request.META.pop("HTTP_X_REQUEST_ID", None)
        return self.get_response(request)


class AttachGateway(Middleware):
    """Sets `request.gateway`: the request, parsed, and the process's runtime."""

    def __init__(self, get_response: GetResponse) -> None:
        super().__init__(get_response)
        self.application = cast("GatewayConfig", apps.get_app_config("gateway"))

    def __call__(self, request: WebRequest) -> HttpResponse:
        request.gateway = parse_request(request, self.application.runtime)
        logs.traceparent.set(request.gateway.request.traceparent)
        request.log_fields = {"client": request.gateway.headers.address, "service": None, "address": None}  # type: ignore[attr-defined]
        return self.get_response(request)


class CorsMiddleware(Middleware):
    """Lets pages of other origins read the gateway's own responses, by `cors` of the route or of `defaults`.

    Those of services have their headers already, and get the same ones.
    """

    def __call__(self, request: WebRequest) -> HttpResponse:
        response = self.get_response(request)
        own = request.gateway.runtime.gate.table.cors if request.path_info.startswith("/api/") else None
        policy = getattr(request, "cors", own)
        if policy is None or isinstance(response, UpstreamResponse | StreamingUpstreamResponse):
            return response
        incoming = request.gateway.request
        origin = incoming.headers.page_origin
        if response.status_code == 204 and cors.is_preflight(incoming.method, incoming.headers.pairs):
            methods = [
                each for each in response.headers.get("Allow", "").split(", ") if each not in {"HEAD", "OPTIONS"}
            ]
            pairs = policy.preflight(origin, methods)
        else:
            pairs = policy.with_vary(policy.headers(origin))
        for name, value in pairs:
            if name == "vary":
                patch_vary_headers(response, [value])
            else:
                response.headers[name] = value
        return response


class RequestMetrics(Middleware):
    """Counts and times each request under its route, keeps those that failed, and exports spans."""

    def __call__(self, request: WebRequest) -> HttpResponse:
        started = time.perf_counter()
        response = self.get_response(request)
        seconds = time.perf_counter() - started
        note_user(request)
        prometheus.observe(request, response.status_code, seconds)
        if response.status_code >= 400:
            self.record_problem(request, response, seconds)
        tracer = request.gateway.runtime.upstreams.tracer
        parsed = request.gateway.request
        if tracer is not None and parsed.is_recorded:
            route = prometheus.route_of(request)
            tracer.request(
                parsed.traceparent, parsed.headers.trace_parent, seconds, parsed.method, parsed.path, parsed.scheme,
                None if route == prometheus.NO_ROUTE else route, response.status_code, parsed.headers.address,
                request.META.get("HTTP_REQUEST_USER_ID"), parsed.request_id,
            )  # fmt: skip
        return response

    def record_problem(self, request: WebRequest, response: HttpResponse, seconds: float) -> None:
        """Keep a failed request for the operator, unless the failure is the service's and below 500."""
        if response.status_code < 500 and isinstance(response, MultiHeaders):
            return
        rejected: RequestRejected | None = getattr(request, "rejected", None)
        problem = {
            "request_id": logs.request_id.get(),
            "method": request.method,
            "path": request.gateway.request.path,
            "status": response.status_code,
            "seconds": round(seconds, 6),
            "user_id": request.META.get("HTTP_REQUEST_USER_ID"),
            "route": getattr(request, "route_label", None),
            "tries": getattr(request, "tries", ()),
        }
        problem |= getattr(request, "log_fields", {})
        problem |= members(response) | described(rejected)
        request.gateway.runtime.problems.record(problem)


def note_user(request: WebRequest) -> None:
    """Let the log have the user of the gateway's own pages too. Of a request for a route it has the user already."""
    if "HTTP_REQUEST_USER_ID" not in request.META:
        identity = request.gateway.identity or request.gateway.signed_in()
        if identity is not None:
            request.META["HTTP_REQUEST_USER_ID"] = identity.user_id


def members(response: HttpResponse) -> dict[str, Any]:
    """Return code and detail of a response that is a problem."""
    content = getattr(response, "data", None)
    if response.headers.get("Content-Type") == problems.MEDIA_TYPE and not response.streaming:
        content = json.loads(response.content)
    return {name: content.get(name, "") for name in ("code", "detail")} if isinstance(content, dict) else {}


class CheckTarget(Middleware):
    """Rejects requests for other hosts, and responds to `OPTIONS *`."""

    def __call__(self, request: WebRequest) -> HttpResponse:
        incoming = request.gateway.request
        try:
            request.gateway.runtime.gate.check(incoming)
        except RequestRejected as rejected:
            return rejection(request, rejected)
        if (incoming.method, incoming.path) == ("OPTIONS", "*"):
            return endpoints.bodiless(204)
        return self.get_response(request)


class CurrentVersion(Middleware):
    """Serves `/api/v1/login` as `/api/login` if `v1` is the current version."""

    def __call__(self, request: WebRequest) -> HttpResponse:
        if not request.path_info.startswith("/"):
            return rejection(request, BadRequest("The path does not begin with /. Send one that does."))
        versions = request.gateway.runtime.config.versions
        prefix = f"/api/{versions.current}/" if versions else None
        if prefix and request.path_info.startswith(prefix):
            request.path_info = "/api/" + request.path_info.removeprefix(prefix)
        return self.get_response(request)


class SecurityHeaders(Middleware):
    """Adds security headers to the gateway's own responses; services set theirs themselves."""

    def __call__(self, request: WebRequest) -> HttpResponse:
        response = self.get_response(request)
        if isinstance(response, UpstreamResponse | StreamingUpstreamResponse):
            return response
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        response.headers.setdefault("Content-Security-Policy", PAGE_POLICY if is_page else DATA_POLICY)
        if is_page:
            # Its header shows who is signed in.
            response.headers.setdefault("Cache-Control", "no-store")
        for name, value in security.HEADERS.items():
            response.headers.setdefault(name, value)
        try:
            scheme, _ = request.gateway.origin()
        except RequestRejected:
            return response
        if scheme == "https":
            response.headers["Strict-Transport-Security"] = security.HSTS
        return response
