"""The store beside a dict that does the same: whatever is done to the files in between, both hold the same users."""

import json
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.shares import SHARE, share

from chassis.databases import StorageFull
from users import store
from users.models import Deletion, Position, User
from users.store import record as records
from users.store import tables
from users.store.journal import Journal
from users.store.record import StoreError

from .conftest import use
from .journals import compact

pytestmark = pytest.mark.record
names = st.text("abAB", min_size=1, max_size=3)
texts = st.text(max_size=5).filter(lambda text: text.isprintable())
picks = st.integers(0, 50)


def latest(record: bytes) -> dict[int, object]:
    return {line["id"]: line for line in map(json.loads, filter(bytes.strip, record.splitlines()[:-1]))}


class Store(RuleBasedStateMachine):
    """A record in a directory of its own."""

    empty: Path

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.state = self.directory / "users"
        self.state.mkdir(mode=0o700)
        self.users: dict[int, tuple[str, str]] = {}
        self.deleted: set[int] = set()
        # Whose each id ever was: none is given again, whatever is restored.
        self.given: set[int] = set()
        self.backup: tuple[dict[int, tuple[str, str]], set[int]] | None = None
        self.generation = ""
        for name in ("index.sqlite3", "users.marks.json"):
            shutil.copy(self.empty / name, self.state)
        self.reopen()

    def teardown(self) -> None:
        self.holds_the_same()
        if self.users or self.deleted:
            store.current().verify()
            self.holds_the_same()
        connection.close()
        shutil.rmtree(self.directory)

    @property
    def record(self) -> Path:
        return self.state / "users.jsonl"

    def taken(self, name: str, but: int = 0) -> bool:
        return any(name.lower() == other.lower() for pk, (other, _) in self.users.items() if pk != but)

    def pick(self, number: int) -> int:
        return sorted(self.users)[number % len(self.users)]

    def give(self, pk: int, name: str, text: str = "") -> None:
        assert pk not in self.given
        self.given.add(pk)
        self.users[pk] = (name, text)

    @rule(name=names, text=texts, elsewhere=st.booleans())
    def create(self, name: str, text: str, elsewhere: bool) -> None:
        """Elsewhere is another process: it has the files, and nothing that this one remembers."""
        journal = Journal(self.record) if elsewhere else store.current()
        user = User(username=name, email=f"{name}@example.com", full_name=text, password="!")
        if self.taken(name):
            with pytest.raises(ValidationError), journal.writing() as writer:
                writer.put(user)
            return
        with journal.writing() as writer:
            writer.put(user)
        self.give(user.pk, name, text)

    @precondition(lambda self: self.users)
    @rule(number=picks, name=names, text=texts)
    def update(self, number: int, name: str, text: str) -> None:
        pk = self.pick(number)
        name = self.users[pk][0] if self.taken(name, but=pk) else name
        with store.writing() as writer:
            user = User.objects.get(pk=pk)
            before = user.updated_at
            user.username, user.full_name, user.email = name, text, f"{name}@example.com"
            writer.put(user)
        assert user.updated_at > before
        self.users[pk] = (name, text)

    @precondition(lambda self: self.users)
    @rule(number=picks)
    def delete(self, number: int) -> None:
        pk = self.pick(number)
        with store.writing() as writer:
            writer.remove(User.objects.get(pk=pk))
        del self.users[pk]
        self.deleted.add(pk)

    @rule(wanted=st.lists(names, min_size=1, max_size=3, unique_by=str.lower), gap=st.integers(0, 2))
    def load(self, wanted: list[str], gap: int) -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        times = dict.fromkeys(("created_at", "updated_at", "password_changed_at"), now)
        wanted = [name for name in wanted if not self.taken(name)]
        with store.writing() as writer:
            found = list(enumerate(wanted, tables.next_id() + gap))
            writer.load(
                User(pk=pk, username=name, email=f"{name}@example.com", password="!", **times) for pk, name in found
            )
        for pk, name in found:
            self.give(pk, name)

    @rule(name=names)
    def give_up(self, name: str) -> None:
        with pytest.raises(ZeroDivisionError), store.writing() as writer:  # noqa: PT012  # what is tested is the block
            if not self.taken(name):
                writer.put(User(username=name, email=f"{name}@example.com", password="!"))
            raise ZeroDivisionError

    @rule()
    def find_the_disk_full(self) -> None:
        append = records.append

        def full(*args: object) -> str:
            raise OSError(28, "No space left on device")

        records.append = full
        try:
            with pytest.raises(StorageFull), store.writing() as writer:
                writer.put(User(username="full", email="full@example.com", password="!"))
        finally:
            records.append = append

    @rule()
    def compact(self) -> None:
        compact()

    @rule()
    def reopen(self) -> None:
        use(self.state)
        store._journal_at.cache_clear()
        store.current().open()

    @precondition(lambda self: self.users)
    @rule(number=picks, text=texts, appended=st.booleans())
    def edit_by_hand(self, number: int, text: str, appended: bool) -> None:
        pk = self.pick(number)
        lines = self.record.read_bytes().splitlines(keepends=True)
        lines = [line for line in lines if line.endswith(b"\n")]
        last = max(number for number, line in enumerate(lines) if line.strip() and json.loads(line)["id"] == pk)
        changed = json.dumps(json.loads(lines[last]) | {"full_name": text}).encode() + b"\n"
        lines = [*lines, changed] if appended else [*lines[:last], changed, *lines[last + 1 :]]
        self.record.write_bytes(b"".join(lines))
        self.users[pk] = (self.users[pk][0], text)
        self.generation = self.generation if appended else ""

    @precondition(lambda self: self.users)
    @rule()
    def replace_by_a_copy(self) -> None:
        shutil.copy(self.record, self.state / "copy")
        (self.state / "copy").replace(self.record)

    @precondition(lambda self: self.record.exists() and self.record.stat().st_size)
    @rule()
    def back_up(self) -> None:
        # Of a copy with a torn end, what is whole.
        (self.directory / "backup").write_bytes(self.record.read_bytes().rpartition(b"\n")[0] + b"\n")
        self.backup = self.users.copy(), self.deleted.copy()

    @precondition(lambda self: self.backup is not None)
    @rule(stopped=st.booleans())
    def restore(self, stopped: bool) -> None:
        shutil.copy(self.directory / "backup", self.record)
        self.users, self.deleted = self.backup[0].copy(), self.backup[1].copy()
        self.generation = ""
        self.reopen() if stopped else store.current().catch_up()

    @precondition(lambda self: self.users)
    @rule(at=st.integers(1, 300), byte=st.sampled_from([b"", b"\x8a", b"\0"]))
    def damage_the_end(self, at: int, byte: bytes) -> None:
        """What was whole and is not any more stops writes and is not cut off; reads go on."""
        whole = self.record.read_bytes()
        end = whole.rindex(b"\n") + 1 - at
        damaged = whole[: max(1, end)].rstrip(b"\n}") + byte
        # A damaged line that repeats an earlier one is treated as a torn write: nothing is missing.
        if latest(damaged + b"\n") == latest(whole.rpartition(b"\n")[0] + b"\n\n"):
            return
        self.record.write_bytes(damaged)
        with pytest.raises(StoreError), store.writing():
            pass
        store.current().catch_up()
        assert {user.pk for user in User.objects.all()} == self.users.keys()
        assert self.record.read_bytes() == damaged
        self.record.write_bytes(whole)

    @precondition(lambda self: self.record.exists())
    @rule()
    def touch(self) -> None:
        os.utime(self.record)

    @precondition(lambda self: self.users)
    @rule(torn=st.sampled_from([b"{", b'{"id": 1, "usern', b"\0" * 50, b"\xff"]))
    def crash_while_appending(self, torn: bytes) -> None:
        with self.record.open("ab") as file:
            file.write(torn)

    @precondition(lambda self: self.users)
    @rule()
    def lose_the_index(self) -> None:
        for path in self.state.glob("index.sqlite3*"):
            path.unlink()

    @invariant()
    def holds_the_same(self) -> None:
        store.current().catch_up()
        assert {user.pk: (user.username, user.full_name) for user in User.objects.all()} == self.users
        assert set(Deletion.objects.values_list("pk", flat=True)) == self.deleted
        generation = Position.objects.get().generation
        # Only an edit in place or an older copy may begin another one.
        assert self.generation in {"", generation}
        self.generation = generation


@pytest.mark.parametrize(("examples", "steps"), [(5, 25), pytest.param(share(100), 50, marks=pytest.mark.long)])
def test_the_store_holds_what_a_dict_does(examples, steps, empty_index, state):
    """All of the long test looks for new examples; a share of it, as in CI, and the short test repeat theirs."""
    Store.empty = empty_index.parent
    is_repeated = steps == 25 or SHARE < 1
    given = int(os.environ.get("FUZZ_SEED") or SystemRandom().randrange(2**32))
    run_state_machine_as_test(
        Store if is_repeated else seed(given)(Store),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=is_repeated,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
