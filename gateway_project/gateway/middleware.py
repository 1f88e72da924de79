"""What happens to every request, whatever the view: an id, a log line, a bound on the body.

This file is the same in each project.
"""

import logging
import time
from collections.abc import Callable
from urllib.parse import unquote

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from . import logs, problems

access_log = logging.getLogger("access")
# Of a Content-Length; `int` refuses thousands.
MAX_DIGITS = 18
GetResponse = Callable[[HttpRequest], HttpResponse]


class RequestLog:
    """Gives the request its id, says it in `X-Request-ID` and writes one access log line.

    Requests that programs make all the time, for one of `settings.POLLED_PATHS`, are logged at DEBUG if they succeed.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.polled: frozenset[str] = getattr(settings, "POLLED_PATHS", frozenset())

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request; the id is in every log line written meanwhile."""
        started = time.perf_counter()
        path = request.path
        identifier = logs.request_id_from(request.headers.get("X-Request-ID"))
        token = logs.request_id.set(identifier)
        try:
            response = self.get_response(request)
            response.headers["X-Request-ID"] = identifier
            if not response.streaming and response.status_code not in {204, 304}:  # RFC 9110, section 8.6
                response.headers.setdefault("Content-Length", str(len(response.content)))
            access_log.log(
                logging.DEBUG if path in self.polled and response.status_code < 400 else logging.INFO,
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
                },
            )
            return response
        finally:
            logs.request_id.reset(token)


class BodyLimit:
    """Refuses a body that is too large (413), of unknown length (411) or type (415) before anything reads it.

    What gets through is read as UTF-8 (RFC 8259, section 8.1), the query too: Python's codecs, which a `charset` could
    choose, include decompression.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request, if its body is within `settings.MAX_BODY` bytes."""
        if "Transfer-Encoding" in request.headers:
            return problems.problem(request, 411, "Expected a body with a Content-Length.")
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit()):  # `int` takes more: signs, underscores, other scripts
            return problems.problem(request, 400, "Expected a Content-Length that is a number of bytes.")
        if len(length) > MAX_DIGITS or int(length) > settings.MAX_BODY:
            return problems.problem(request, 413, f"Expected a body of at most {settings.MAX_BODY} bytes.")
        if not request.content_type and request.META.get("CONTENT_TYPE", "").strip():
            return problems.problem(request, 415, "Expected a Content-Type that can be read (RFC 9110, section 8.3).")
        request.encoding = "utf-8"
        return self.get_response(request)


class PublicPath:
    """Takes the path that the client asked the gateway for, `X-Forwarded-Path`, for that of links and problems.

    Which view answers is still decided by the path that was sent here, `path_info`.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        if path := request.headers.get("X-Forwarded-Path"):
            request.path = unquote(path)
        return self.get_response(request)
