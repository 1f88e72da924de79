"""What the gateway would decide, and the line of gateway.yaml that decides it."""

import asyncio
import json
import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from tests.conformance.gateways import PROJECT
from tests.gateway.conftest import bearer

from gateway.config import ConfigError, RateLimit, load
from gateway.counters import Counters
from gateway.explaining import ServiceAddress, with_states
from gateway.status import StatusSocket
from gateway.testing import explain
from gateway.upstreams import Pools

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
    assert found.addresses == (ServiceAddress("http://a:9000/base"),)
    steps = {step.policy: (step.verdict, step.value, step.line) for step in found.steps}
    assert steps["methods"] == ("allowed", "GET, POST", 13)
    assert steps["allow"] == ("allowed", "admin", 15)
    # Inherited from the service, and from the defaults.
    assert steps["rate_limit"] == ("allowed", "per_user", 9)
    assert steps["max_body"] == ("allowed", "10", 5)
    assert steps["headers"][0::2] == ("applies", 10)
    (limit,) = found.limits
    assert (limit.name, limit.key, limit.left, limit.line) == ("per_user", "limit per_user user 7", 2, 3)


def test_a_deprecated_route_is_explained(file: Path) -> None:
    rules = "{since: 2026-01-01, sunset: 2027-01-01, successor: '/api/users'}"
    file.write_text(file.read_text() + f"    deprecated: {rules}\n")
    step = explain(file, "GET", "/api/open/7", environ=ENVIRON).step("deprecated")
    assert (step.verdict, step.line) == ("applies", 21)
    assert step.value == "since: 2026-01-01, sunset: 2027-01-01, successor: /api/users"


def test_what_follows_a_rejection_is_not_reached(file: Path) -> None:
    found = explain(file, "GET", "/api/users", user="7", environ=ENVIRON)
    assert (found.status, found.code, found.sent, found.limits) == (403, "permission_denied", None, ())
    assert [(step.policy, step.verdict) for step in found.steps] == [
        ("methods", "allowed"), ("allow", "rejected"), ("rate_limit", "not reached"), ("max_body", "not reached"),
        ("headers", "not reached"),
    ]  # fmt: skip


def test_the_gateways_own_responses_have_the_headers_of_cors_and_deprecated(file: Path) -> None:
    own = (
        "    cors: {origins: ['https://app.example']}\n    deprecated: {since: 2026-01-01}\n    timeouts: {total: 1s}\n"
    )
    file.write_text(file.read_text() + own)
    rejected = explain(file, "POST", "/api/open/7", headers=[("Content-Length", "6")], environ=ENVIRON)
    preflight = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "GET")]
    options = explain(file, "OPTIONS", "/api/open/7", headers=preflight, environ=ENVIRON)
    assert (rejected.status, options.status) == (413, 204)
    for found in (rejected, options):
        verdicts = {policy: found.step(policy).verdict for policy in ("cors", "deprecated", "timeouts", "headers")}
        assert verdicts == {
            "cors": "applies", "deprecated": "applies", "timeouts": "not reached", "headers": "not reached"
        }  # fmt: skip


def test_secrets_are_hidden(file: Path) -> None:
    headers = [("Cookie", "session=private"), ("X-Other", "shown")]
    found = explain(file, "GET", "/api/users", user="7", role="admin", headers=headers, environ=ENVIRON)
    assert found.sent
    assert found.sent.line == "GET /base/api/users HTTP/1.1"
    sent = {name.lower(): value for name, value in found.sent.headers}
    assert (sent["cookie"], sent["x-api-key"], sent["x-other"]) == ("(hidden)", "(hidden)", "shown")
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
    assert found["addresses"] == [{"address": "http://a:9000/base", "states": {}}]


def lines_of(*arguments: str) -> list[str]:
    """Return the lines that the command prints, runs of spaces as one."""
    return [re.sub(" +", " ", line).strip() for line in command(*arguments).splitlines()]


def test_the_first_line_names_the_request_s_user(in_force: Path) -> None:
    assumed = "GET /api/users as user 1, role default (assumed; set it with --role)"
    assert lines_of("GET", "/api/users", "--as", "1")[0] == assumed
    assert lines_of("GET", "/api/users", "--as", "1", "--role", "admin")[0] == "GET /api/users as user 1, role admin"
    assert lines_of("GET", "/api/users", "--role", "admin")[0] == "GET /api/users as an admin"
    assert lines_of("GET", "/api/users", "--role", "default")[0] == "GET /api/users as a default"
    assert lines_of("GET", "/api/users")[0] == "GET /api/users"


@pytest.mark.parametrize("user", ["alice", "", "-1", "7a", "\u0667"])
def test_a_user_is_named_by_a_number(in_force: Path, user: str) -> None:
    with pytest.raises(CommandError, match="--as takes the user's id, such as 7"):
        command("GET", "/api/users", f"--as={user}")


