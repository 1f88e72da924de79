"""What happens to every request, whatever its view. Use them in this order: `[*chassis.MIDDLEWARE, ...]`."""

import logging
import re
import time
from collections.abc import Callable
from urllib.parse import unquote

from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse

from . import conf, logs, otlp, problems, trace_context, tracing
from .lengths import content_length

# Set by the gateway, and dropped from clients' requests.
TIME_LEFT = "X-Envoy-Expected-Rq-Timeout-Ms"
MILLISECONDS = re.compile("[0-9]{1,10}")
access_log = logging.getLogger("access")
# Of an HTML error that becomes a problem.
_KEPT_HEADERS = ("Allow", "Retry-After", "WWW-Authenticate", "Vary")
GetResponse = Callable[[HttpRequest], HttpResponse]


class Middleware:
    """Django's interface of a middleware; a subclass is called with each request."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response


class RequestLogMiddleware(Middleware):
    """Gives the request its id, puts the id into `X-Request-ID` and every log line, and writes one access log line.

    Log lines have the trace id too, which comes from the gateway in `traceparent`.

    The lines of successful requests for GATEHOUSE's POLLED_PATHS, which programs send all the time, are at DEBUG.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        path = request.path
        request_id = logs.request_id_from(request.headers.get("X-Request-ID"))
        token = logs.request_id.set(request_id)
        parent = request.headers.get("traceparent", "")
        trace_token = logs.traceparent.set(parent if trace_context.parse_traceparent(parent) else "")
        try:
            response = self.get_response(request)
            response.headers["X-Request-ID"] = request_id
            if not response.streaming and response.status_code not in {204, 304}:  # RFC 9110, section 8.6
                response.headers.setdefault("Content-Length", str(len(response.content)))
            code = getattr(response, "problem_code", None)
            polled = path in conf.options().polled_paths and response.status_code < 400
            access_log.log(
                logging.DEBUG if polled else logging.INFO,
                "%s %s %d",
                request.method,
                path,
                response.status_code,
                extra={
                    "method": request.method,
                    "path": path,
                    "status": response.status_code,
                    "duration_ms": round((time.perf_counter() - started) * 1000, 2),
                    "user_id": request.META.get("HTTP_REQUEST_USER_ID"),
                    # What else a project logs of a request.
                    **getattr(request, "log_fields", {}),
                    **({"code": code} if code else {}),
                },
            )
            return response
        finally:
            logs.traceparent.reset(trace_token)
            logs.request_id.reset(token)


class TracingMiddleware(Middleware):
    """Makes a span of each request, within the gateway's, if its trace is recorded.

    It is left out of the middleware if no spans are exported. Polled paths and the health check have no spans.
    """

    def __init__(self, get_response: GetResponse) -> None:
        settings = tracing.read_settings()
        if settings is None:
            raise MiddlewareNotUsed
        super().__init__(get_response)
        options = conf.options()
        self.left_out = {*options.polled_paths, options.ready_path, options.health_path}
        self.sampler = settings.sampler
        self.exporter = tracing.Exporter(settings, options.service)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # Another middleware changes it.
        path = request.path
        if path in self.left_out:
            return self.get_response(request)
        parent = trace_context.parse_traceparent(request.headers.get("traceparent"))
        trace_id = parent.trace_id if parent else logs.new_id()
        flags = self.sampler.flags(parent) or self.sampler.flags_by_ratio(trace_id)
        span_id, started = logs.new_id()[16:], time.time_ns()
        with tracing.current(f"00-{trace_id}-{span_id}-{flags}"):
            response = self.get_response(request)
        if flags == "01":
            match, parent_id = request.resolver_match, parent.span_id if parent else ""
            self.exporter.add(
                encode_span, trace_id, span_id, parent_id, started, time.time_ns(), request.method or "", path,
                request.scheme, match.route if match else None, response.status_code,
            )  # fmt: skip
        return response


