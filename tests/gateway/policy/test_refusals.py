"""What each refusal is answered with."""

import pytest

from gateway.policy import refusals
from gateway.policy.refusals import Refused, TooLarge, TooMany


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        ("BadRequest", 400), ("NotSignedIn", 401), ("InvalidToken", 401), ("NotAllowed", 403), ("NoRoute", 404),
        ("MethodNotAllowed", 405), ("BodyLate", 408), ("TooLarge", 413), ("TooMany", 429), ("BadUpstream", 502),
        ("ExpectationFailed", 417), ("MethodUnknown", 501), ("UpstreamDown", 502), ("UpstreamMalformed", 502),
        ("UpstreamBroke", 502), ("UpstreamFaulty", 502), ("UpstreamUnable", 503),
        ("UpstreamBusy", 503), ("UpstreamLate", 504),
    ],
)  # fmt: skip
def test_every_refusal_has_its_status_and_is_in_the_tree(refusal: str, status: int) -> None:
    kind = getattr(refusals, refusal)
    assert issubclass(kind, Refused)
    assert kind.status == status
    assert f"── {refusal} " in str(refusals.__doc__)
    assert f" {status}  " in next(line for line in str(refusals.__doc__).splitlines() if f" {refusal} " in line)


def test_the_tree_is_whole() -> None:
    assert len(Refused.__subclasses__()) >= 9
    own = [
        kind
        for kind in vars(refusals).values()
        if isinstance(kind, type) and issubclass(kind, Refused) and kind.__module__ == "gateway.policy.refusals"
    ]
    assert str(refusals.__doc__).count("── ") == len(own)


@pytest.mark.parametrize(("wait", "seconds"), [(0.001, "1"), (1.0, "1"), (1.001, "2"), (59.2, "60")])
def test_retry_after_is_whole_seconds_that_are_enough(wait: float, seconds: str) -> None:
    refused = TooMany(wait)
    assert refused.headers == {"Retry-After": seconds}
    assert refused.detail == f"Expected fewer requests. Try again in {seconds} s."


def test_a_body_that_is_too_large_is_told_the_limit() -> None:
    refused = TooLarge(1024)
    assert (refused.detail, refused.headers, str(refused)) == (
        "Expected a body of at most 1024 bytes.",
        {},
        refused.detail,
    )
