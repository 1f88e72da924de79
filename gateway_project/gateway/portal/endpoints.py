"""The gateway's own paths, each with the methods that it has: the same responses to the others as on routes."""

from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path

from gateway.policy.rejections import MethodNotAllowed, MethodNotImplemented
from gateway.policy.routes import KNOWN

from .drf import rejection


def endpoint(route: str, view: Any, *methods: str) -> URLPattern:  # noqa: ANN401  # any view of Django's or DRF's
    """Return the URL of a view that takes only these methods. GET includes HEAD, and OPTIONS is added."""
    asked = frozenset({*methods, *({"HEAD"} if "GET" in methods else ())})
    allow = ", ".join(sorted({*asked, "OPTIONS"}))

    @wraps(view)
    def respond(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if request.method in asked:
            response: HttpResponseBase = view(request, *args, **kwargs)
            return response
        if request.method == "OPTIONS":
            return bodiless(204, Allow=allow)
        return rejection(request, MethodNotAllowed(allow) if request.method in KNOWN else MethodNotImplemented())

    return path(route, respond)


def bodiless(status: int, **headers: str) -> HttpResponse:
    """Return a response without a body or `Content-Type`."""
    response = HttpResponse(status=status, headers=headers)
    del response.headers["Content-Type"]
    return response
