"""The JSON Schema, the file's reference and the gateway's own gateway.yaml keep in step with the models."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from gateway.config import Config, Policies, ServicePolicies, json_schema, load
from gateway.config.loading import models_in
from gateway.policy.rejections import MethodNotAllowed
from gateway.policy.routes import RouteTable

ROOT = Path(__file__).resolve().parents[3]
OWN = ROOT / "gateway_project" / "gateway.yaml"
REFERENCE = (ROOT / "docs" / "gateway.yaml.md").read_text()
GOOD: dict[str, Any] = {"version": 1, "services": {"a": {"url": "http://a"}}, "routes": []}
ROUTE = {"path": "/x", "service": "a", "allow": "public"}


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(json_schema())


def is_valid(document: object) -> bool:
    return bool(validator().is_valid(document))


def test_the_schema_in_the_docs_is_current() -> None:
    assert json.loads((ROOT / "docs" / "gateway.schema.json").read_text()) == json_schema()


def test_the_module_prints_the_schema() -> None:
    printed = subprocess.run(
        [sys.executable, "-W", "error", "-m", "gateway.config"],
        cwd=ROOT / "gateway_project", check=True, capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip
    assert printed.stdout == (ROOT / "docs" / "gateway.schema.json").read_text()


def test_the_schema_is_a_valid_json_schema() -> None:
    Draft202012Validator.check_schema(json_schema())
    assert "null" not in json.dumps(json_schema())


def test_the_schema_accepts_the_gateways_own_file() -> None:
    assert is_valid(yaml.safe_load(OWN.read_text()))


@pytest.mark.parametrize(
    "change",
    [
        {"defaults": {"timeouts": {"connect": "250ms"}, "max_body": 5}},
        {"defaults": {"max_body": "${MAX:-1MiB}", "timeouts": {"total": "${TOTAL}"}}},
        {"services": {"a": {"url": ["http://a", "${B}"], "openapi": "/x", "health": "/y"}}},
        {"routes": [ROUTE | {"methods": ["GET"], "allow": ["admin"], "rate_limit": "1/day", "browser": "passthrough"}]},
        {"versions": {"current": "v1"}, "login": {"service": "a"}},
        {"services": {"a": {"url": {"url": "http://a"}}}},
        {"services": {"a": {"url": "http://a", "health": {"path": "/h", "interval": "1s", "healthy": 1}}}},
        {"services": {"a": {"url": ["http://a", {"url": "http://b", "weight": 2}, {"url": "${C}", "weight": "${W}"}]}}},
        {
            "defaults": {
                "eject": {"failures": 3, "on": ["connect", "5xx"], "rest": "1s", "max_rest": "1m", "most": "0%"}
            }
        },
        {"limits": {"per_user": {"rate": "120/minute", "burst": 20, "by": "header:X-Key", "announce": False}}},
        {"defaults": {"rate_limit": "per_user"}, "services": {"a": {"url": "http://a", "rate_limit": ["b", "c_d"]}}},
    ],
)
def test_the_schema_accepts_valid_files(change: dict[str, Any]) -> None:
    assert is_valid(GOOD | change)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"routs": []},
        {"routes": [{"path": "/x", "service": "a"}]},
        {"routes": [ROUTE | {"methods": ["get"]}]},
        {"routes": [ROUTE | {"methods": []}]},
        {"routes": [ROUTE | {"allow": "admin"}]},
        {"routes": [ROUTE | {"allow": []}]},
        {"routes": [ROUTE | {"rate_limit": None}]},
        {"routes": [ROUTE | {"rate_limit": "1/week"}]},
        {"routes": [ROUTE | {"rate_limit": ["1/day"]}]},
        {"limits": {"per_user": {"rate": "1/day", "by": "method"}}},
        {"limits": {"per_user": {"rate": "1/day", "burst": 0}}},
        {"limits": {"per_user": {}}},
        {"routes": [ROUTE | {"path": "x"}]},
        {"services": {"A": {"url": "http://a"}}},
        {"services": {"a": {"url": "ftp://a"}}},
        {"services": {"a": {"url": []}}},
        {"services": {"a": {"url": [{"url": "http://a", "weight": 0}]}}},
        {"services": {"a": {"url": [{"weight": 1}]}}},
        {"defaults": {"eject": {"on": []}}},
        {"defaults": {"eject": {"on": ["4xx"]}}},
        {"defaults": {"eject": {"most": 50}}},
        {"services": {"a": {}}},
        {"defaults": {"timeouts": {"connect": 1}}},
        {"defaults": {"max_body": "1 MiB"}},
        {"versions": {"current": "1"}},
    ],
)
def test_the_schema_rejects_invalid_files(change: dict[str, Any]) -> None:
    assert not is_valid(GOOD | change)


def keys(section: Any = Config, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every key of the file as the reference heads it, and what it means."""
    for name, field in section.model_fields.items():
        if name in ServicePolicies.model_fields and section is not ServicePolicies and issubclass(section, Policies):
            continue  # documented once, at `defaults`
        below = {"services": "services.<name>", "limits": "limits.<name>", "routes": "routes[]"}.get(name, name)
        yield prefix + name, str(field.description)
        for model in models_in(field.annotation):
            yield from keys(model, f"{prefix}{below}.")


