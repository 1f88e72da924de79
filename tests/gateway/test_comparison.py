"""`check --diff`: what another gateway.yaml would change, and for whom."""

import os
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError

OLD = """\
version: 1
services: {a: {url: 'http://a'}, b: {url: 'http://b'}}
limits: {mine: {rate: 10/minute}}
routes:
"""
ADMINS = "  - {path: '/x/{id}', service: a, allow: [admin], methods: [GET, POST]}\n"


def diff(tmp_path: Path, old: str, new: str, *options: str) -> tuple[int, str]:
    """Return the exit status and what is printed."""
    (tmp_path / "old.yaml").write_text(old)
    (tmp_path / "new.yaml").write_text(new)
    out, status = StringIO(), 0
    try:
        call_command("check", *options, diff=str(tmp_path / "new.yaml"), against=str(tmp_path / "old.yaml"), stdout=out)
    except SystemExit as exc:
        status = int(str(exc.code))
    return status, out.getvalue()


def test_the_same_file_changes_nothing(tmp_path: Path) -> None:
    assert diff(tmp_path, OLD + ADMINS, OLD + ADMINS) == (0, "0 changes.\n")


@pytest.mark.parametrize(
    ("old", "new", "status", "line"),
    [
        (ADMINS, ADMINS + "  - {path: /y, service: a, allow: public, methods: [GET]}\n", 3,
         "added     GET /y  public  (new.yaml:6)"),
        (ADMINS + "  - {path: /y, service: a, allow: public, methods: [GET]}\n", ADMINS, 2,
         "removed   GET /y  was public  (old.yaml:6)"),
        (ADMINS, ADMINS.replace("[admin]", "authenticated"), 3,
         "opened    GET,POST /x/{id}  allow: authenticated, was admin  (new.yaml:5)"),
        (ADMINS.replace("[admin]", "public"), ADMINS, 2,
         "narrowed  GET,POST /x/{id}  allow: admin, was public  (new.yaml:5)"),
        (ADMINS, ADMINS.replace("[GET, POST]", "[GET, POST, PUT]"), 3, "added     PUT /x/{id}  admin  (new.yaml:5)"),
        # A parameter by another name is the same route.
        (ADMINS, ADMINS.replace("{id}", "{name}").replace("GET,", "GET, PUT,"), 3,
         "added     PUT /x/{name}  admin  (new.yaml:5)"),
        (ADMINS, ADMINS.replace("service: a", "service: b"), 2,
         "changed   GET,POST /x/{id}  service: b, was a  (new.yaml:5)"),
        (ADMINS, ADMINS.replace("allow:", "rate_limit: mine, max_body: 2MiB, allow:"), 2,
         "changed   GET,POST /x/{id}  max_body: 2MiB, was 1MiB  (new.yaml:5)"),
        # Another route takes the requests.
        ("  - {path: '/x/{rest...}', service: a, allow: public, methods: [GET, POST]}\n" + ADMINS,
         "  - {path: '/x/{rest...}', service: a, allow: public, methods: [GET, POST]}\n", 3,
         "opened    GET,POST /x/{id}  allow: public, was admin  (new.yaml:5)"),
        (ADMINS, ADMINS + "  - {path: /x/me, service: a, allow: authenticated, methods: [GET]}\n", 3,
         "opened    GET /x/me  allow: authenticated, was admin  (new.yaml:6)"),
        (ADMINS.replace("allow:", "allow_from: [10.0.0.0/8], allow:"),
         ADMINS.replace("allow:", "allow_from: [10.1.0.0/16], allow:"), 2,
         "narrowed  GET,POST /x/{id}  allow_from: 10.1.0.0/16, was 10.0.0.0/8  (new.yaml:5)"),
        (ADMINS.replace("allow:", "allow_from: [10.0.0.0/8], allow:"), ADMINS, 3,
         "opened    GET,POST /x/{id}  allow_from: -, was 10.0.0.0/8  (new.yaml:5)"),
    ],
)  # fmt: skip
def test_a_change_of_a_route(tmp_path: Path, old: str, new: str, status: int, line: str) -> None:
    found = diff(tmp_path, OLD + old, OLD + new)
    assert line in found[1].splitlines()
    assert found[0] == status


def test_roles_that_are_exchanged_are_opened_and_narrowed(tmp_path: Path) -> None:
    found = diff(tmp_path, OLD + ADMINS, OLD + ADMINS.replace("[admin]", "[default]"))
    assert [line.split()[0] for line in found[1].splitlines()] == ["opened", "narrowed", "2"]


def test_changes_of_services_limits_and_the_whole_file(tmp_path: Path) -> None:
    new = OLD.replace("b: {url: 'http://b'}", "c: {url: 'http://c'}").replace("10/minute", "20/minute")
    new = new.replace("'http://a'", "'http://a2', health: /up").replace("routes:", "roles: [admin]\nroutes:")
    status, printed = diff(tmp_path, OLD + ADMINS, new + ADMINS)
    health = "health: path: /up, interval: 5s, timeout: 1s, healthy: 2, unhealthy: 3"
    assert status == 2
    assert printed.splitlines() == [
        "changed   service a  url: http://a2, was http://a  (new.yaml:2)",
        f"changed   service a  {health}, was -  (new.yaml:2)",
        "added     service c  http://c  (new.yaml:2)",
        "removed   service b  was http://b  (old.yaml:2)",
        "changed   limit mine  rate: 20/minute, was 10/minute  (new.yaml:3)",
        "changed   file roles  roles: admin, was admin, default  (new.yaml:4)",
        "6 changes.",
    ]


def test_a_policy_of_defaults_has_its_line_there_and_secrets_are_hidden(tmp_path: Path) -> None:
    key = "defaults: {headers: {request: {set: {X-Key: %s}}}}\nservices:"
    old, new = (OLD.replace("services:", key % value) + ADMINS for value in ("s3cr3t", "t0psecret"))
    status, printed = diff(tmp_path, old, new)
    assert (status, printed.splitlines()[0]) == (
        2,
        "changed   GET,POST /x/{id}  headers: request: set X-Key: (hidden), with another hidden value  (new.yaml:2)",
    )
    assert "s3cr3t" not in printed


def test_a_fault_of_either_file_is_reported(tmp_path: Path) -> None:
    for files in ((OLD, OLD + ADMINS), (OLD + ADMINS, OLD + ADMINS + "colour: red\n")):
        with pytest.raises(SystemCheckError, match=r"(old|new)\.yaml:\d+:\d+: "):
            diff(tmp_path, *files)


def test_the_default_is_the_file_in_force_and_a_pipe_is_read_once(tmp_path: Path, settings: Any) -> None:
    settings.STATE = tmp_path / "state"
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    settings.GATEWAY_CONFIG.write_text(OLD + ADMINS)
    with pytest.raises(CommandError, match="Name the file to compare with by --against"):
        call_command("check", "--diff")
    settings.STATE.mkdir()
    (settings.STATE / "gateway.yaml").write_text(OLD + ADMINS.replace("[admin]", "public"))
    out = StringIO()
    with pytest.raises(SystemExit, match="2"):
        call_command("check", "--diff", stdout=out)
    assert out.getvalue().startswith("narrowed  GET,POST /x/{id}  allow: admin, was public  (gateway.yaml:5)")
    reader, writer = os.pipe()
    os.write(writer, (OLD + ADMINS).encode())
    os.close(writer)
    out = StringIO()
    call_command("check", diff="", against=f"/dev/fd/{reader}", stdout=out)
    os.close(reader)
    assert out.getvalue() == "0 changes.\n"
