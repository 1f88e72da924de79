"""What happens to every request at the DRF door, besides its id and log line."""

import time

from django.http import HttpRequest, HttpResponse

from gateway import configuration, gate, problems
from gateway.middleware import GetResponse

from . import clients, metrics


class OwnWord:
    """Forgets what a client may not say of itself: who it is, and the request's id, which a proxy of ours may name."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        request.META.pop("HTTP_REQUEST_USER_ID", None)
        if not gate.current().is_trusted(clients.peer(request)):
            request.META.pop("HTTP_X_REQUEST_ID", None)
        return self.get_response(request)


class Measure:
    """Counts and times each request under its route, as /metrics tells."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        started = time.perf_counter()
        response = self.get_response(request)
        metrics.observe(request, response.status_code, time.perf_counter() - started)
        return response


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