def test_a_method_that_no_route_accepts_has_the_routes_of_the_path(in_force: Path) -> None:
    text = TEXT + "  - {path: /api/users, methods: [PATCH], service: a, allow: public}\n"
    in_force.write_text(text)
    assert lines_of("DELETE", "/api/users?x=1")[2:7] == [
        "route /api/users (gateway.yaml:12)",
        "methods rejected GET, POST (gateway.yaml:13)",
        "route /api/users (gateway.yaml:21)",
        "methods rejected PATCH (gateway.yaml:21)",
        "",
    ]
    # A redirect has the routes that it leads to, and a path without a route has none.
    assert lines_of("GET", "/api/users/?x=1")[2:4] == [
        "route /api/users (gateway.yaml:12)",
        "methods not reached GET, POST (gateway.yaml:13)",
    ]
    assert lines_of("GET", "/nothing")[2] == "The gateway would respond: 404 route_not_found"


POLICIES = """\
version: 1
services:
  a:
    url: http://a:9000
    headers:
      request: {set: {X-From: "${KEY}"}, remove: [X-Old]}
      response: {remove: [Server]}
    timeouts: {first_byte: 250ms, total: 2m}
    cors: {origins: "https://app.example", headers: [X-A], max_age: 90s}
    max_body: 100MB
    allow_from: [10.0.0.0/8, 127.0.0.0/8]
    retry: {attempts: 3, on: [connect, 503], budget: 7%}
routes:
  - {path: /x, service: a, allow: public}
"""


def test_values_are_as_gateway_yaml_writes_them(in_force: Path) -> None:
    in_force.write_text(POLICIES)
    lines = lines_of("GET", "/x")
    for line in (
        "headers applies request: set X-From: (hidden), remove X-Old; response: remove Server (gateway.yaml:5)",
        "timeouts applies connect: 1s, first_byte: 250ms, total: 2m (gateway.yaml:8)",
        "cors applies origins: [https://app.example], headers: [X-A], max_age: 90s (gateway.yaml:9)",
        "max_body allowed 100MB (gateway.yaml:10)",
        "allow_from allowed 10.0.0.0/8, 127.0.0.0/8 (gateway.yaml:11)",
        "retry applies attempts: 3, on: [connect, 503], budget: 7% (gateway.yaml:12)",
    ):
        assert line in lines
    in_force.write_text(TEXT)
    assert "timeouts" not in command("GET", "/api/open/7")
    assert "max_body allowed 5 (gateway.yaml:20)" in lines_of("GET", "/api/open/7")


