import re

import pytest
from django.core import serializers
from django.core.exceptions import ValidationError
from django.db import connection

from users.models import BypassError, User

from .conftest import put


@pytest.mark.parametrize(
    "write",
    [
        lambda: User.objects.update(full_name="x"),
        lambda: User.objects.filter(pk=1).update(is_active=False),
        lambda: User.objects.all().delete(),
        lambda: User.objects.bulk_create([User(username="ada")]),
        lambda: User.objects.bulk_update(list(User.objects.all()), ["email"]),
        lambda: next(serializers.deserialize("jsonl", serializers.serialize("jsonl", User.objects.all()))).save(),
    ],
    ids=["update", "update of some", "delete", "bulk_create", "bulk_update", "loaddata"],
)
def test_what_would_write_the_index_alone_is_refused(make, everything, write):
    make("eva")
    before, rows = everything(), list(User.objects.values())
    with pytest.raises(BypassError, match=r"users\.services"):
        write()
    assert everything() == before
    assert list(User.objects.values()) == rows


@pytest.mark.parametrize(
    ("write", "name", "error", "message"),
    [
        (User.save, "Eva", BypassError, r"users\.services"),
        (User.delete, "Eva", BypassError, r"users\.services"),
        (put, "a\nb", ValidationError, r"U\+000A"),
    ],
)
def test_what_the_services_have_not_checked_is_not_written(make, everything, write, name, error, message):
    user = make("eva")
    before, user.full_name = everything(), name
    with pytest.raises(error, match=message):
        write(user)
    assert everything() == before


@pytest.mark.parametrize(("username", "found"), [("eva", True), ("EVA", True), ("ev", False), ("", False)])
def test_a_name_is_found_in_any_case(make, username, found):
    make("Eva")
    assert User.objects.named(username).exists() is found
    assert User.objects.named(f"{username}@EXAMPLE.com", "email").exists() is found


@pytest.mark.parametrize(
    ("query", "name"),
    [(lambda: User.objects.named("eva"), "username"), (lambda: User.objects.named("e", "email"), "email")],
)
def test_lookups_walk_the_unique_indexes(query, name):
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # which would rather read all of a small table
            cursor.execute("SET enable_seqscan = off")
    assert re.search(f"(USING INDEX|Index Scan using|Index Scan on) users_{name}", query().explain())


@pytest.mark.parametrize(
    ("user_type", "active", "may"), [("admin", True, True), ("admin", False, False), ("default", True, False)]
)
def test_only_an_active_admin_may_use_the_admin(user_type, active, may):
    user = User(username="eva", user_type=user_type, is_active=active)
    assert user.is_staff is user.has_perm("users.add_user") is user.has_module_perms("users") is may
    assert str(user) == "eva"


@pytest.mark.record
def test_the_index_does_not_wait_for_the_disk_and_readers_not_for_writers():
    with connection.cursor() as cursor:
        found = [cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert found == ["wal", 1]
