"""Prometheus metrics of all workers, in one response."""

from collections.abc import Iterator
from itertools import accumulate
from math import inf
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from chassis import problems
from gateway import callers, in_force
from gateway.metrics import BUCKETS, INVALID, MEMORY, UPSTREAMS, coarse
from gateway.metrics import observe as count
from gateway.policy.clients import parse, within
from gateway.upstreams import measurements

from .context import WebRequest

# What a request without a route is counted under.
NO_ROUTE: Final = "none"
BOUNDS: Final = ["+Inf" if bound == inf else str(bound) for bound in BUCKETS]


class Requests(Collector):
    """What `gateway.metrics` has counted, in Prometheus' terms."""

    def collect(self) -> Iterator[Metric]:
        """Yield the requests and their seconds by method, route and status.

        The histogram has OpenTelemetry's name and labels, and no route for a request without one.
        """
        requests = CounterMetricFamily(
            "gateway_requests", "Requests, by method, route and status.", labels=("method", "route", "status")
        )
        seconds = HistogramMetricFamily(
            "http_server_request_duration_seconds",
            "Seconds until the head of the response.",
            labels=("http_request_method", "http_route", "http_response_status_code"),
        )
        invalid = CounterMetricFamily(
            "gateway_invalid_requests",
            "Requests that the service's document does not allow.",
            labels=("method", "route"),
        )
        for (method, route, status), values in MEMORY.read().items():
            if status == INVALID:
                invalid.add_metric((method, route), sum(values[:-1]))
                continue
            requests.add_metric((method, route, str(status)), sum(values[:-1]))
            *counts, total = coarse(values)
            labels = (method, "" if route == NO_ROUTE else route, str(status))
            seconds.add_metric(labels, list(zip(BOUNDS, accumulate(counts), strict=True)), total)
        yield requests
        yield seconds
        yield invalid
        deprecated = CounterMetricFamily(
            "gateway_deprecated_requests", "Requests for deprecated routes.", labels=("method", "route")
        )
        for (method, route), calls in callers.read().items():
            deprecated.add_metric((method, route), calls.total)
        yield deprecated
        workers = GaugeMetricFamily(
            "gateway_config_workers", "Workers by the gateway.yaml in force there.", labels=("sha256",)
        )
        for digest, workers_of in in_force.read().items():
            workers.add_metric((digest,), workers_of)
        yield workers
        rejection = in_force.rejection()
        yield GaugeMetricFamily(
            "gateway_config_rejected_faults",
            "Faults of a changed gateway.yaml that is not in force; 0 if the file is.",
            value=rejection.faults if rejection else 0,
        )


class Services:
    """What is counted of whole services: retries and their budget, and what waits for a place or gets none."""

    def __init__(self) -> None:
        labels = ("service",)
        self.retries = CounterMetricFamily(
            "gateway_service_retries", "Requests sent again, by cause.", labels=(*labels, "cause")
        )
        self.retries_rejected = CounterMetricFamily(
            "gateway_service_retries_rejected", "Retries that the budget did not allow.", labels=labels
        )
        self.rejected = CounterMetricFamily(
            "gateway_service_rejected", "Requests rejected because of max_in_flight.", labels=labels
        )
        self.queued = GaugeMetricFamily("gateway_service_queued", "Requests that wait in the queue.", labels=labels)
        self.budget = GaugeMetricFamily(
            "gateway_service_retry_budget", "Retries that the service's budget allows now.", labels=labels
        )
        self.metrics: tuple[Metric, ...] = (
            self.retries,
            self.retries_rejected,
            self.budget,
            self.rejected,
            self.queued,
        )

    def add(self, service: str, what: str, number: float, value: float) -> None:
        """Add a series."""
        if what == measurements.QUEUED:
            self.queued.add_metric((service,), value)
        elif what == measurements.BUDGET:
            self.budget.add_metric((service,), value)
        elif what == measurements.REJECTED:
            self.rejected.add_metric((service,), number)
        elif what == measurements.RETRIES_REJECTED:
            self.retries_rejected.add_metric((service,), number)
        else:
            self.retries.add_metric((service, what.removeprefix(measurements.RETRIES)), number)


class Addresses(Collector):
    """What `gateway.upstreams.measurements` has counted."""

    def collect(self) -> Iterator[Metric]:
        """Yield responses and their seconds, errors by cause, ejections, and what is in flight, by address."""
        labels = ("service", "address")
        seconds = HistogramMetricFamily(
            "gateway_upstream_seconds", "Seconds until a service's response was ready to be sent on.", labels=labels
        )
        errors = CounterMetricFamily(
            "gateway_upstream_errors", "Errors of an address, by cause.", labels=(*labels, "cause")
        )
        ejections = CounterMetricFamily("gateway_upstream_ejections", "Ejections of an address.", labels=labels)
        in_flight = GaugeMetricFamily("gateway_upstream_in_flight", "Requests in flight to an address.", labels=labels)
        ejected = GaugeMetricFamily(
            "gateway_upstream_ejected_workers", "Workers that send an address no requests.", labels=labels
        )
        gauges = {measurements.IN_FLIGHT: in_flight, measurements.EJECTED: ejected}
        services = Services()
        for (service, address, what), (*counts, total) in UPSTREAMS.read().items():
            where = (service, address)
            if not address:
                services.add(service, what, sum(counts), total)
                continue
            if what == measurements.SECONDS:
                *by_bound, _ = coarse([*counts, total])
                seconds.add_metric(where, list(zip(BOUNDS, accumulate(by_bound), strict=True)), total)
            elif what == measurements.EJECTIONS:
                ejections.add_metric(where, sum(counts))
            elif what in gauges:
                gauges[what].add_metric(where, total)
            else:
                errors.add_metric((*where, what.removeprefix(measurements.ERRORS)), sum(counts))
        yield from (seconds, errors, ejections, in_flight, ejected, *services.metrics)


REGISTRY = CollectorRegistry()
REGISTRY.register(Requests())
REGISTRY.register(Addresses())


def route_of(request: HttpRequest) -> str:
    """Return the route that a request is counted under: its path if it is the gateway's own."""
    own = f"/{request.resolver_match.route}" if request.resolver_match and request.resolver_match.route else NO_ROUTE
    return getattr(request, "route_label", own)


def observe(request: HttpRequest, status: int, seconds: float) -> None:
    """Count and time a request under its route."""
    count(request.method or "", route_of(request), status, seconds)


def metrics(request: WebRequest) -> HttpResponse:
    """Respond in Prometheus' text format, to METRICS_NETWORKS only."""
    if not within(parse(request.gateway.headers.address), settings.METRICS_NETWORKS):
        return problems.problem(request, 403, "Your address is not in METRICS_NETWORKS.", code="permission_denied")
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)
