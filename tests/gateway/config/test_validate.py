"""`validate` in gateway.yaml: it needs the document of the route's service."""

from pathlib import Path

import pytest
from tests.gateway.config.files import faults, read, route

from gateway.config import warnings

NEEDS = "`validate` needs the service's document. Give service 'a' an `openapi` path, or remove `validate`."
WITH = "{url: 'http://a', openapi: /o.json}"
BARE = "{url: 'http://a'}"


def odd(tmp_path: Path, text: str) -> list[str]:
    """Return the warnings of a file without faults."""
    read(tmp_path, text)
    found = warnings(tmp_path / "gateway.yaml", {})
    return [str(fault).removeprefix(f"{tmp_path}/gateway.yaml:") for fault in found]


@pytest.mark.parametrize("mode", ["report", "enforce"])
def test_a_route_or_service_that_validates_without_a_document_is_a_fault(tmp_path: Path, mode: str) -> None:
    assert faults(tmp_path, route(validate=mode)) == [f"7:15: {NEEDS}"]
    text = route().replace(BARE, f"{{url: 'http://a', validate: {mode}}}")
    assert faults(tmp_path, text + "  - {path: /y, service: a, allow: public}\n") == [f"2:43: {NEEDS}"]
    assert odd(tmp_path, route(validate=mode).replace(BARE, WITH)) == []


def test_validate_skip_needs_no_document(tmp_path: Path) -> None:
    assert odd(tmp_path, route(validate="skip")) == []


def test_an_unknown_service_is_the_only_fault_of_a_route_that_validates(tmp_path: Path) -> None:
    (found,) = faults(tmp_path, route(service="b", validate="enforce"))
    assert "unknown service 'b'" in found


def test_a_service_without_a_document_is_a_warning_where_defaults_validate(tmp_path: Path) -> None:
    text = (
        route(path="/y")
        + "    validate: skip\n  - {path: /x, service: a, allow: public}\ndefaults: {validate: enforce}\n"
    )
    unchecked = "requests to service 'a' are not validated: it has no document."
    assert odd(tmp_path, text) == [f"2:12: {unchecked} Give it an `openapi` path, or write `validate: skip` here."]
    assert odd(tmp_path, text.replace(BARE, WITH)) == []
    assert odd(tmp_path, text.replace(BARE, "{url: 'http://a', validate: skip}")) == []
    assert odd(tmp_path, text.replace("public}", "public, validate: skip}")) == []
