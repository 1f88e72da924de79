"""The store beside a dict that does the same: whatever is done to the files in between, both hold the same users."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.shares import share

from chassis.databases import StorageFull
from users import journal, verification
from users import record as records
from users.changes import now
from users.models import Deletion, User
from users.record import JournalError

from .conftest import settle, use

pytestmark = pytest.mark.record
names = st.text("abAB", min_size=1, max_size=3)
texts = st.text(max_size=5).filter(lambda text: text.isprintable())
picks = st.integers(0, 50)


class Store(RuleBasedStateMachine):
    """A record in a directory of its own."""

    empty_index: Path

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.state = self.directory / "users"
        self.state.mkdir(mode=0o700)
        self.users: dict[int, tuple[str, str]] = {}
        self.deleted: set[int] = set()
        self.backup: dict[int, tuple[str, str]] | None = None
        shutil.copy(self.empty_index, self.state)
        self.reopen()

    def teardown(self) -> None:
        assert verification.verify(journal.current()).differences == []
        connection.close()
        shutil.rmtree(self.directory)

    @property
    def record(self) -> Path:
        return self.state / "users.jsonl"

    def taken(self, name: str, but: int = 0) -> bool:
        return any(name.lower() == other.lower() for pk, (other, _) in self.users.items() if pk != but)

    def pick(self, number: int) -> int:
        return sorted(self.users)[number % len(self.users)]

    def next_id(self) -> int:
        return 1 + max([0, *self.users, *self.deleted])

    @rule(name=names, text=texts, elsewhere=st.booleans())
    def create(self, name: str, text: str, elsewhere: bool) -> None:
        """Elsewhere is another process: it has the files, and nothing that this one remembers."""
        store = journal.Journal(self.record) if elsewhere else journal.current()
        user = User(username=name, email=f"{name}@example.com", full_name=text, password="!")
        if self.taken(name):
            with pytest.raises(ValidationError), store.writing() as changes:
                changes.put(user)
            return
        expected = self.next_id()
        with store.writing() as changes:
            changes.put(user)
        assert user.pk == expected
        self.users[user.pk] = (name, text)

    @precondition(lambda self: self.users)
    @rule(number=picks, name=names, text=texts)
    def update(self, number: int, name: str, text: str) -> None:
        pk = self.pick(number)
        name = self.users[pk][0] if self.taken(name, but=pk) else name
        with journal.writing() as changes:
            user = User.objects.get(pk=pk)
            before = user.updated_at
            user.username, user.full_name, user.email = name, text, f"{name}@example.com"
            changes.put(user)
        assert user.updated_at > before
        self.users[pk] = (name, text)

    @precondition(lambda self: self.users)
    @rule(number=picks)
    def delete(self, number: int) -> None:
        pk = self.pick(number)
        with journal.writing() as changes:
            changes.remove(User.objects.get(pk=pk))
        del self.users[pk]
        self.deleted.add(pk)

    @rule(wanted=st.lists(names, min_size=1, max_size=3, unique_by=str.lower), gap=st.integers(0, 2))
    def load(self, wanted: list[str], gap: int) -> None:
        wanted = [name for name in wanted if not self.taken(name)]
        times = {"created_at": now(), "updated_at": now(), "password": "!"}
        with journal.writing() as changes:
            for pk, name in enumerate(wanted, self.next_id() + gap):
                changes.load([User(pk=pk, username=name, email=f"{name}@example.com", **times)])
                self.users[pk] = (name, "")

    @rule(name=names)
    def give_up(self, name: str) -> None:
        with pytest.raises(ZeroDivisionError), journal.writing() as changes:  # noqa: PT012  # what is tested is the block
            if not self.taken(name):
                changes.put(User(username=name, email=f"{name}@example.com", password="!"))
            raise ZeroDivisionError

    @rule()
    def find_the_disk_full(self) -> None:
        append = records.append

        def full(*args: object) -> str:
            raise StorageFull

        records.append = full
        try:
            with pytest.raises(StorageFull), journal.writing() as changes:
                changes.put(User(username="full", email="full@example.com", password="!"))
        finally:
            records.append = append

    @rule()
    def compact(self) -> None:
        store = journal.current()
        with store.lock.held():
            store.bring_up()
            store.compact()

    @rule()
    def reopen(self) -> None:
        use(self.state)
        journal.journal_at.cache_clear()
        journal.open_record()

    @precondition(lambda self: self.users)
    @rule(number=picks, text=texts)
    def edit_by_hand(self, number: int, text: str) -> None:
        pk = self.pick(number)
        lines = [json.loads(line) for line in self.record.read_bytes().splitlines() if line]
        last = [line for line in lines if line["pk"] == pk and line["model"] == "users.user"][-1]
        last["fields"]["full_name"] = text
        self.record.write_text("".join(json.dumps(line) + "\n" for line in lines))
        self.users[pk] = (self.users[pk][0], text)

    @precondition(lambda self: self.users)
    @rule()
    def replace_by_a_copy(self) -> None:
        shutil.copy(self.record, self.state / "copy")
        (self.state / "copy").replace(self.record)

    @precondition(lambda self: self.record.exists())
    @rule()
    def back_up(self) -> None:
        shutil.copy(self.record, self.directory / "backup")
        self.backup = self.users.copy()

    @precondition(lambda self: self.backup is not None)
    @rule(stopped=st.booleans())
    def restore(self, stopped: bool) -> None:
        """Who was made since is deleted, and who was deleted since comes back."""
        shutil.copy(self.directory / "backup", self.record)
        settle(self.record)
        self.deleted = (self.deleted | self.users.keys()) - self.backup.keys()
        self.users = self.backup.copy()
        if stopped:
            self.reopen()

    @precondition(lambda self: self.users)
    @rule(number=picks)
    def take_lines_out(self, number: int) -> None:
        pk = self.pick(number)
        lines = [json.loads(line) for line in self.record.read_bytes().splitlines() if line]
        left = [line for line in lines if pk != (line["fields"].get("user_id") or line["pk"])]
        if not left:  # a lost record, not one from which all were taken out
            return
        self.record.write_text("".join(json.dumps(line) + "\n" for line in left))
        settle(self.record)
        del self.users[pk]
        self.deleted.add(pk)

    @precondition(lambda self: self.users)
    @rule(at=st.integers(1, 300), byte=st.sampled_from([b"", b"\x8a", b"\0"]), stopped=st.booleans())
    def damage_the_end(self, at: int, byte: bytes, stopped: bool) -> None:
        whole = self.record.read_bytes()
        damaged = whole[: max(1, len(whole) - at)].rstrip(b"\n}") + byte
        self.record.write_bytes(damaged)
        with pytest.raises(JournalError):
            self.reopen() if stopped else journal.catch_up()
        assert self.record.read_bytes() == damaged
        self.record.write_bytes(whole)

    @precondition(lambda self: self.record.exists())
    @rule()
    def touch(self) -> None:
        os.utime(self.record)

    @rule(torn=st.sampled_from([b"{", b'{"model": "users.user", "pk": 1, "fi', b"\0" * 50, b"\xff"]))
    def crash_while_appending(self, torn: bytes) -> None:
        if self.users:
            with self.record.open("ab") as file:
                file.write(torn)
            settle(self.record)

    @rule(anew=st.booleans())
    def lose_the_index(self, anew: bool) -> None:
        for path in self.state.glob("index.sqlite3*"):
            path.unlink()
        if anew:  # quicker than to have it made, and one that reflects nothing is as good as none
            shutil.copy(self.empty_index, self.state)

    @invariant()
    def holds_the_same(self) -> None:
        journal.catch_up()
        assert {user.pk: (user.username, user.full_name) for user in User.objects.all()} == self.users
        assert set(Deletion.objects.values_list("pk", flat=True)) == self.deleted


@pytest.mark.parametrize(
    ("examples", "steps"),
    [(8, 25), pytest.param(share(500), 50, marks=pytest.mark.long)],
)
def test_the_store_holds_what_a_dict_does(examples, steps, empty_index, state):
    Store.empty_index = empty_index
    run_state_machine_as_test(
        Store,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
