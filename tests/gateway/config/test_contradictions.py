"""Policies that contradict each other: a fault where it cannot work, a warning where it hardly is meant."""

from pathlib import Path
from typing import NamedTuple

import pytest
from tests.gateway.config.files import faults, read

from gateway.config import warnings


class Row(NamedTuple):
    """What the levels declare beside the least, and what is found: `line: beginning of the message`."""

    defaults: str = ""
    service: str = ""
    route: str = ""
    found: str = ""


def text_of(row: Row) -> str:
    route = {"path": "'/a/{id}'", "service": "a", "allow": "public"}
    own = row.route
    least = ", ".join(f"{key}: {value}" for key, value in route.items())
    service = row.service if row.service.startswith("url:") else f"url: 'http://a', {row.service}"
    return (
        f"version: 1\n"
        f"defaults: {{{row.defaults}}}\n"
        f"services: {{a: {{{service.removesuffix(', ')}}}}}\n"
        f"limits: {{mine: {{rate: 1/day, by: user}}, other: {{rate: 1/day, by: address}}}}\n"
        f"routes:\n"
        f"  - {{{own}{', ' if own else ''}{least}}}\n"
        f"  - {{path: '/b/{{id}}', service: a, allow: authenticated, rate_limit: [mine, other]}}\n"
        f"  - {{path: '/c/{{x}}', service: a, allow: public, rate_limit: other}}\n"
    )


OLD = "deprecated: {since: 2026-01-01"
FAULTS = {
    "cors for every origin with credentials": Row(
        route="cors: {origins: '*', credentials: true}", found="6: `credentials: true` with every origin"
    ),
    "cors for every origin with credentials, of two levels": Row(
        "cors: {credentials: true}", "cors: {origins: '*'}", found="3: `credentials: true` with every origin"
    ),
    "validate without a document": Row(route="validate: enforce", found="6: `validate` needs the service's document"),
    "rewrite with another parameter": Row(
        route="rewrite: '/x/{name}'", found="6: the path '/a/{id}' has no parameter {name}"
    ),
    "an authorization that is set beside the client's own": Row(
        service="pass_authorization: true, headers: {request: {set: {Authorization: secret}}}",
        found="3: got 'Authorization'; expected a header that is not the gateway's own",
    ),
    "a sunset before since": Row(route=f"{OLD}, sunset: 2025-01-01, successor: '/b/{{id}}'}}",
                                 found="6: `sunset` '2025-01-01' is before `since` '2026-01-01'"),
    "a sunset before since, of two levels": Row(
        "deprecated: {since: 2027-01-01}", route="deprecated: {sunset: 2026-01-01, link: 'https://a'}",
        found="6: `sunset` '2026-01-01' is before `since` '2027-01-01'"
    ),
    "deprecated without since": Row(route="deprecated: {successor: '/b/{id}'}",
                                    found="6: `deprecated` has no `since`"),
    "a service that is deprecated without since": Row(service="deprecated: {sunset: 2099-01-01}",
                                                      found="3: `deprecated` has no `since`"),
    "a successor that is not routed": Row(route=f"{OLD}, successor: /d}}",
                                          found="6: successor '/d' is not routed"),
    "a successor with another parameter": Row(
        route=f"{OLD}, successor: '/c/{{x}}'}}",
        found="6: successor '/c/{x}' has parameters that the path '/a/{id}' lacks: x",
    ),
    "a successor that is the path itself": Row(route=f"{OLD}, successor: '/a/{{id}}'}}",
                                               found="6: successor '/a/{id}' is the deprecated path itself"),
}  # fmt: skip
PAGES = "cors: {origins: 'https://b'}"
WARNINGS = {
    "a limit by user on a public route": Row(route="rate_limit: mine", found="6: limit 'mine' counts by user, but"),
    "cors of a passthrough route": Row(
        route=f"{PAGES}, browser: passthrough", found="6: `cors` lets pages of other origins read these pages"
    ),
    "cors of defaults on a passthrough route": Row(
        PAGES, route="browser: passthrough", found="6: `cors` of line 2 lets pages of other origins read these pages"
    ),
    "cors without origins": Row(route="cors: {methods: [GET]}", found="6: `cors` has no effect without `origins`"),
    "cors of defaults without origins": Row("cors: {max_age: 1m}", found="2: `cors` has no effect without `origins`"),
    "a sunset that has passed": Row(
        route="deprecated: {since: 2020-01-01, sunset: 2021-01-01, successor: '/b/{id}'}",
        found="6: `sunset` '2021-01-01' has passed",
    ),
    "deprecated without what to use instead": Row(
        route=f"{OLD}}}", found="6: `deprecated` without `successor` or `link`"
    ),
    "tls without https": Row(
        service="url: ['http://a', {url: 'http://b'}], tls: {server_name: a}", found="3: `tls` has no effect"
    ),
    "a document that no requests are checked by": Row(
        "validate: enforce", found="3: requests to service 'a' are not validated"
    ),
}
FINE = {
    "nothing": Row(),
    "credentials for a listed origin": Row("cors: {origins: '*'}", route=f"{PAGES[:-1]}, credentials: true}}"),
    "cors of defaults beside pages without it": Row(
        PAGES, route="browser: passthrough, cors: {origins: []}"
    ),
    "cors whose origins a route has": Row("cors: {max_age: 1m}", route=PAGES),
    "a deprecated route": Row(route=f"{OLD}, sunset: 2099-01-01, successor: '/b/{{id}}'}}"),
    "a successor in the rest of a path": Row(route=f"{OLD}, link: 'https://docs.example'}}"),
    "a deprecated service with a route that is not": Row(
        service="deprecated: {since: 2026-01-01, link: 'https://a'}", route="deprecated: {since: never}"
    ),
    "a page about deprecations in general": Row("deprecated: {link: 'https://a'}"),
    "every address": Row(route="allow_from: [0.0.0.0/0, '::/0', 127.0.0.1]"),
}  # fmt: skip


def found_in(tmp_path: Path, row: Row) -> list[str]:
    """Return the warnings of a file without faults, each from its line on."""
    read(tmp_path, text_of(row))
    return [f"{fault.line}: {fault.message}" for fault in warnings(tmp_path / "gateway.yaml", {})]


@pytest.mark.parametrize("row", FAULTS.values(), ids=FAULTS)
def test_what_cannot_work_is_a_fault_with_its_line(tmp_path: Path, row: Row) -> None:
    (found,) = faults(tmp_path, text_of(row))
    line, _, message = found.partition(": ")
    assert f"{line.partition(':')[0]}: {message}".startswith(row.found)


@pytest.mark.parametrize("row", WARNINGS.values(), ids=WARNINGS)
def test_what_is_hardly_meant_is_a_warning_with_its_line(tmp_path: Path, row: Row) -> None:
    (found,) = found_in(tmp_path, row)
    assert found.startswith(row.found)


@pytest.mark.parametrize("row", FINE.values(), ids=FINE)
def test_what_goes_together_is_neither(tmp_path: Path, row: Row) -> None:
    assert found_in(tmp_path, row) == []


def test_each_advises_what_to_do(tmp_path: Path) -> None:
    for row in WARNINGS.values():
        for found in found_in(tmp_path, row):
            assert found.endswith((".", ".]")), found
            assert any(word in found for word in ("emove", "rite", "dd ", "horten", "ame ", "ive ")), found


def test_warnings_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    row = Row("cors: {max_age: 1m}", "cors: {max_age: 2m}, tls: {server_name: a}", "cors: {max_age: 3m}")
    assert [found.partition(":")[0] for found in found_in(tmp_path, row)] == ["2", "3", "3", "6"]
