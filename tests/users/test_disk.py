"""A disk that is really full, under the service as it is deployed."""

import errno
import html
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from django.db import connection
from tests.disks import BLOCK, fill, small_disk
from tests.ports import free_port

from chassis.problems import Unavailable
from users import store
from users.models import User

from .conftest import PASSWORD, stored, use
from .test_api import assert_problem
from .test_processes import Service, listed, serving

pytestmark = pytest.mark.record

MIB = 2


@pytest.fixture
def disk(state: Path) -> Iterator[Path]:
    """The test's directory of state as a small disk."""
    with small_disk(state, MIB):
        yield state
        connection.close()  # it is on that disk


def write_until_full(service: Service, session: requests.Session, prefix: str) -> tuple[list[str], str]:
    """Make users and change the first until there is no room; return whom, and the first one's full name."""
    made, full_name = [], ""
    for number in range(200):
        name = f"{prefix}{number}"
        answer = service.request(
            session, "POST", "/api/users", username=name, email=f"{name}@example.com", password=PASSWORD
        )
        if answer.status_code != 201:
            break
        made.append(name)
        answer = service.request(session, "PATCH", "/api/users/1", full_name=name)
        if answer.status_code != 200:
            break
        full_name = name
    assert answer.status_code == 507, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "No storage space is left. Nothing was stored. Try again later."
    return made, full_name


def test_a_full_disk_is_507_and_takes_nothing_but_the_write(make, disk, issuer):
    use(disk)
    store.current().open()
    make("eva", user_type="admin")
    record, ballast = disk / "users.jsonl", disk / "ballast"
    names, full_name = ["eva"], ""
    with serving(disk, issuer, free_port()) as service, requests.Session() as session:
        for free in (0, 1, 3, 8):
            fill(ballast, blocks=free)
            made, changed = write_until_full(service, session, f"f{free}n")
            names += made
            full_name = changed or full_name
            with pytest.raises(OSError, match="No space left") as error, ballast.open("ab") as file:
                file.write(bytes(MIB * 2**20))
            assert error.value.errno == errno.ENOSPC
            assert sorted(listed(service)) == sorted(names)
            assert service.request(session, "GET", "/api/users/1").json()["full_name"] == full_name
            assert record.read_bytes().endswith(b"}\n")
            assert {line["username"] for line in stored(record)} == set(names)
            ballast.unlink()
            name = f"after{free}"
            answer = service.request(
                session, "POST", "/api/users", username=name, email=f"{name}@example.com", password=PASSWORD
            )
            assert answer.status_code == 201, answer.text
            names.append(name)
        assert sorted(listed(service)) == sorted(names)
        service.end(signal.SIGTERM)
    store.current().catch_up()
    verify()


def deactivate(service: Service, session: requests.Session, ids: list[int]) -> str:
    """Have them all deactivated in the admin, as a browser does; return what its next page says."""
    passport = service.issuer.passport(1, audience="users", role="admin")
    session.headers.update({"Authorization": f"Bearer {passport}", "Request-User-Id": "1", "Accept": "text/html"})
    address = f"{service.url}/admin/users/user/"
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', session.get(address, timeout=10).text)[1]
    sent = {"action": "deactivate", "_selected_action": ids, "index": 0, "csrfmiddlewaretoken": token}
    answer = session.post(address, data=sent, headers={"Origin": service.url}, timeout=30)
    pattern = {200: r'<ul class="messagelist">(.*?)</ul>', 507: r"<h1>.*?</h1>\s*<p>(.*?)</p>"}[answer.status_code]
    found = re.search(pattern, answer.text, re.DOTALL)
    assert found, answer.text
    return html.unescape(found[1])


def test_an_action_on_a_full_disk_changes_all_users_or_none(make, disk, issuer):
    use(disk)
    store.current().open()
    make("root", user_type="admin")
    many = [User(username=f"n{number}", email=f"n{number}@example.com", password="!") for number in range(61)]
    with store.writing() as writer:
        for user in many:
            writer.put(user)
    ids = [user.pk for user in many]
    ballast, said = disk / "ballast", []
    with serving(disk, issuer, free_port()) as service, requests.Session() as session:
        for free in (1, 4, 12, 20, 60):
            fill(ballast, blocks=free)
            said.append(deactivate(service, session, ids))
            ballast.unlink()
            store.current().catch_up()
            active = set(User.objects.filter(pk__in=ids, is_active=True).values_list("pk", flat=True))
            if "61 of 61 users deactivated." in said[-1]:
                assert active == set()
                break
            assert "Nothing was stored." in said[-1]
            assert active == set(ids)
        service.end(signal.SIGTERM)
    assert "61 of 61" not in said[0]
    store.current().catch_up()
    verify()


def verify() -> None:
    """Read the whole record: it has what the index has."""
    rows = list(User.objects.values())
    store.current().verify()
    assert list(User.objects.values()) == rows


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_a_start_on_a_full_disk_serves_what_is_there(make, disk, issuer, sign):
    use(disk)
    store.current().open()
    make("eva", user_type="admin")
    connection.close()
    ballast = disk / "ballast"
    with serving(disk, issuer, free_port()) as service, requests.Session() as session:
        fill(ballast, blocks=3)
        made, _ = write_until_full(service, session, "n")
        service.end(sign)
    if sign == signal.SIGKILL:  # SQLite, which cleaned up after itself else, needs some room to begin with
        with suppress(OSError), ballast.open("ab") as file:
            while True:
                os.write(file.fileno(), bytes(BLOCK))
    with serving(disk, issuer, free_port()) as service, requests.Session() as session:
        assert sorted(listed(service)) == sorted(["eva", *made])
        answer = service.request(session, "PATCH", "/api/users/1", full_name="Eva" * 40)
        assert answer.status_code == 507
        ballast.unlink()
        assert service.request(session, "PATCH", "/api/users/1", full_name="Eva").status_code == 200


def test_an_index_that_cannot_be_opened_on_a_full_disk_is_kept(make, disk, as_user):
    use(disk)
    store.current().open()
    user = make("eva", user_type="admin")
    as_eva = as_user(user.pk, "admin")
    connection.close()
    before, ballast = (disk / "index.sqlite3").stat().st_ino, disk / "ballast"
    fill(ballast, blocks=0)
    for _ in range(2):
        assert_problem(as_eva("GET", "/api/users/1"), 503)
    ballast.unlink()
    assert as_eva("GET", "/api/users/1").status_code == 200
    assert (disk / "index.sqlite3").stat().st_ino == before


def test_a_record_that_can_only_be_read_is_read(make, record, state):
    make("eva")
    (state / "index.sqlite3").unlink()
    if subprocess.run(["chattr", "+i", record], check=False, capture_output=True).returncode != 0:
        pytest.skip("needs a file that root cannot write either, and this file system makes none")
    try:
        store.current().catch_up()
        assert list(User.objects.values_list("username", flat=True)) == ["eva"]
        with pytest.raises(Unavailable):
            make("ada")
        assert list(User.objects.values_list("username", flat=True)) == ["eva"]
    finally:
        subprocess.run(["chattr", "-i", record], check=True)
    assert make("ada").pk > 1
