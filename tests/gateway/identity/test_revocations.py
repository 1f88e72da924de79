"""Which sessions have ended."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection
from tests.gateway.login import LoginService
from tests.gateway.runtimes import runtime
from tests.gateway.service import Reply
from tests.waiting import wait_until

from gateway.identity import revocations, sessions
from gateway.identity.credentials import Account
from gateway.identity.models import Follower, Session


def begin(user_id: str = "2", epoch: int = 0) -> str:
    """Begin a session and return its id."""
    account = Account(user_id, "user", "default", epoch)
    return sessions.session_create(account=account, client=sessions.Client("192.0.2.1", "test")).id


@pytest.mark.django_db
def test_sessions_that_the_login_service_ends_end_at_the_gateway(login: LoginService) -> None:
    before, after, other = begin(epoch=0), begin(epoch=1), begin("3")
    login.end(2, epoch=1)
    known = runtime().revocations
    known.look()
    assert [known.is_ended(each) for each in (before, after, other)] == [True, False, False]


@pytest.mark.django_db
def test_the_kept_session_stays_valid_until_the_next_end(login: LoginService) -> None:
    kept, ended = begin(), begin()
    login.end(2, epoch=1, kept=kept)
    known = runtime().revocations
    known.look()
    assert [known.is_ended(each) for each in (kept, ended)] == [False, True]
    login.end(2, epoch=2)
    known.look()
    assert known.is_ended(kept)


@pytest.mark.django_db
def test_a_deletion_ends_every_session(login: LoginService) -> None:
    sessions_of_user = [begin(epoch=0), begin(epoch=7)]
    login.end(2, epoch=0, deleted=True)
    known = runtime().revocations
    known.look()
    assert all(known.is_ended(each) for each in sessions_of_user)


@pytest.mark.django_db
def test_all_pages_of_ended_sessions_are_read_from_the_last_cursor_on(login: LoginService) -> None:
    ids = [begin(str(number)) for number in range(5)]
    for number in range(5):
        login.end(number, epoch=1)
    runtime().revocations.look()
    assert Follower.objects.get().cursor == "5"
    assert runtime().revocations.ended == set(ids)


@pytest.mark.django_db
def test_a_list_that_rejects_the_cursor_is_read_from_its_beginning(
    login: LoginService, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = begin(), begin("3")
    known = runtime().revocations
    for number in range(9):
        login.end(9, epoch=number)
    known.look()
    # As of a restored copy: fewer entries, and others.
    login.ends.clear()
    login.end(2, epoch=1)
    caplog.set_level(logging.INFO)
    known.look()
    login.end(3, epoch=1)
    known.look()
    assert known.stale_since is None
    assert [known.is_ended(each) for each in (before, after)] == [True, True]
    assert Follower.objects.get().cursor == "2"
    assert said(caplog) == ["The login service's list of ended sessions is another one, and is read from its beginning"]


@pytest.mark.django_db
def test_a_restored_copy_of_the_users_ends_all_sessions_once(
    login: LoginService, caplog: pytest.LogCaptureFixture
) -> None:
    login.end(9, epoch=1)
    known = runtime().revocations
    known.look()
    before = begin(epoch=7)
    login.other_users()
    known.look()
    after = begin(epoch=0)
    # As another worker does, which had asked with the old cursor at the same time.
    revocations.end_all("1", "0")
    known.look()
    assert [known.is_ended(each) for each in (before, after)] == [True, False]
    assert Follower.objects.get().cursor == "0"
    assert [line for line in said(caplog) if "older copy of its users" in line] == [
        "The login service has an older copy of its users, or edited ones: 1 sessions end"
    ]


@pytest.mark.django_db
def test_an_empty_list_after_a_cursor_counts_as_a_new_list_once(
    login: LoginService, caplog: pytest.LogCaptureFixture
) -> None:
    Follower.objects.create(pk=1, cursor="7")
    known = runtime().revocations
    known.look()
    known.look()
    assert known.stale_since is None
    assert len(said(caplog)) == 1


@pytest.mark.django_db
def test_a_login_service_that_rejects_its_own_cursors_counts_as_unreadable(
    login: LoginService, caplog: pytest.LogCaptureFixture
) -> None:
    Follower.objects.create(pk=1, cursor="7")
    login.broken = Reply.json({}, 400)
    known = runtime().revocations
    known.look()
    assert known.stale_since
    assert said(caplog)[-1].endswith("what is known stays: The login service responded with 400.")


@pytest.mark.django_db
def test_an_end_that_is_reported_twice_changes_nothing(login: LoginService) -> None:
    ended = begin()
    login.end(2, epoch=1)
    runtime().revocations.look()
    at = Session.objects.get(id=ended).ended_at
    Follower.objects.all().delete()
    runtime().revocations.look()
    assert Session.objects.get(id=ended).ended_at == at


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of revocations."""
    return [record.getMessage() for record in caplog.records if record.name == revocations.__name__]


