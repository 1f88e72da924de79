"""Which sessions have ended."""

import logging
import threading
import time
from typing import Any

import pytest
from tests.gateway.login import LoginService
from tests.gateway.service import Reply

from gateway.identity import revocations, sessions
from gateway.identity.credentials import Account
from gateway.identity.models import Follower, Session


def begin(user_id: str = "2", epoch: int = 0) -> str:
    """Begin a session and return its id."""
    account = Account(user_id, "user", "default", epoch)
    return sessions.session_create(account=account, client=sessions.Client("192.0.2.1", "test")).id


@pytest.mark.django_db
def test_what_the_login_service_ends_is_ended_here(login: LoginService) -> None:
    before, after, other = begin(epoch=0), begin(epoch=1), begin("3")
    login.end(2, epoch=1)
    known = revocations.revocations()
    known.look()
    assert [known.is_ended(each) for each in (before, after, other)] == [True, False, False]


@pytest.mark.django_db
def test_the_kept_session_lives_until_the_next_end(login: LoginService) -> None:
    kept, ended = begin(), begin()
    login.end(2, epoch=1, kept=kept)
    known = revocations.revocations()
    known.look()
    assert [known.is_ended(each) for each in (kept, ended)] == [False, True]
    login.end(2, epoch=2)
    known.look()
    assert known.is_ended(kept)


@pytest.mark.django_db
def test_a_deletion_ends_every_session(login: LoginService) -> None:
    sessions_of_user = [begin(epoch=0), begin(epoch=7)]
    login.end(2, epoch=0, deleted=True)
    known = revocations.revocations()
    known.look()
    assert all(known.is_ended(each) for each in sessions_of_user)


@pytest.mark.django_db
def test_all_pages_are_followed_and_the_place_is_kept(login: LoginService) -> None:
    ids = [begin(str(number)) for number in range(5)]
    for number in range(5):
        login.end(number, epoch=1)
    revocations.revocations().look()
    assert Follower.objects.get().cursor == "5"
    assert revocations.revocations().ended == set(ids)


@pytest.mark.django_db
def test_being_told_twice_changes_nothing(login: LoginService) -> None:
    ended = begin()
    login.end(2, epoch=1)
    revocations.revocations().look()
    at = Session.objects.get(id=ended).ended_at
    Follower.objects.all().delete()
    revocations.revocations().look()
    assert Session.objects.get(id=ended).ended_at == at


@pytest.mark.django_db
def test_while_the_login_service_is_away_what_is_known_stays(
    login: LoginService, caplog: pytest.LogCaptureFixture
) -> None:
    ended = begin()
    login.end(2, epoch=1)
    known = revocations.revocations()
    known.look()
    login.broken = Reply.json({}, 503)
    with caplog.at_level(logging.WARNING):
        known.look()
        known.look()
    assert known.is_ended(ended)
    assert known.away
    assert len([record for record in caplog.records if record.name == revocations.__name__]) == 1
    login.broken = None
    known.look()
    assert not known.away


@pytest.mark.django_db
@pytest.mark.parametrize("answer", [{}, [], {"ends": [{}], "cursor": "1"}, {"ends": None, "cursor": "1"}])
def test_an_answer_that_makes_no_sense_leaves_what_is_known_and_shows(login: LoginService, answer: Any) -> None:
    known = revocations.revocations()
    ended = begin()
    sessions.session_end(session_id=ended)
    login.broken = Reply.json(answer)
    known.look()
    assert known.away
    assert known.is_ended(ended)
    assert not Follower.objects.exists()


@pytest.mark.django_db
def test_what_ended_longer_ago_than_a_token_lives_is_forgotten(login: LoginService, settings: Any) -> None:
    ended = begin()
    sessions.session_end(session_id=ended)
    known = revocations.revocations()
    known.look()
    assert known.is_ended(ended)
    long_ago = sessions.timezone.now() - sessions.timedelta(hours=1)
    Session.objects.filter(id=ended).update(ended_at=long_ago)
    known.look()
    assert not known.is_ended(ended)


@pytest.mark.django_db(transaction=True)
def test_the_first_question_starts_the_thread_that_keeps_looking(login: LoginService) -> None:
    ended = begin()
    known = revocations.Revocations()
    try:
        assert not known.is_ended(ended)
        sessions.session_end(session_id=ended)
        deadline = time.monotonic() + 5
        while not known.is_ended(ended):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        known.stopping.set()
        for thread in threading.enumerate():
            if thread.name == "revocations":
                thread.join(5)
