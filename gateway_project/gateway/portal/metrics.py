"""Prometheus metrics of all workers, in one answer."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from chassis import problems
from gateway.metrics import observe as count
from gateway.policy.clients import parse, within

from . import clients


def observe(request: HttpRequest, status: int, seconds: float) -> None:
    """Count and time a request under its route, or under the path of the gateway's own."""
    own = f"/{request.resolver_match.route}" if request.resolver_match and request.resolver_match.route else "none"
    count(request.method or "", getattr(request, "route_label", own), status, seconds)


def metrics(request: HttpRequest) -> HttpResponse:
    """Answer in Prometheus' text format, to the networks that may ask."""
    if not within(parse(clients.heard(request).address), settings.METRICS_NETWORKS):
        return problems.problem(request, 403, "Your address is not in METRICS_NETWORKS.", code="permission_denied")
    registry = REGISTRY
    if settings.METRICS_DIRECTORY:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, settings.METRICS_DIRECTORY)  # type: ignore[no-untyped-call]  # not typed
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
