"""`cors` in gateway.yaml: origins, what is merged, and what contradicts itself."""

from pathlib import Path

import pytest
from tests.gateway.config.files import faults, read, route

ORIGIN = "an origin: scheme, host and optional port, such as https://app.example.org, or '*' for every origin"


@pytest.mark.parametrize(
    ("written", "origins"),
    [
        ("https://app.example.org", ("https://app.example.org",)),
        ("'*'", ("*",)),
        ("['*']", ("*",)),
        ("[]", ()),
        ("[HTTPS://App.Example.org, 'http://localhost:3000']", None),
        ("['https://App.Example.org:443', 'http://localhost:80', 'http://[::1]:3000']",
         ("https://app.example.org", "http://localhost", "http://[::1]:3000")),
    ],
)  # fmt: skip
def test_origins_are_read_as_browsers_send_them(tmp_path: Path, written: str, origins: tuple[str, ...] | None) -> None:
    text = route(cors=f"{{origins: {written}}}")
    if origins is None:
        assert faults(tmp_path, text) == [f"7:22: got 'HTTPS://App.Example.org'; expected {ORIGIN}"]
    else:
        assert read(tmp_path, text).routes[0].cors.origins == origins


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("app.example.org", ORIGIN),
        ("https://*.example.org", ORIGIN),
        ("https://app.example.org:0", ORIGIN),
        ("ftp://app.example.org", ORIGIN),
        ("https://app.example.org/", "an origin without a path; write https://app.example.org"),
        ("https://App.example.org:8443/a/b", "an origin without a path; write https://app.example.org:8443"),
        ("'null'", f"{ORIGIN}. Every sandboxed page and local file has the origin null, so it names no page"),
        ("'*', 'https://a.example'", "'*' alone, or the origins without it"),
    ],
)
def test_what_is_not_an_origin_is_a_fault_that_says_what_to_write(tmp_path: Path, written: str, expected: str) -> None:
    (found,) = faults(tmp_path, route(cors=f"{{origins: [{written}]}}"))
    assert found.endswith(f"expected {expected}")


def test_the_keys_of_cors_are_merged_over_the_three_levels(tmp_path: Path) -> None:
    text = """
version: 1
defaults: {cors: {origins: https://a.example, credentials: true, expose: [X-A]}}
services:
  a: {url: http://a, cors: {expose: [X-B], max_age: 1m}}
routes:
  - {path: /1, service: a, allow: public, cors: {origins: https://b.example}}
  - {path: /2, service: a, allow: public, cors: {origins: []}}
"""
    first, second = (each.cors for each in read(tmp_path, text).routes)
    assert (first.origins, first.credentials, first.expose, first.max_age) == (
        ("https://b.example",), True, ("X-B",), 60.0,
    )  # fmt: skip
    assert second.origins == ()


CREDENTIALS = (
    "`credentials: true` with every origin: any page could use a user's cookies. "
    "List the origins, or remove `credentials`."
)


@pytest.mark.parametrize(
    ("defaults", "service", "own", "place"),
    [
        ("{}", "{}", "{origins: '*', credentials: true}", "5:72"),
        ("{}", "{}", "{credentials: true, origins: ['*']}", "5:58"),
        ("{origins: '*'}", "{}", "{credentials: true}", "5:58"),
        ("{origins: '*', credentials: true}", "{}", "{}", "2:46"),
        ("{credentials: true}", "{origins: '*'}", "{}", "3:51"),
    ],
)
def test_every_origin_with_credentials_is_a_fault_on_whatever_levels_they_are(
    tmp_path: Path, defaults: str, service: str, own: str, place: str
) -> None:
    text = (
        f"version: 1\ndefaults: {{cors: {defaults}}}\nservices: {{a: {{url: 'http://a', cors: {service}}}}}\nroutes:\n"
        f"  - {{path: /x, service: a, allow: public, cors: {own}}}\n"
    )
    found = faults(tmp_path, text)
    assert [each.partition(": ")[2] for each in found] == [CREDENTIALS]
    assert found[0].startswith(f"{place[0]}:")


def test_an_origin_on_the_route_makes_credentials_of_defaults_safe(tmp_path: Path) -> None:
    text = "version: 1\nservices: {a: {url: 'http://a', cors: {origins: '*'}}}\nroutes:\n"
    text += "  - {path: /x, service: a, allow: public, cors: {origins: http://b, credentials: true}}\n"
    assert read(tmp_path, text).routes[0].cors.credentials


@pytest.mark.parametrize("name", ["'*'", "'a b'", "''", "5"])
def test_a_header_is_listed_by_its_name(tmp_path: Path, name: str) -> None:
    (found,) = faults(tmp_path, route(cors=f"{{headers: [{name}]}}"))
    assert "expected the name of a header, such as Content-Type; '*' does not cover Authorization" in found
