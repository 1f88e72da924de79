"""How one version of a user follows another, and what an older copy of the record is."""

from datetime import UTC, datetime, timedelta

import pytest

from users.models import Deletion, User
from users.store.codec import BadLineError
from users.store.replay import Replay, follow, went_back

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def eva(minutes: int = 0, **values: object) -> User:
    at = NOW + timedelta(minutes=minutes)
    return User(**{"id": 7, "username": "eva", "email": "eva@example.com", "password": "a", "created_at": NOW,
                   "updated_at": at, "password_changed_at": NOW} | values)  # fmt: skip


def deletion(minutes: int = 0, **values: object) -> Deletion:
    return Deletion(**{"id": 7, "updated_at": NOW + timedelta(minutes=minutes)} | values)


def rehashed(**values: object) -> User:
    user = eva(**values)
    user.is_rehash = True
    return user


@pytest.mark.parametrize(
    ("after", "epoch", "end"),
    [
        (eva(1, full_name="Eva", email="x@example.com", username="x"), 2, 5),
        (eva(1, password="b"), 3, 10),
        (eva(1, user_type="admin"), 3, 10),
        (eva(1, is_active=False), 3, 10),
        (rehashed(password="b"), 2, 5),
        (deletion(1), 3, 10),
        # The service wrote it, or a line by hand has only the epoch.
        (eva(1, password="b", session_epoch=3, session_end=12), 3, 12),
        (eva(1, session_epoch=3), 3, 10),
        # A line by hand that was copied from an earlier one.
        (eva(1, password="b", session_epoch=1, session_end=1), 3, 10),
    ],
)
def test_what_changes_rights_ends_sessions_and_nothing_else_does(after, epoch, end):
    before = eva(session_epoch=2, session_end=5, kept_session="s-1")
    followed = follow(before, after, last_end=9)
    assert (followed.session_epoch, followed.session_end) == (epoch, end)
    if isinstance(followed, User):
        assert followed.kept_session == ("" if epoch == 3 else "s-1")


def test_activation_ends_nothing():
    assert follow(eva(is_active=False), eva(1, is_active=True), 9).session_epoch == 0


@pytest.mark.parametrize(
    ("after", "changed"), [(eva(1), False), (eva(1, password="b"), True), (rehashed(minutes=1, password="b"), False)]
)
def test_the_time_of_a_password_is_worked_out(after, changed):
    followed = follow(eva(), after, 0)
    assert followed.password_changed_at == (after.updated_at if changed else NOW)


def test_a_deleted_user_does_not_come_back():
    with pytest.raises(BadLineError, match="user 7 was deleted before"):
        follow(deletion(), eva(1), 0)
    assert follow(deletion(), deletion(1), 0).id == 7


def test_a_record_read_as_a_whole_has_each_name_once():
    replay = Replay()
    replay.take(1, eva())
    with pytest.raises(BadLineError, match="username is taken by user 7, line 1"):
        replay.take(2, eva(id=8, username="EVA", email="x@example.com"))
    with pytest.raises(BadLineError, match="email is taken by user 7, line 1"):
        replay.take(2, eva(id=8, username="x", email="Eva@Example.com"))
    replay.take(3, eva(1, username="ada", email="ada@example.com"))
    replay.take(4, eva(id=8))
    replay.take(5, deletion(2))
    replay.take(6, eva(id=9, username="ada", email="ada@example.com"))
    assert (replay.last_end, sorted(replay.entries)) == (1, [7, 8, 9])


KNOWN = {"session_epoch": 2, "session_end": 5}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (eva(5, **KNOWN), False),
        (eva(6, **KNOWN), False),
        (eva(6, full_name="Eva", **KNOWN), False),
        (eva(6, password="b", session_epoch=3, session_end=6), False),
        (rehashed(minutes=5, password="b", **KNOWN), False),
        (deletion(6, session_epoch=3, session_end=6), False),
        (None, True),
        (eva(4, **KNOWN), True),
        (eva(6, session_epoch=1), True),
        (eva(5, full_name="edited", **KNOWN), True),
        (eva(6, password="b", **KNOWN), True),
        (deletion(6, session_epoch=2), True),
    ],
)
def test_a_copy_in_which_something_is_missing_older_or_other_is_another_generation(found, expected):
    assert went_back([eva(5, **KNOWN)], {7: found} if found else {}) is expected


def test_a_deletion_that_is_gone_is_another_generation():
    assert went_back([deletion(5, session_epoch=3)], {7: eva(6, session_epoch=3)})
    assert not went_back([deletion(5)], {7: deletion(5)})
