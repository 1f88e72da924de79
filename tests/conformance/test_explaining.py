"""What `explain` says of each case of the table, beside what the fast door does with it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.conformance.cases import CASES
from tests.conformance.cases.case import OK, Case
from tests.conformance.client import Client, Reply, once
from tests.conformance.conftest import TRUSTING, Fleet, started
from tests.conformance.faults import FaultyService
from tests.conformance.gateways import PROJECT, Gateway
from tests.conformance.test_conformance import exchange, filled, listed
from tests.conformance.upstream import Seen, Upstream

from gateway.config import load_with_lines
from gateway.counters import Counters
from gateway.explaining import Explainer, Explanation, Sent
from gateway.identity.key_storage import KeyFiles
from gateway.identity.keys import Keys
from gateway.identity.tokens import GatewayBackend
from gateway_project.environment import networks

__all__ = ["filled"]
HEAD = re.compile(rb"([A-Z]+) (\S+) HTTP/(1\.[01])\r\n((?:[!#-'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)*)\r\n")
# Other in each request, or of the connection to the service.
OWN = {
    "x-request-id", "traceparent", "x-envoy-expected-rq-timeout-ms", "content-length", "transfer-encoding",
    "authorization",
}  # fmt: skip


Explain = Callable[[Gateway, Case, bytes], Explanation]


@pytest.fixture(scope="session")
def fleet(upstream: Upstream, faulty: FaultyService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Gateways of these tests alone: the limits of the others' are used up."""
    with started(upstream, faulty, tmp_path_factory, ["fast"]) as gateways:
        yield gateways


def parsed(sends: bytes) -> tuple[str, str, str, list[tuple[str, str]]] | None:
    """Return the method, target, version and headers of one well-formed request, `None` for anything else."""
    found = HEAD.match(sends)
    if found is None:
        return None
    lines = found[4].decode("latin-1").split("\r\n")[:-1]
    pairs = [(name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines)]
    return found[1].decode(), found[2].decode("latin-1"), found[3].decode(), pairs


def can_be_explained(case: Case) -> bool:
    """Return whether a case is one request whose headers alone decide: no broken HTTP, no pipeline, no bad body."""
    single = not isinstance(case.gets, list | tuple) and not isinstance(case.sees, list)
    # A service that responds before it reads notes no request.
    is_early = any(answer.early for answer in case.answers)
    return (
        single
        and not is_early
        and not listed(case.gets)[0].server
        and not case.may_begin
        and parsed(case.sends) is not None
    )


EXPLAINED = [case for case in CASES if can_be_explained(case)]


@pytest.fixture(scope="session")
def explained() -> Explain:
    """Explain a case as the command does; gateway.yaml is loaded once for each gateway."""

    @cache
    def explainer(var: Path, trusted: bool) -> Explainer:
        config, lines = load_with_lines(var / "gateway.yaml", os.environ)
        return Explainer(
            config,
            lines,
            allowed_hosts=("localhost", "127.0.0.1", "[::1]"),
            trusted_proxies=networks(TRUSTING["TRUSTED_PROXIES"]) if trusted else (),
            peek=Counters(var / "gateway" / "counters").peek,
            backend=GatewayBackend(Keys(KeyFiles(var / "gateway" / "keys", read_only=True))),
        )

    def explain(gateway: Gateway, case: Case, sends: bytes) -> Explanation:
        found = parsed(sends)
        assert found
        method, target, version, headers = found
        return explainer(gateway.var, case.trusted).explain(
            method, target, user=None, address="127.0.0.1", headers=headers, version=version
        )

    return explain


def test_nearly_all_cases_can_be_explained() -> None:
    assert len(EXPLAINED) > 0.75 * len(CASES)


@pytest.mark.parametrize("door", ["fast"])
@pytest.mark.parametrize("case", EXPLAINED, ids=lambda case: case.name)
def test_the_explanation_is_what_happens(
    case: Case,
    door: str,
    fleet: Fleet,
    upstream: Upstream,
    filled: Callable[[Gateway, bytes], bytes],
    explained: Explain,
) -> None:
    gateway = fleet["fast", case.trusted]
    for request in case.before:
        upstream.begin([OK])
        once(gateway.port, filled(gateway, request))
    sends = filled(gateway, case.sends)
    found = explained(gateway, case, sends)
    # It counts nothing, so a second one is the same.
    assert explained(gateway, case, sends).status == found.status
    upstream.begin(case.answers or [OK])
    with Client(gateway.port) as client:
        (reply,) = exchange(client, case, sends)
    seen = upstream.seen[0] if upstream.seen else None
    if found.sent is None:
        check_own(found, reply, seen)
    else:
        check_sent(found.sent, reply, seen)


def check_own(found: Explanation, reply: Reply, seen: Seen | None) -> None:
    assert seen is None
    if found.code == "own_path":
        return
    assert reply.status == found.status
    for name, value in found.response_headers:
        if name.lower() not in {"retry-after", "ratelimit"}:
            assert reply.get(name) == value
    # A browser gets a page. The parser rejects unknown methods before the gate, with another code.
    if reply.get("Content-Type") == "application/problem+json" and reply.body and reply.status != 501:
        said = reply.json()
        assert (said["code"], said["status"]) == (found.code or said["code"], found.status)


def check_sent(sent: Sent, reply: Reply, seen: Seen | None) -> None:
    if seen is None and reply.status == 502:
        # The service cannot be reached.
        assert reply.json()["code"] == "upstream_unreachable"
        return
    assert seen is not None, (reply.status, reply.body)
    assert seen.line == sent.line
    shown = [(name.lower(), value) for name, value in sent.headers if name.lower() not in OWN]
    got = [(name.lower(), value) for name, value in seen.headers if name.lower() not in OWN]
    hidden = {name for name, value in shown if value == "(hidden)"}
    assert sorted(pair for pair in shown if pair[0] not in hidden) == sorted(
        pair for pair in got if pair[0] not in hidden
    )
    assert hidden <= {name for name, _ in got}
    passport = next((value for name, value in sent.headers if name == "authorization"), None)
    assert (passport is None) == (seen.get("Authorization") is None)
    if passport:
        assert passport == f"Bearer <passport for user {seen.get('Request-User-Id')}>"


@pytest.mark.parametrize("door", ["fast"])
def test_the_command_shows_the_addresses_as_the_workers_see_them(door: str, fleet: Fleet) -> None:
    gateway = fleet["fast", False]
    environ = os.environ | {"GATEHOUSE_VAR": str(gateway.var), "GATEWAY_CONFIG": str(gateway.var / "gateway.yaml")}
    command = [sys.executable, "manage.py", "explain", "GET", "/api/open", "--as", "7"]
    done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=True)
    address = gateway.config["services"]["echo"]["url"].removeprefix("http://")
    assert f"{address} (healthy)" in done.stdout
    assert "request-user-id: 7" in done.stdout
