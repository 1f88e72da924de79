"""The audit trail has which gateway.yaml was taken up or rejected, and the changes at services with `audit`."""

import hashlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.client import once
from tests.conformance.gateways import DOORS, Door, Gateway
from tests.conformance.upstream import Answer, Upstream
from tests.waiting import wait_until

CONFIG: dict[str, Any] = {
    "services": {"echo": {"url": "http://127.0.0.1:9"}},
    "routes": [{"path": "/things", "service": "echo", "allow": "authenticated"}],
}


def trail(gateway: Gateway, event: str = "") -> list[dict[str, str]]:
    """Return the entries, oldest first, as an admin exports them."""
    url = f"{gateway.url}/gateway/audit/?format=jsonl&event={event}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {gateway.token('1', 'admin')}"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return [json.loads(line) for line in reply][::-1]


def write(gateway: Gateway, content: dict[str, Any]) -> str:
    """Replace the file, and return the first digits of its digest."""
    text = json.dumps({"version": 1} | content)
    (gateway.var / "gateway.yaml.new").write_text(text)
    (gateway.var / "gateway.yaml.new").replace(gateway.var / "gateway.yaml")
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def digest(gateway: Gateway) -> str:
    return hashlib.sha256((gateway.var / "gateway.yaml").read_bytes()).hexdigest()[:8]


@pytest.fixture
def running(door: Door, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(door, tmp_path / "var", CONFIG, workers=2) as gateway:
        yield gateway


@pytest.mark.parametrize("door", DOORS)
def test_a_start_and_reloads_of_the_configuration_are_recorded(running: Gateway) -> None:
    first = digest(running)
    wait_until(lambda: trail(running), "an entry of the start")
    second = write(running, CONFIG | {"defaults": {"max_body": 5}})
    running.reload()
    wait_until(lambda: len(trail(running)) == 2, "an entry of the reload")
    broken = write(running, CONFIG | {"routes": [{"path": "/secret-of-a-fault"}]})
    running.reload()
    wait_until(lambda: len(trail(running)) == 4, "entries of the rejected reload")
    described = f"1 route of gateway.yaml (sha256 {second})"
    entries = trail(running)
    assert [(entry["event"], entry["by"]) for entry in entries] == [
        ("config_loaded", "start"), ("config_loaded", "reload"),
        ("config_rejected", "reload"), ("config_loaded", "reload"),
    ]  # fmt: skip
    assert [entry["detail"] for entry in entries] == [
        f"1 route of gateway.yaml (sha256 {first})", described,
        f"2 faults (sha256 {broken}); still in force: {described}", described,
    ]  # fmt: skip
    assert "secret-of-a-fault" not in json.dumps(entries)
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)


@pytest.mark.parametrize("door", ["fast"])
def test_a_file_that_sighup_takes_up_or_rejects_is_recorded(running: Gateway) -> None:
    wait_until(lambda: trail(running), "an entry of the start")
    second = write(running, CONFIG | {"defaults": {"max_body": 5}})
    running.take_up()
    wait_until(lambda: len(trail(running)) == 2, "an entry of the new file")
    write(running, {"services": 5})
    running.take_up()
    wait_until(lambda: len(trail(running)) == 3, "an entry of the rejected file")
    loaded, rejected = trail(running)[1:]
    assert (loaded["event"], loaded["by"]) == ("config_loaded", "SIGHUP")
    assert (rejected["event"], rejected["by"]) == ("config_rejected", "SIGHUP")
    assert rejected["detail"].endswith(f"still in force: 1 route of gateway.yaml (sha256 {second})")


def test_a_watched_file_is_recorded_though_no_page_is_opened(tmp_path: Path) -> None:
    with Gateway("fast", tmp_path / "var", CONFIG, workers=2, environ={"GATEWAY_WATCH": "1"}) as gateway:
        folder = gateway.var / "gateway" / "config-events"
        wait_until(lambda: folder.exists() and not any(folder.iterdir()), "the event of the start recorded by a worker")
        second = write(gateway, CONFIG | {"defaults": {"max_body": 5}})
        wait_until(
            lambda: any(line["message"].startswith("Workers take up") for line in gateway.log_lines()),
            "the file to be taken up",
        )
        wait_until(lambda: not any(folder.iterdir()), "the event recorded by a worker")
        found = [(entry["by"], entry["detail"]) for entry in trail(gateway)]
    assert found[1:] == [("watch", f"1 route of gateway.yaml (sha256 {second})")]


AUDITED: dict[str, Any] = {
    "routes": [
        {"path": "/things/{id}", "service": "echo", "allow": "authenticated", "audit": True},
        {"path": "/anyone", "service": "echo", "allow": "public", "audit": True, "timeouts": {"total": "0.5s"}},
        {"path": "/page", "service": "echo", "allow": "public", "audit": True, "browser": "passthrough"},
        {"path": "/other", "service": "echo", "allow": "public"},
    ],
}
USER = b"Authorization: Bearer <user>\r\n"
DONE = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAudit-Detail: thing 5: name\r\nX-Other: kept\r\n\r\n{}")
REJECTED = Answer(b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\nAudit-Detail: nothing\r\n\r\n")
UNCHANGED = Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAudit-Detail: \r\n\r\n")
BROKEN = Answer(b"", close=True)
# A request, its response by the service, and the status, author and detail of the entry.
CHANGES: list[tuple[bytes, bytes, list[Answer], tuple[int, str, str] | None]] = [
    (b"PATCH /things/5?secret=1", USER, [DONE], (200, "user7", "PATCH /things/5 200: thing 5: name")),
    (b"DELETE /things/5", USER, [DONE], (200, "user7", "DELETE /things/5 200: thing 5: name")),
    (b"POST /page", b"Accept: text/html\r\n", [DONE], (200, "", "POST /page 200: thing 5: name")),
    (b"POST /anyone", b"", [BROKEN], (502, "", "POST /anyone 502")),
    (b"PATCH /things/5", USER, [REJECTED], None),
    (b"POST /page", b"", [UNCHANGED], None),
    (b"PATCH /things/5", b"", [], None),
    (b"GET /things/5", USER, [DONE], None),
    (b"POST /other", b"", [DONE], None),
]


@pytest.mark.parametrize("door", DOORS)
def test_changes_at_audited_routes_are_recorded_with_user_address_and_request(
    door: Door, upstream: Upstream, tmp_path: Path
) -> None:
    config = AUDITED | {"services": {"echo": {"url": upstream.url}}}
    with Gateway(door, tmp_path / "var", config) as gateway:
        token, expected = gateway.token("7", sid="s7").encode(), []
        for line, headers, answers, entry in CHANGES:
            upstream.begin(answers)
            sent = line + b" HTTP/1.1\r\nHost: localhost\r\n" + headers.replace(b"<user>", token)
            reply = once(gateway.port, sent + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
            assert reply.get("Audit-Detail") is None
            if entry is not None:
                status, by, detail = entry
                assert reply.status == status
                assert reply.get("X-Other") == ("kept" if status == 200 else None)
                user = {"by": by, "session": "s7"} if by else {}
                expected.append(
                    user
                    | {
                        "event": "changed",
                        "client": "127.0.0.1",
                        "detail": detail,
                        "request_id": reply.get("X-Request-ID"),
                    }
                )
        found = trail(gateway, "changed")
    assert [{name: value for name, value in entry.items() if name != "time"} for entry in found] == expected
