"""What holds when several write at once, wherever the users are stored."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from chassis.problems import Conflict
from users import selectors, services, store
from users.models import User

from .conftest import remove

THREADS = 6
WAIT = 30


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Call all of them, each in a thread, at the same time; return their results, a `Conflict` where one raised it."""
    ready = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        try:
            store.current().catch_up()
            ready.wait(WAIT)
            return call()
        except Conflict as exc:
            return exc
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def test_a_name_goes_to_one_of_concurrent_creates(state):
    for number in range(5):
        name = f"eva{number}"
        made = at_once(
            *[
                lambda email=f"{name}.{thread}@example.com", name=name: services.user_create(
                    username=name, email=email, password="p"
                )
                for thread in range(THREADS)
            ]
        )
        assert Counter(type(result) for result in made) == {User: 1, Conflict: THREADS - 1}
    store.current().catch_up()
    assert sorted(User.objects.values_list("pk", flat=True)) == [1, 2, 3, 4, 5]


def test_admins_that_demote_or_delete_each_other_leave_one(make):
    for number in range(8):
        for user in User.objects.all():
            remove(user)
        one, two = (make(f"{name}{number}", user_type="admin").pk for name in ("one", "two"))
        results = at_once(
            lambda one=one, two=two: services.user_update(user_id=one, actor=two, user_type="default"),
            lambda one=one, two=two: services.user_delete(user_id=two, actor=one),
        )
        assert [isinstance(result, Conflict) for result in results].count(True) == 1
        store.current().catch_up()
        assert User.objects.active_admins().count() == 1


def test_a_follower_of_session_ends_misses_none(make, admin):
    users = [make(f"user{number}") for number in range(THREADS * 5)]
    done = threading.Event()
    told: list[int] = []

    def follow() -> None:
        cursor = ""
        try:
            while True:
                last = done.is_set()
                store.current().catch_up()
                found = selectors.session_ends(after=cursor, limit=3)
                told.extend(entry.pk for entry in found.ends)
                cursor = found.cursor
                if last and not found.ends:
                    return
        finally:
            connection.close()

    def end(part: list[User]) -> None:
        for user in part:
            services.user_update(user_id=user.pk, actor=admin.pk, is_active=False)

    follower = threading.Thread(target=follow)
    follower.start()
    at_once(*[lambda part=users[thread::THREADS]: end(part) for thread in range(THREADS)])
    done.set()
    follower.join(WAIT)
    assert not follower.is_alive()
    assert sorted(told) == [user.pk for user in users]


def test_concurrent_changes_of_one_user_are_both_stored(make, admin):
    user = make("eva")
    at_once(
        lambda: services.user_update(user_id=user.pk, actor=admin.pk, full_name="Eva"),
        lambda: services.user_update(user_id=user.pk, actor=admin.pk, email="new@example.com"),
    )
    store.current().catch_up()
    after = User.objects.get(pk=user.pk)
    assert (after.full_name, after.email) == ("Eva", "new@example.com")
