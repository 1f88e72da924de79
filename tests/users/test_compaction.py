"""Superseded lines move to the history, and nothing is lost."""

import json
from contextlib import suppress

import pytest
from django.db import connection

from chassis.problems import Unavailable
from users import selectors, services, store
from users.models import User
from users.store import index, journal, marks, tables

from .conftest import stored
from .journals import append, compact, generation, reopened

pytestmark = pytest.mark.record


def test_superseded_lines_move_to_the_history_without_hashes(make, admin, record, everything, monkeypatch):
    monkeypatch.setattr(journal, "COMPACT_FROM", 5)
    monkeypatch.setattr(journal, "TIDY_EVERY", 0)
    for number in range(9):
        services.user_update(user_id=admin.pk, actor=admin.pk, full_name=f"Name {number}")
    assert len(stored(record)) < 7
    moved = [json.loads(line) for line in record.with_name("users.history.jsonl").read_text().splitlines()]
    assert {line["password"] for line in moved} == {""}
    assert len(moved) + len(stored(record)) == 10
    before = generation(), everything()[0]
    assert len(selectors.user_history(user_id=admin.pk)) == 10
    reopened().verify()
    assert (generation(), everything()[0]) == before


def test_a_compaction_keeps_what_a_line_by_hand_left_to_be_worked_out(make, record):
    user = make("eva")
    line = stored(record)[-1]
    for name in ("session_epoch", "session_end", "kept_session"):
        del line[name]
    append(record, line | {"is_active": False, "updated_at": "2090-01-31T12:00:00.123456+01:00"})
    before = generation()
    compact()
    assert len(stored(record)) == 1
    assert stored(record)[-1]["session_epoch"] == 1
    store.current().verify()
    assert generation() == before
    connection.close()
    index.path().unlink()
    reopened()
    assert (User.objects.get(pk=user.pk).session_epoch, generation()) == (1, before)


def test_a_file_restored_during_a_compaction_stays(make, admin, record, monkeypatch):
    services.user_update(user_id=admin.pk, actor=admin.pk, full_name="Name")
    whole, copy = record.read_bytes(), record.with_name("copy")
    copy.write_bytes(whole.splitlines(keepends=True)[0])
    append_all = journal.record.append_all

    def meanwhile(*args: object) -> None:
        append_all(*args)
        copy.rename(record)

    with monkeypatch.context() as patch:
        patch.setattr(journal.record, "append_all", meanwhile)
        with pytest.raises(Unavailable, match="edited at the same time"):
            compact()
    assert record.read_bytes() == whole.splitlines(keepends=True)[0]
    store.current().catch_up()
    assert User.objects.get().full_name == ""


@pytest.mark.parametrize("point", ["append_all", "replace", "save_position", "write"])
def test_a_compaction_that_fails_loses_nothing(make, admin, record, everything, monkeypatch, point):
    services.user_update(user_id=admin.pk, actor=admin.pk, full_name="Name")
    before, rows = generation(), everything()[0]

    def fail(*args: object, **values: object) -> None:
        raise OSError(5, "Input/output error")

    module = {"save_position": tables, "write": marks}.get(point, journal.record)
    with monkeypatch.context() as patch:
        patch.setattr(module, point, fail)
        with suppress(OSError, Unavailable):
            compact()
    reopened()
    assert (generation(), everything()[0]) == (before, rows)
    assert len(selectors.user_history(user_id=admin.pk)) == 2
    assert make("eva").pk == 2
