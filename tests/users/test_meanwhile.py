"""Others who write the record at the same moment, and a system that fails for a moment."""

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import OperationalError, connection

from chassis.databases import StorageFull
from chassis.problems import Unavailable
from users import index, journal, lines, services
from users import record as records
from users.models import User
from users.record import JournalError, UnsettledError

from .conftest import settle, stored

pytestmark = pytest.mark.record


def line_of(record: Path, pk: int, **fields: object) -> bytes:
    """Return the user's last line, with other values."""
    line = [each for each in stored(record) if (each["model"], each["pk"]) == ("users.user", pk)][-1]
    return json.dumps(line | {"fields": line["fields"] | fields}).encode() + b"\n"


def append(record: Path, line: bytes) -> None:
    """Do what `>>` of a shell does."""
    with record.open("ab") as file:
        file.write(line)


def full_names() -> dict[int, str]:
    journal.catch_up()
    return dict(User.objects.values_list("pk", "full_name"))


@pytest.fixture
def hand(make, admin, record) -> bytes:
    """A line that somebody may append: the new name of user 2, beside whom there is user 1."""
    make("eva")
    return line_of(record, 2, full_name="by hand")


@pytest.fixture
def when(monkeypatch, record, hand) -> Callable[[str, object], None]:
    """Let the hand append its line when the process does a certain thing for the first time."""

    def when(name: str, module: object, *, after: bool = False) -> None:
        real = getattr(module, name)
        first = threading.Semaphore(1)

        def call(*args: object, **kwargs: object) -> object:
            mine = first.acquire(blocking=False)
            if mine and not after:
                append(record, hand)
            try:
                return real(*args, **kwargs)
            finally:
                if mine and after:
                    append(record, hand)

        monkeypatch.setattr(module, name, call)

    return when


def test_a_line_appended_right_before_a_write_stays_and_the_write_is_to_be_tried_again(record, hand, when, caplog):
    when("write_all", records)
    with pytest.raises(Unavailable, match="edited at the same time"):
        services.user_update(user_id=1, actor=1, full_name="by the API")
    assert hand in record.read_bytes()
    assert b"by the API" not in record.read_bytes()
    assert full_names() == {1: "", 2: "by hand"}
    assert "a write failed as somebody else wrote too" in caplog.text
    services.user_update(user_id=1, actor=1, full_name="by the API")
    assert full_names() == {1: "by the API", 2: "by hand"}


@pytest.mark.parametrize(("name", "module"), [("write_all", records), ("append", records), ("save_position", index)])
def test_a_line_appended_right_after_a_write_is_read_and_so_is_the_write(record, hand, when, state, name, module):
    """Before the write is on disk, after that, and once the index has it."""
    when(name, module, after=True)
    services.user_update(user_id=1, actor=1, full_name="by the API")
    assert full_names() == {1: "by the API", 2: "by hand"}
    connection.close()
    for path in state.glob("index.sqlite3*"):
        path.unlink()
    assert full_names() == {1: "by the API", 2: "by hand"}


@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
def test_a_line_beside_a_write_that_the_index_does_not_take_stays(record, hand, when, monkeypatch, after):
    when("write_all", records, after=after)

    def fail(**kwargs: object) -> None:
        raise OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(index, "save_position", fail)
        with pytest.raises(Unavailable):
            services.user_update(user_id=1, actor=1, full_name="by the API")
    assert hand in record.read_bytes()
    assert full_names() == {1: "", 2: "by hand"}


def test_a_line_appended_as_the_disk_fails_stays(record, hand, when, monkeypatch):
    when("write_all", records)

    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink() == record:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(records.os, "fsync", fail)
        with pytest.raises(StorageFull):
            services.user_update(user_id=1, actor=1, full_name="by the API")
    assert hand in record.read_bytes()
    assert full_names() == {1: "", 2: "by hand"}


def test_what_of_a_write_cannot_be_told_from_another_line_is_left(record, hand, caplog):
    """Half of it with another line after that; a line that cannot be read is said, not cut."""
    size = record.stat().st_size
    append(record, b'{"model' + hand)
    records.take_back(record, size, b'{"model": "users.user"}\n')
    assert record.read_bytes()[size:] == b'{"model' + hand
    assert "nothing is cut" in caplog.text
    with pytest.raises(JournalError, match=r"users.jsonl:3: "):
        journal.catch_up()


def test_a_line_appended_while_the_record_is_read_is_read_at_the_next_look(record, hand, when, make):
    """The one after the lines known, and all of a record that was edited."""
    append(record, line_of(record, 1, full_name="first"))
    when("sync", records)
    assert full_names() == {1: "first", 2: ""}
    assert full_names() == {1: "first", 2: "by hand"}
    record.write_bytes(record.read_bytes().replace(b'"first"', b'"second"'))
    when("sync", records)
    journal.catch_up()
    assert record.read_bytes().count(hand) == 2
    assert full_names() == {1: "second", 2: "by hand"}
    assert index.position().offset == record.stat().st_size


