"""The status of each rejection."""

import pytest

from gateway.policy import rejections
from gateway.policy.rejections import ContentTooLarge, RateLimited, RequestRejected


@pytest.mark.parametrize(
    ("rejection", "status"),
    [
        ("BadRequest", 400),
        ("Unauthenticated", 401),
        ("InvalidToken", 401),
        ("Forbidden", 403),
        ("RouteNotFound", 404),
        ("MethodNotAllowed", 405),
        ("RequestTimeout", 408),
        ("ContentTooLarge", 413),
        ("RateLimited", 429),
        ("InvalidUpstreamResponse", 502),
        ("ExpectationFailed", 417),
        ("MethodNotImplemented", 501),
        ("UpstreamConnectError", 502),
        ("UpstreamProtocolError", 502),
        ("UpstreamDisconnected", 502),
        ("UpstreamErrorResponse", 502),
        ("UpstreamUnavailable", 503),
        ("UpstreamOverloaded", 503),
        ("UpstreamTimeout", 504),
    ],
)
def test_every_rejection_has_its_status_and_is_in_the_tree(rejection: str, status: int) -> None:
    kind = getattr(rejections, rejection)
    assert issubclass(kind, RequestRejected)
    assert kind.status == status
    assert f"── {rejection} " in str(rejections.__doc__)
    assert f" {status}  " in next(line for line in str(rejections.__doc__).splitlines() if f" {rejection} " in line)


def test_the_tree_is_complete() -> None:
    assert len(RequestRejected.__subclasses__()) >= 9
    own = [
        kind
        for kind in vars(rejections).values()
        if isinstance(kind, type)
        and issubclass(kind, RequestRejected)
        and kind.__module__ == "gateway.policy.rejections"
    ]
    assert str(rejections.__doc__).count("── ") == len(own)


@pytest.mark.parametrize(("wait", "seconds"), [(0.001, "1"), (1.0, "1"), (1.001, "2"), (59.2, "60")])
def test_retry_after_is_whole_seconds_that_are_enough(wait: float, seconds: str) -> None:
    rejected = RateLimited(wait)
    assert rejected.headers == {"Retry-After": seconds}
    assert rejected.detail == f"Too many requests. Try again in {seconds} s."


def test_a_413_names_the_limit() -> None:
    rejected = ContentTooLarge(1024)
    assert (rejected.detail, rejected.headers, str(rejected)) == (
        "The body is too large. Send at most 1024 bytes.",
        {},
        rejected.detail,
    )