TABLE = Session._meta.db_table
SENSELESS = [[], {}, {"ends": [{}], "cursor": "9"}, {"ends": None, "cursor": "9"}]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "broken",
    [Reply.json({}, 503), Reply.json({}, 403), Reply(200, b"<html>"), *(Reply.json(each) for each in SENSELESS)],
)
def test_known_ends_stay_in_force_while_the_login_service_is_down(
    login: LoginService, caplog: pytest.LogCaptureFixture, broken: Reply
) -> None:
    ended, logged_out, later = begin(), begin("3"), begin("4")
    login.end(2, epoch=1)
    known = runtime().revocations
    known.look()
    login.broken = broken
    login.end(4, epoch=1)
    caplog.set_level(logging.INFO)
    known.look()
    since = known.stale_since
    sessions.session_end(session_id=logged_out)
    known.look()
    assert since
    assert known.stale_since == since
    assert Follower.objects.get().cursor == "1"
    # What the gateway itself has ended is known all the same.
    assert [known.is_ended(each) for each in (ended, logged_out, later)] == [True, True, False]
    login.broken = None
    known.look()
    known.look()
    assert known.stale_since is None
    assert known.is_ended(later)
    away, back = said(caplog)
    assert away.startswith("The login service's list of ended sessions cannot be read, what is known stays")
    assert back.startswith("The login service's list of ended sessions can be read again, after 0.")


@pytest.mark.django_db
def test_ends_older_than_a_token_s_lifetime_are_forgotten(login: LoginService, settings: Any) -> None:
    ended = begin()
    sessions.session_end(session_id=ended)
    known = runtime().revocations
    known.look()
    assert known.is_ended(ended)
    long_ago = sessions.timezone.now() - sessions.timedelta(hours=1)
    Session.objects.filter(id=ended).update(ended_at=long_ago)
    known.look()
    assert not known.is_ended(ended)


def until(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    wait_until(condition, "what the test waits for")


@pytest.fixture
def following(login: LoginService) -> Iterator[revocations.Revocations]:
    """Revocations whose threads have begun to look."""
    known = revocations.Revocations(runtime().login)
    known.start()
    try:
        yield known
    finally:
        known.stopping.set()
        for thread in threading.enumerate():
            if thread.name == "revocations":
                thread.join(15)


@pytest.mark.django_db(transaction=True)
def test_the_first_use_starts_the_polling_threads(following: revocations.Revocations) -> None:
    ended = begin()
    assert not following.is_ended(ended)
    sessions.session_end(session_id=ended)
    until(lambda: following.is_ended(ended))


def is_renamed(table: str, name: str) -> bool:
    """Rename the table; SQLite may refuse while another thread reads."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} RENAME TO {name}")
    except OperationalError:
        return False
    return True


@pytest.mark.django_db(transaction=True)
def test_the_polling_threads_survive_a_database_error(
    following: revocations.Revocations, login: LoginService, caplog: pytest.LogCaptureFixture
) -> None:
    ended, later = begin(), begin("3")
    login.end(2, epoch=1)
    until(lambda: following.is_ended(ended))
    caplog.set_level(logging.INFO)
    until(lambda: is_renamed(TABLE, "elsewhere"))
    try:
        login.end(3, epoch=1)
        until(lambda: all(each.stale_since for each in following.lists))
        assert following.is_ended(ended)
    finally:
        until(lambda: is_renamed("elsewhere", TABLE))
    until(lambda: following.is_ended(later))
    until(lambda: following.stale_since is None)
    assert len(said(caplog)) == 4


@pytest.mark.django_db(transaction=True)
def test_a_slow_login_service_is_reported_and_delays_no_logout(
    following: revocations.Revocations, login: LoginService
) -> None:
    logged_out, answering = begin(), threading.Event()
    login.waits_for = answering
    until(lambda: following.stale_since)
    try:
        sessions.session_end(session_id=logged_out)
        until(lambda: following.is_ended(logged_out))
        assert following.stale_since
    finally:
        answering.set()
    until(lambda: following.stale_since is None)


@pytest.fixture
def gateways(login: LoginService) -> Iterator[list[revocations.Revocations]]:
    """Ten workers with one database, whose threads have begun to look."""
    if connection.vendor != "postgresql":
        pytest.skip("workers take turns in PostgreSQL")
    known = [revocations.Revocations(runtime().login) for _ in range(10)]
    for each in known:
        each.start()
    try:
        yield known
    finally:
        for each in known:
            each.stopping.set()
        for thread in threading.enumerate():
            if thread.name == "revocations":
                thread.join(15)


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_one_at_a_time_asks_the_login_service(
    gateways: list[revocations.Revocations], login: LoginService
) -> None:
    asked: list[str] = []
    login.before_response = asked.append
    began = time.monotonic()
    until(lambda: len(asked) >= 15)
    # Ten workers without turns need 0.75 s for as many.
    assert time.monotonic() - began > 15 * revocations.TURN / 2
    ended = begin()
    login.end(2, epoch=1)
    until(lambda: all(each.is_ended(ended) for each in gateways))


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_ends_after_it_has_claimed_the_turn_holds_up_no_other(
    gateways: list[revocations.Revocations], login: LoginService
) -> None:
    ended, hanging = begin(), threading.Event()
    login.waits_for = hanging
    # Its request hangs, as for a machine without power.
    until(lambda: Follower.objects.filter(claimed_at__isnull=False).exists())
    login.waits_for = None
    login.end(2, epoch=1)
    try:
        until(lambda: all(each.is_ended(ended) for each in gateways))
    finally:
        hanging.set()


@pytest.mark.django_db(transaction=True)
def test_every_worker_is_stale_while_the_login_service_fails(
    gateways: list[revocations.Revocations], login: LoginService, caplog: pytest.LogCaptureFixture
) -> None:
    login.broken = Reply.json({}, 503)
    until(lambda: all(each.stale_since for each in gateways))
    login.broken = None
    until(lambda: not any(each.stale_since for each in gateways))
    # One failure and one recovery each: another worker's turn is neither.
    assert caplog.text.count("cannot be read") == caplog.text.count("can be read again") == len(gateways)
