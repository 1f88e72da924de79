"""What the gateway would decide, and the line of gateway.yaml that decides it."""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from tests.gateway.conftest import bearer

from gateway.config import ConfigError, RateLimit
from gateway.counters import Counters
from gateway.testing import explain

ROOT = Path(__file__).resolve().parents[2]
TEXT = """\
version: 1
limits:
  per_user: {rate: 3/hour}
defaults:
  max_body: 10
services:
  a:
    url: http://a:9000/base
    rate_limit: per_user
    headers: {request: {set: {X-Api-Key: "${KEY}"}}}
routes:
  - path: /api/users
    methods: [GET, POST]
    service: a
    allow: [admin]
  - path: /api/open/{id}
    service: a
    allow: public
    rate_limit: 1/hour
    max_body: 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(TEXT)
    return path


ENVIRON = {"KEY": "very-private"}
ROLES = ("admin", "default", None)


def test_only_admins_reach_the_users(file: Path) -> None:
    found = {role: explain(file, "GET", "/api/users", role=role, environ=ENVIRON) for role in ROLES}
    assert [role for role in ROLES if found[role].is_forwarded] == ["admin"]
    assert [found[role].status for role in ROLES] == [None, 403, 401]


def test_each_policy_has_its_verdict_and_its_line(file: Path) -> None:
    found = explain(file, "GET", "/api/users", user="7", role="admin", environ=ENVIRON)
    assert (found.route, found.line, found.service, found.service_line) == ("/api/users", 12, "a", 7)
    assert found.addresses == ("http://a:9000/base",)
    steps = {step.policy: (step.verdict, step.value, step.line) for step in found.steps}
    assert steps["methods"] == ("allowed", "GET, POST", 13)
    assert steps["allow"] == ("allowed", "admin", 15)
    # Inherited from the service, and from the defaults.
    assert steps["rate_limit"] == ("allowed", "per_user", 9)
    assert steps["max_body"] == ("allowed", "10", 5)
    assert steps["headers"][0::2] == ("applies", 10)
    (limit,) = found.limits
    assert (limit.name, limit.key, limit.left, limit.line) == ("per_user", "limit per_user user 7", 2, 3)


def test_what_follows_a_rejection_is_not_reached(file: Path) -> None:
    found = explain(file, "GET", "/api/users", user="7", environ=ENVIRON)
    assert (found.status, found.code, found.sent, found.limits) == (403, "permission_denied", None, ())
    assert [(step.policy, step.verdict) for step in found.steps[:4]] == [
        ("methods", "allowed"), ("allow", "rejected"), ("rate_limit", "not reached"), ("max_body", "not reached")
    ]  # fmt: skip


def test_secrets_are_hidden(file: Path) -> None:
    headers = [("Cookie", "session=private"), ("X-Other", "shown")]
    found = explain(file, "GET", "/api/users", user="7", role="admin", headers=headers, environ=ENVIRON)
    assert found.sent
    assert found.sent.line == "GET /base/api/users HTTP/1.1"
    sent = {name.lower(): value for name, value in found.sent.headers}
    assert (sent["cookie"], sent["x-api-key"], sent["x-other"]) == ("<hidden>", "<hidden>", "shown")
    assert (sent["authorization"], sent["request-user-id"]) == ("Bearer <passport for user 7>", "7")
    assert "private" not in found.as_json()


@pytest.mark.parametrize(
    ("method", "target", "headers", "status", "code"),
    [
        ("GET", "/nothing", [], 404, "route_not_found"),
        ("DELETE", "/api/users", [], 405, "method_not_allowed"),
        ("OPTIONS", "/api/users", [], 204, ""),
        ("GET", "/api/../x", [], 400, "bad_request"),
        ("GET", "/api/users/", [], 308, ""),
        ("POST", "/api/open/7", [("Content-Length", "6")], 413, "content_too_large"),
        ("GET", "/api/open/7", [("Authorization", "Bearer x")], 401, "token_invalid"),
        ("GET", "/api/open/7", [("Host", "elsewhere.example")], 400, "bad_request"),
        ("GET", "/docs", [], None, "own_path"),
    ],
)
def test_the_gateways_own_responses_are_explained(
    file: Path, method: str, target: str, headers: Any, status: int | None, code: str
) -> None:
    found = explain(file, method, target, headers=headers, environ=ENVIRON)
    assert (found.status, found.code, found.is_forwarded) == (status, code, False)


def test_a_faulty_file_has_its_faults(file: Path) -> None:
    with pytest.raises(ConfigError, match="KEY is not set"):
        explain(file, "GET", "/api/users", environ={})


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("explain", *arguments, stdout=out, stderr=out)
    return out.getvalue()


@pytest.fixture
def in_force(file: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.GATEWAY_CONFIG = file
    monkeypatch.setenv("KEY", "very-private")
    return file


def test_the_command_prints_the_lines_and_counts_nothing(in_force: Path, settings: Any) -> None:
    counts = Counters(settings.STATE / "counters")
    counts.admit("/api/open/{id} GET,POST,PUT,PATCH,DELETE address 192.0.2.1", RateLimit(1, 3600.0))
    for _ in range(2):
        assert "service would get" in command("GET", "/api/open/7")
        rejected = command("GET", "/api/open/7", "--from", "192.0.2.1")
        assert re.search(r"rate_limit +rejected  1/hour  \(gateway.yaml:19\)", rejected)
        assert "The gateway would respond: 429 rate_limited" in rejected
    assert "very-private" not in command("GET", "/api/users", "--role", "admin")


def test_the_command_prints_json(in_force: Path) -> None:
    found = json.loads(command("get", "/api/users", "--as", "7", "--json"))
    assert (found["status"], found["is_forwarded"], found["route"], found["user"]) == (403, False, "/api/users", "7")


@pytest.mark.django_db
def test_the_command_verifies_a_token(in_force: Path) -> None:
    token = bearer("7", "admin")["Authorization"].removeprefix("Bearer ")
    assert "Bearer <passport for user 7>" in command("GET", "/api/users", "--token", token)
    assert "401 token_invalid" in command("GET", "/api/users", "--token", f"{token}x")


@pytest.mark.parametrize(
    "arguments",
    [("--token", "x", "--as", "7"), ("--header", "nonsense"), ("--role", "admin", "--header", "Cookie: a=b")],
)
def test_the_command_rejects_what_contradicts_itself(in_force: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        command("GET", "/api/users", *arguments)


def test_the_example_in_the_documents_works(monkeypatch: pytest.MonkeyPatch) -> None:
    section = (ROOT / "docs" / "gateway.yaml.md").read_text().partition("## Explain\n")[2]
    code = section.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/gateway.yaml.md", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()
