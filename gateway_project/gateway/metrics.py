"""What is counted and timed, over all workers: requests, under their route."""

from functools import lru_cache
from typing import Final

from prometheus_client import Counter, Histogram

REQUESTS = Counter("gateway_requests", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram("gateway_request_seconds", "Seconds until the head of the answer.", ["route"])
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


@lru_cache(4096)
def series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return what counts and what times. Labels are a bounded set: what a client makes up is `other`."""
    return REQUESTS.labels(method if method in METHODS else "other", route, str(status)), SECONDS.labels(route)


def observe(method: str, route: str, status: int, seconds: float) -> None:
    """Count and time a request."""
    requests, duration = series(method, route, status)
    requests.inc()
    duration.observe(seconds)
