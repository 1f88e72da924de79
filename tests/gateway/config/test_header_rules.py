"""`headers` in gateway.yaml: names, values, and the merge by name."""

from pathlib import Path

import pytest
from tests.gateway.config.files import faults, read, route

SECRET = "s3cr3t-key"


def test_headers_are_merged_by_name_over_the_three_levels(tmp_path: Path) -> None:
    text = """
version: 1
defaults: {headers: {request: {set: {X-A: a, X-B: b, X-C: c}, remove: [X-D, X-E]}}}
services:
  a: {url: http://a, headers: {request: {set: {x-b: service, X-E: e}, remove: [x-c]}}}
routes:
  - {path: /1, service: a, allow: public, headers: {request: {remove: [X-A, X-F]}}}
  - {path: /2, service: a, allow: public}
"""
    first, second = (each.headers.request for each in read(tmp_path, text).routes)
    assert {name: value.get_secret_value() for name, value in first.set.items()} == {"x-b": "service", "X-E": "e"}
    assert first.remove == ("X-D", "x-c", "X-A", "X-F")
    assert {name: value.get_secret_value() for name, value in second.set.items()} == {
        "X-A": "a", "x-b": "service", "X-E": "e",
    }  # fmt: skip
    assert second.remove == ("X-D", "x-c")


@pytest.mark.parametrize(
    "name",
    [
        "Host", "content-length", "Connection", "Transfer-Encoding", "TE", "Upgrade", "Expect", "Authorization",
        "Request-User-Id", "Forwarded", "X-Forwarded-For", "X-Forwarded-Anything", "Via", "X-Request-ID", "X-Real-IP",
    ],
)  # fmt: skip
@pytest.mark.parametrize("rules", ["request: {set: {%s: x}}", "request: {remove: [%s]}"])
def test_a_header_of_requests_that_the_gateway_owns_is_a_fault_with_the_reason(
    tmp_path: Path, name: str, rules: str
) -> None:
    (found,) = faults(tmp_path, route(headers=f"{{{rules % name}}}"))
    assert f"got '{name}'; expected a header that is not the gateway's own: " in found
    assert found.startswith("7:")


@pytest.mark.parametrize(
    "name",
    [
        "Content-Length",
        "Connection",
        "Access-Control-Allow-Origin",
        "Content-Encoding",
        "Vary",
        "Via",
        "X-Request-ID",
        "Audit-Detail",
    ],
)
@pytest.mark.parametrize("rules", ["response: {set: {%s: x}}", "response: {remove: [%s]}"])
def test_a_header_of_responses_that_the_gateway_owns_is_a_fault_with_the_reason(
    tmp_path: Path, name: str, rules: str
) -> None:
    (found,) = faults(tmp_path, route(headers=f"{{{rules % name}}}"))
    assert f"got '{name}'; expected a header that is not the gateway's own: " in found


@pytest.mark.parametrize("name", ["Set-Cookie", "Deprecation", "Sunset"])
def test_some_headers_of_responses_can_only_be_removed(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, route(headers=f"{{response: {{remove: [{name}]}}}}"))
    assert len(faults(tmp_path, route(headers=f"{{response: {{set: {{{name}: x}}}}}}"))) == 1


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("request: {set: {X_Key: x}}", "a name without underscores, which WSGI cannot tell from hyphens; write X-Key"),
        ("request: {set: {X-A: x, x-a: y}}", "each entry once; x-a is there more often"),
        ("request: {remove: [X-A, x-a]}", "each entry once; x-a is there more often"),
        ("request: {set: {X-A: x}, remove: [x-a]}", "each name once; x-a is under `set` and `remove`"),
        ("request: {set: {'X A': x}}", "the name of a header, such as Content-Type; '*' does not cover Authorization"),
    ],
)
def test_a_name_that_cannot_be_meant_is_a_fault(tmp_path: Path, written: str, expected: str) -> None:
    (found,) = faults(tmp_path, route(headers=f"{{{written}}}"))
    assert found.endswith(f"expected {expected}")


@pytest.mark.parametrize("value", [f"{SECRET}\n", f"{SECRET}\x00", f" {SECRET}", f"{SECRET} ", f"{SECRET}é", ""])
def test_no_message_shows_a_value(tmp_path: Path, value: str) -> None:
    (found,) = faults(tmp_path, route(headers='{request: {set: {X-Key: "${KEY}"}}}'), {"KEY": value})
    assert found == (
        "7:38: got a value; expected printable ASCII without spaces at its ends, in quotes unless it is a word or "
        "a number"
    )


def test_no_representation_shows_a_value(tmp_path: Path) -> None:
    config = read(tmp_path, route(headers='{request: {set: {X-Key: "${KEY}"}}}'), {"KEY": SECRET})
    assert SECRET not in f"{config!r} {config} {config.routes[0].headers.request.set['X-Key']} {config.model_dump()}"
    assert config.routes[0].headers.request.set["X-Key"].get_secret_value() == SECRET


def test_a_value_may_be_a_number(tmp_path: Path) -> None:
    config = read(tmp_path, route(headers="{response: {set: {X-Total: 5}}}"))
    assert config.routes[0].headers.response.set["X-Total"].get_secret_value() == "5"