@pytest.mark.parametrize(("key", "meaning"), list(keys()))
def test_each_key_is_documented_in_the_reference(key: str, meaning: str) -> None:
    heading = f"### `{key}`\n"
    assert REFERENCE.count(heading) == 1
    section = REFERENCE.partition(heading)[2].partition("\n### ")[0]
    assert meaning in " ".join(section.split())
    assert "Default: " in section or "Required." in section
    assert "```yaml" in section


def test_the_reference_documents_only_existing_keys() -> None:
    headings = {line.split("`")[1] for line in REFERENCE.splitlines() if line.startswith("### `")}
    assert headings == {key for key, _ in keys()}


def test_the_examples_of_the_reference_are_valid(tmp_path: Path) -> None:
    whole = REFERENCE.partition("<!-- whole -->\n```yaml\n")[2].partition("```")[0]
    path = tmp_path / "gateway.yaml"
    path.write_text(whole)
    assert load(path, {}).routes


OWN_ROUTES = [
    ("/api/users", "GET, HEAD, OPTIONS, POST", "users", ("admin",)),
    ("/api/users/7", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT", "users", ("admin",)),
    ("/api/users/7/history", "GET, HEAD, OPTIONS", "users", ("admin",)),
    ("/api/users/me", "GET, HEAD, OPTIONS, PATCH", "users", "authenticated"),
    ("/api/users/me/password", "OPTIONS, POST", "users", "authenticated"),
    ("/api/orders", "GET, HEAD, OPTIONS, POST", "orders", "authenticated"),
    ("/api/orders/7", "GET, HEAD, OPTIONS", "orders", "authenticated"),
    ("/api/orders/7/cancel", "OPTIONS, POST", "orders", "authenticated"),
    ("/admin/users/user/", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT", "users", ("admin",)),
]


@pytest.mark.parametrize(("path", "methods", "service", "allow"), OWN_ROUTES)
def test_the_shipped_gateway_yaml_declares_the_public_paths(
    path: str, methods: str, service: str, allow: object
) -> None:
    config = load(OWN, {})
    table = RouteTable(config)
    for method in methods.split(", "):
        match = table.match(method, path)
        assert (match.allow, match.route.service, match.route.allow) == (methods, service, allow)
        assert match.handles_options == (method == "OPTIONS")
    with pytest.raises(MethodNotAllowed):
        table.match("TRACE", path)
    assert len(config.routes) == len(OWN_ROUTES)


def test_the_shipped_gateway_yaml_takes_service_urls_from_the_environment() -> None:
    config = load(OWN, {"USERS_URL": "http://users:1", "ORDERS_URL": "https://orders/base"})
    assert {name: service.url for name, service in config.services.items()} == {
        "users": ("http://users:1",),
        "orders": ("https://orders/base",),
    }
    assert {service.url for service in load(OWN, {}).services.values()} == {
        ("http://127.0.0.1:8002",),
        ("http://127.0.0.1:8003",),
    }
    assert [str(route.rate_limit) for route in config.routes if route.rate_limit] == ["120/minute"]
    assert config.login is not None
    assert (config.login.service, config.current_version) == ("users", "v1")