def encode_span(  # noqa: PLR0917  # a span's parts
    trace_id: str,
    span_id: str,
    parent_id: str,
    started: int,
    ended: int,
    method: str,
    path: str,
    scheme: str,
    route: str | None,
    status: int,
) -> bytes:
    known, failed = method if method in tracing.METHODS else "_OTHER", status >= 500
    name = otlp.described(f"{known} /{route}" if route else known, otlp.SERVER)
    attributes = otlp.attributes(
        {
            "http.request.method": known,
            "http.response.status_code": status,
            "http.route": f"/{route}" if route else None,
            "url.path": path,
            "url.scheme": scheme,
            "error.type": str(status) if failed else None,
        }
    )
    rest = name + attributes + (otlp.ERROR if failed else b"")
    return otlp.span(trace_id, span_id, parent_id, started, ended, rest, remote=True)


class ProblemMiddleware(Middleware):
    """Replaces Django's own HTML errors by problems, unless the client is a browser.

    Django makes those outside of DRF's views: for an unknown URL, a failed CSRF check, an unexpected exception.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        is_html_error = response.status_code >= 400 and response.headers.get("Content-Type", "").startswith("text/html")
        if not is_html_error or "text/html" in request.headers.get("Accept", ""):
            return response
        status = response.status_code
        kept = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        code = "permission_denied" if status == 403 else None
        return problems.problem(request, status, problems.detail_of_status(status), code=code, headers=kept)


class BodyLimitMiddleware(Middleware):
    """Rejects a body that is too large (413), of unknown length (411) or type (415) before anything reads it.

    Other bodies are read as UTF-8 (RFC 8259, section 8.1), and so is the query: Python's codecs, which a `charset`
    could choose, include decompression.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        limit = conf.options().max_body
        if "Transfer-Encoding" in request.headers:
            return problems.problem(request, 411, "The body has no Content-Length. Send it with one.")
        try:
            length = content_length(request.META.get("CONTENT_LENGTH") or "0")
        except ValueError as exc:
            return problems.problem(request, 400, str(exc), code="invalid_content_length")
        if length > limit:
            return problems.problem(request, 413, f"The body is too large. Send at most {limit} bytes.")
        if not request.content_type and request.META.get("CONTENT_TYPE", "").strip():
            detail = "Invalid Content-Type. Send one such as application/json (RFC 9110, section 8.3)."
            return problems.problem(request, 415, detail)
        request.encoding = "utf-8"
        return self.get_response(request)


class PublicPathMiddleware(Middleware):
    """Takes the path that the client sent to the gateway, `X-Forwarded-Path`, for links and problems.

    The path that the gateway sent, `path_info`, still decides which view responds.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if path := request.headers.get("X-Forwarded-Path"):
            request.path = unquote(path)
        return self.get_response(request)


class TimeLeftMiddleware(Middleware):
    """Adds `request.time_left()`: the seconds until the gateway stops waiting, `None` without a gateway in front.

    A view that could take long uses it as its own timeout, since a response after that reaches no client.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        sent = request.headers.get(TIME_LEFT, "")
        deadline = time.monotonic() + int(sent) / 1000 if MILLISECONDS.fullmatch(sent) else None

        def time_left() -> float | None:
            return None if deadline is None else max(0.0, deadline - time.monotonic())

        request.time_left = time_left  # type: ignore[attr-defined]  # an attribute of ours
        return self.get_response(request)


class LiveMiddleware(Middleware):
    """Serves `/livez`, or what GATEHOUSE names instead, before anything else can fail."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        from . import health  # Django's database layer, which this module does not need otherwise

        is_probe = request.path_info == conf.options().live_path and request.method in {"GET", "HEAD"}
        return health.livez(request) if is_probe and request.path_info else self.get_response(request)


class EndpointMiddleware(Middleware):
    """Serves `/readyz`, `/healthz` and `/openapi.json`, or what GATEHOUSE names instead."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        from . import health, openapi  # drf-spectacular needs the models loaded

        options = conf.options()
        views = {
            options.live_path: health.livez,
            options.ready_path: health.readyz,
            options.health_path: health.readyz,
            options.openapi_path: openapi.openapi,
        }
        view = views.get(request.path_info) if request.path_info else None
        if view is None:
            return self.get_response(request)
        if request.method not in {"GET", "HEAD"}:
            detail = f"Method {request.method} is not allowed. Use GET or HEAD."
            return problems.problem(request, 405, detail, headers={"Allow": "GET, HEAD"})
        return view(request)