def test_a_record_mended_while_it_is_refused_is_read_at_the_next_look(record, hand, monkeypatch):
    whole = record.read_bytes()
    record.write_bytes(b"nonsense\n" + whole)

    def mended(line: bytes) -> object:
        record.write_bytes(whole)
        monkeypatch.undo()
        return lines.parse(line)

    monkeypatch.setattr(lines, "parse", mended)
    with pytest.raises(JournalError, match=r"users.jsonl:1: "):
        journal.catch_up()
    assert full_names() == {1: "", 2: ""}


def test_a_line_that_is_being_written_is_waited_for_and_not_cut(record, hand, caplog):
    append(record, hand[:80])
    for _ in range(2):
        with pytest.raises(UnsettledError):
            full_names()
    with pytest.raises(UnsettledError):
        services.user_update(user_id=1, actor=1, full_name="by the API")
    assert caplog.text.count("is read once nobody has written it for 2 s") == 1
    append(record, hand[80:])
    assert full_names() == {1: "", 2: "by hand"}
    append(record, hand[:80])
    settle(record)
    assert full_names() == {1: "", 2: "by hand"}
    assert record.read_bytes().endswith(hand)
    assert "the last line was torn; cut 80 bytes off" in caplog.text


def test_a_history_whose_line_is_being_written_is_waited_for_and_not_cut(record, hand):
    before = record.read_bytes()
    services.user_update(user_id=2, actor=1, full_name="Eva")
    *histories, line = record.read_bytes()[len(before) :].splitlines(keepends=True)
    record.write_bytes(before)
    settle(record)
    (record.parent / "index.sqlite3").unlink()
    assert full_names() == {1: "", 2: ""}
    append(record, b"".join(histories))
    with pytest.raises(UnsettledError):
        full_names()
    append(record, line)
    assert full_names() == {1: "", 2: "Eva"}


def test_a_line_half_written_while_the_record_is_read_is_read_when_it_is_whole(record, hand, monkeypatch):
    append(record, line_of(record, 1, full_name="first"))
    real = records.settle

    def half(path: Path, **options: bool) -> None:
        real(path, **options)
        append(record, hand[:80])

    with monkeypatch.context() as patch:
        patch.setattr(records, "settle", half)
        assert full_names() == {1: "first", 2: ""}
    append(record, hand[80:])
    assert full_names() == {1: "first", 2: "by hand"}


def test_whatever_is_appended_while_users_are_changed_stays_in_the_record(record, hand):
    """Three threads change one user, and a hand appends the lines of another, without a look at what they do."""
    done = threading.Event()
    answered: list[str] = []

    def change(who: int) -> None:
        number = 0
        try:
            while not done.is_set():
                name, number = f"api {who} {number}", number + 1
                try:
                    services.user_update(user_id=1, actor=1, full_name=name)
                except Unavailable:
                    continue
                answered.append(name)
        finally:
            connection.close()

    threads = [threading.Thread(target=change, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    written = [line_of_hand(hand, number) for number in range(200)]
    for line in written:
        append(record, line)
        done.wait(0.002)
    done.set()
    for thread in threads:
        thread.join()
    assert full_names()[2] == "hand 199"
    content = record.read_bytes()
    assert [line for line in written if line not in content] == []
    assert answered
    assert [name for name in answered if f'"{name}"'.encode() not in content] == []


def line_of_hand(line: bytes, number: int) -> bytes:
    """Return the line with another name."""
    return line.replace(b'"by hand"', b'"hand %d"' % number)


# A system that fails for a moment


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE])
def test_what_the_system_refuses_is_asked_for_again_with_the_next_request(record, hand, monkeypatch, caplog, number):
    append(record, hand)

    def fail(path: Path, extent: object) -> bool:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(records, "holds", fail)
        for _ in range(2):
            with pytest.raises(JournalError, match=os.strerror(number)):
                journal.catch_up()
    assert caplog.text.count(os.strerror(number)) == 1
    assert full_names() == {1: "", 2: "by hand"}


def test_what_is_in_the_way_of_the_copy_of_several_lines_stops_writes_alone_and_is_said(record, make, hand, caplog):
    """A write of one line needs no copy, but one that was left would be taken for its own."""
    batch = records.batch_of(record)
    batch.mkdir()
    append(record, hand)
    before = record.read_bytes()
    for write in (lambda: services.user_update(user_id=1, actor=1, full_name="by the API"), lambda: make("kim")):
        caplog.clear()
        with pytest.raises(Unavailable):
            write()
        assert f"cannot append: [Errno {errno.EISDIR}] Is a directory: '{batch}'" in caplog.text
        assert full_names() == {1: "", 2: "by hand"}
        assert record.read_bytes() == before
    batch.rmdir()
    assert make("kim").pk == 3


@pytest.mark.parametrize("starting", [True, False])
def test_a_lock_that_is_none_is_said(record, hand, manage, caplog, starting):
    lock = record.with_suffix(".jsonl.lock")
    lock.unlink()
    lock.mkdir()
    append(record, hand)
    expected = f"{lock}: cannot be opened to lock the users: Is a directory"
    if starting:
        done = manage("check")
        assert done.returncode != 0
        assert expected in done.stderr
        assert "Traceback" not in done.stderr
    else:
        with pytest.raises(JournalError):
            journal.catch_up()
        assert expected in caplog.text
    lock.rmdir()
    assert full_names() == {1: "", 2: "by hand"}