def test_what_is_odd_about_the_file_is_left_to_check(in_force: Path, tmp_path: Path) -> None:
    in_force.write_text(TEXT.replace("limits:", "limits:\n  unused: {rate: 1/day}"))
    environ = os.environ | {"GATEHOUSE_VAR": str(tmp_path / "var"), "GATEWAY_CONFIG": str(in_force)}
    arguments = [sys.executable, "manage.py", "explain", "GET", "/api/open/7"]
    done = subprocess.run(arguments, cwd=PROJECT, env=environ, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "The service would get:" in done.stdout


async def explained_while_ejected(path: Path, state: Path, *arguments: str) -> list[str]:
    """Return what the command prints beside a worker that has ejected the address of service `a`."""
    pools = Pools(load(path, ENVIRON).services, asyncio.get_running_loop())
    socket = StatusSocket(state, pools)
    await socket.start()
    try:
        (pool,) = pools.of("a").pools
        for _ in range(5):
            pool.ejection.connect_failed(refused=False)
        return await asyncio.to_thread(lines_of, *arguments)
    finally:
        socket.close()
        pools.stop_looking()
        pools.of("a").close()


def test_an_ejected_service_gets_nothing_now(in_force: Path, settings: Any, tmp_path: Path) -> None:
    settings.STATE = tmp_path / "state"
    settings.STATE.mkdir(mode=0o700)
    in_force.write_text(TEXT.replace("http://a:9000/base", "http://127.0.0.1:1/base"))
    lines = asyncio.run(explained_while_ejected(in_force, settings.STATE, "GET", "/api/open/7"))
    assert "service a 127.0.0.1:1/base (ejected) (gateway.yaml:7)" in lines
    at = lines.index("The gateway would now respond: 503 upstream_ejected")
    assert re.fullmatch("Retry-After: [0-9]+", lines[at + 2])
    assert lines[at + 4 : at + 6] == ["When it is back, the service would get:", "GET /base/api/open/7 HTTP/1.1"]
    assert "The service would get:" not in lines
    # The gate rejects before the address plays a part.
    rejected = asyncio.run(explained_while_ejected(in_force, settings.STATE, "GET", "/api/users"))
    assert "The gateway would respond: 401 not_authenticated" in rejected
    assert "503" not in " ".join(rejected)
    found = asyncio.run(explained_while_ejected(in_force, settings.STATE, "GET", "/api/open/7", "--json"))
    assert {'"status": 503,', '"code": "upstream_ejected",', '"is_forwarded": false'} <= set(found)


def status_of(*states: str) -> dict[str, Any]:
    addresses = [{"address": f"a:{port}", "state": state, "rests": 3.2} for port, state in enumerate(states)]
    return {"services": {"a": addresses}}


@pytest.mark.parametrize(
    ("workers", "status", "ejecting"),
    [
        ([], None, 0),
        ([["ejected"], ["ejected"]], 503, 2),
        ([["ejected"], ["healthy"]], None, 1),
        ([["probing"]], None, 0),
        # Where all are bad, all are tried.
        ([["ejected", "ejected"]], None, 0),
    ],
)
def test_only_an_ejected_address_that_is_alone_rejects(
    file: Path, workers: list[list[str]], status: int | None, ejecting: int
) -> None:
    found = explain(file, "GET", "/api/open/7", environ=ENVIRON)
    shown = with_states(found, [status_of(*states) for states in workers])
    assert (shown.status, shown.ejecting, shown.workers) == (status, ejecting, len(workers))
    assert shown.is_forwarded == (status is None)
    assert shown.sent == found.sent


def test_an_address_has_the_number_of_workers_where_they_differ(file: Path) -> None:
    found = explain(file, "GET", "/api/open/7", environ=ENVIRON)
    workers = [
        status_of(*states) for states in (["healthy", "healthy"], ["ejected", "healthy"], ["healthy", "healthy"])
    ]
    first, second = with_states(found, workers).addresses
    assert (first.address, first.states) == ("a:0", {"healthy": 2, "ejected": 1})
    assert str(first) == "a:0 (ejected in 1 of 3 workers, healthy in 2)"
    assert str(second) == "a:1 (healthy)"


@pytest.mark.django_db
def test_the_command_verifies_a_token(in_force: Path) -> None:
    token = bearer("7", "admin")["Authorization"].removeprefix("Bearer ")
    assert "Bearer <passport for user 7>" in command("GET", "/api/users", "--token", token)
    assert "401 token_invalid" in command("GET", "/api/users", "--token", f"{token}x")
    assert (
        lines_of("GET", "/api/users", "--token", token)[0] == "GET /api/users as user 7 user, role admin, by the token"
    )
    # Its user is known where it is rejected, too.
    token = bearer("8", "default")["Authorization"].removeprefix("Bearer ")
    rejected = lines_of("GET", "/api/users", "--token", token)
    assert rejected[0] == "GET /api/users as user 8 user, role default, by the token"
    found = json.loads(command("GET", "/api/users", "--token", token, "--json"))
    assert (found["user"], found["username"], found["role"], found["status"]) == ("8", "user", "default", 403)


def test_a_role_that_no_user_has_is_a_warning(in_force: Path) -> None:
    lines = lines_of("GET", "/api/users", "--role", "admn")
    assert lines[0] == "No user has the role 'admn': the roles are admin, default. Did you mean admin?"
    assert "No user has" not in command("GET", "/api/users", "--role", "admin")
    with pytest.warns(UserWarning, match="No user has the role 'admn'"):
        assert explain(in_force, "GET", "/api/users", role="admn", environ=ENVIRON).status == 403


def test_a_clients_address_is_rejected_with_the_line_of_its_networks(file: Path) -> None:
    file.write_text(file.read_text() + "    allow_from: 192.0.2.0/24\n")
    verdicts = {}
    for address in ("192.0.2.7", "198.51.100.1"):
        found = explain(file, "GET", "/api/open/7", address=address, environ=ENVIRON)
        verdicts[address] = found.code, [(step.policy, step.verdict, step.line) for step in found.steps[1:3]]
    assert verdicts == {
        "192.0.2.7": ("", [("allow_from", "allowed", 21), ("allow", "allowed", 18)]),
        "198.51.100.1": ("address_not_allowed", [("allow_from", "rejected", 21), ("allow", "not reached", 18)]),
    }


@pytest.mark.parametrize(
    "arguments",
    [("--token", "x", "--as", "7"), ("--header", "nonsense"), ("--role", "admin", "--header", "Cookie: a=b")],
)
def test_the_command_rejects_what_contradicts_itself(in_force: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        command("GET", "/api/users", *arguments)


def test_the_printed_example_is_in_step(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = (ROOT / "docs" / "gateway.yaml.md").read_text().partition("## Explain\n")[2]
    asked, _, example = section.partition("```console\n")[2].partition("\n```")[0].partition("\n")
    settings.GATEWAY_CONFIG, settings.STATE = ROOT / "gateway_project" / "gateway.yaml", tmp_path
    for name in "ORDERS_URL", "USERS_URL":
        monkeypatch.delenv(name, raising=False)
    printed = command(*asked.partition(" explain ")[2].split())
    # The example's gateway runs.
    printed = printed.replace("orders  http://127.0.0.1:8003", "orders  127.0.0.1:8003 (healthy)")
    before, _, after = example.partition("\n  …\n")
    assert printed.startswith(f"{before}\n")
    assert printed.endswith(f"\n{after}\n")


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
