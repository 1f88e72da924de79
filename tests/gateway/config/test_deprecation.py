"""`deprecated` in gateway.yaml: its times, what is merged, and what it is written as."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.gateway.config.files import faults, read, route

from gateway.config import Deprecated, written

A_TIME = "a date such as 2026-12-31, or a time with its offset such as 2026-12-31T12:00:00Z"


@pytest.mark.parametrize(
    ("text", "moment", "back"),
    [
        ("2026-12-31", datetime(2026, 12, 31, tzinfo=UTC), "2026-12-31"),
        ("2026-12-31T12:00:00Z", datetime(2026, 12, 31, 12, tzinfo=UTC), "2026-12-31T12:00:00Z"),
        ("'2026-12-31T12:00:00+02:00'", datetime(2026, 12, 31, 10, tzinfo=UTC), "2026-12-31T10:00:00Z"),
    ],
)
def test_a_time_is_a_date_or_has_an_offset(tmp_path: Path, text: str, moment: datetime, back: str) -> None:
    one = read(tmp_path, route(deprecated=f"{{since: {text}}}")).routes[0]
    assert one.deprecated == Deprecated.model_construct(since=moment)
    assert written(one, "deprecated") == f"since: {back}"


@pytest.mark.parametrize(
    "text", ["2026-13-01", "2026-12-31T12:00:00", "20261231", "tomorrow", "'2026-12-31 12:00'", "5"]
)
def test_another_time_is_a_fault(tmp_path: Path, text: str) -> None:
    (since,) = faults(tmp_path, route(deprecated=f"{{since: {text}}}"))
    assert since.endswith(f"expected {A_TIME}, or never")
    (sunset,) = faults(tmp_path, route(deprecated=f"{{since: 2026-01-01, sunset: {text}}}"))
    assert sunset.endswith(f"expected {A_TIME}")


@pytest.mark.parametrize("text", ["docs", "ftp://x", "'https://a b'", "'https://a/>; rel=x'", '"https://a/\\""'])
def test_a_link_is_the_url_of_a_page(tmp_path: Path, text: str) -> None:
    (found,) = faults(tmp_path, route(deprecated=f"{{since: 2026-01-01, link: {text}}}"))
    assert "expected an http or https URL of a page" in found


def test_the_keys_are_merged_over_the_three_levels(tmp_path: Path) -> None:
    text = """
version: 1
defaults: {deprecated: {link: https://docs.example.org}}
services:
  a: {url: http://a, deprecated: {since: 2026-01-01, sunset: 2027-01-01}}
  b: {url: http://b}
routes:
  - {path: /1, service: a, allow: public, deprecated: {sunset: 2028-01-01}}
  - {path: /2, service: a, allow: public, deprecated: {since: never}}
  - {path: /3, service: b, allow: public}
"""
    first, second, third = (each.deprecated for each in read(tmp_path, text).routes)
    assert (first.since, first.sunset) == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC))
    assert first.link == "https://docs.example.org"
    assert (second.since, third.since) == (None, None)
