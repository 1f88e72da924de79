"""A writer that is killed at the calls that matter, again and again, and what is left compared with what it was told.

    crashes.py SEED ROUNDS      in a process with the environment of a users service; prints how often it died where

In each round a child opens the store and makes a few changes, reporting each that returned. At some call, counted from
its beginning, it dies: before it, after it or, of a write, with half of it. Some deaths are power cuts: bytes without
an fsync, new names without one, and the index's last commits are lost then too, and what was
cut off without one comes back.
"""

import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path

import django

django.setup()

from django.conf import settings  # noqa: E402  # after the setup, as the rest
from django.db import connection  # noqa: E402
from django.db.backends.sqlite3.base import DatabaseWrapper  # noqa: E402

from users import store  # noqa: E402
from users.models import Deletion, Position, User  # noqa: E402
from users.store import compaction, journal  # noqa: E402

RECORD: Path = settings.RECORD
STATE = RECORD.parent
KEPT = STATE.parent / "kept"
FILES = [RECORD, RECORD.with_suffix(".marks.json"), RECORD.with_suffix(".history.jsonl")]
INDEX = ("index.sqlite3", "index.sqlite3-wal")
CALLS = ("write", "fsync", "ftruncate", "replace", "unlink")
REAL = {name: getattr(os, name) for name in CALLS}
COMMIT = DatabaseWrapper._commit
# How much of which file, by its inode, a power cut leaves for sure; which names; and what was cut off a file.
durable: dict[int, int] = {}
named: set[tuple[str, int]] = set()
cut_off: dict[int, bytes] = {}


class Killer:
    """Counts the calls, and dies at one of them."""

    report: int | None = None  # where the parent reads, in a child

    def __init__(self, dice: random.Random, report: int) -> None:
        self.dice = dice
        Killer.report = report
        self.at = dice.randint(1, 40)
        self.count = 0

    def arm(self) -> None:
        """Come between this process and the calls."""
        for name in CALLS:
            setattr(os, name, lambda *args, name=name, **kwargs: self.call(name, REAL[name], *args, **kwargs))
        DatabaseWrapper._commit = lambda database: self.call("commit", COMMIT, database)

    def call(self, name: str, real: object, *args: object, **kwargs: object) -> object:
        """Make the call, or die at it."""
        if name == "write" and args[0] == self.report:
            return real(*args)
        if name == "replace":
            keep(Path(args[0]), Path(args[1]))
        if name == "ftruncate":
            stat = os.fstat(args[0])
            tail = os.pread(os.open(f"/proc/self/fd/{args[0]}", os.O_RDONLY), stat.st_size, args[1])
            cut_off[stat.st_ino] = tail[: max(0, durable.get(stat.st_ino, 0) - args[1])]
        self.count += 1
        if self.count == self.at:
            self.die(name, real, args, kwargs)
        if name == "unlink" and Path(args[0]).exists():  # the next file may have its inode
            inode = Path(args[0]).stat().st_ino
            report(self.report, durable=[inode, 0])
            durable[inode] = 0
        return real(*args, **kwargs)

    def die(self, name: str, real: object, args: tuple, kwargs: dict) -> None:
        """End as `kill -9` does."""
        where = self.dice.choice(("before", "within", "after") if name == "write" else ("before", "after"))
        if where == "within":
            real(args[0], args[1][: self.dice.randint(1, len(args[1]) - 1)])
        elif where == "after":
            real(*args, **kwargs)
        power = self.dice.random() < 0.4
        if power:
            cut_power(self.dice)
        report(self.report, died=f"{where} {name}{', power cut' if power else ''}")
        os.kill(os.getpid(), signal.SIGKILL)


def report(descriptor: int, **message: object) -> None:
    REAL["write"](descriptor, json.dumps(message).encode() + b"\n")


def synced(descriptor: int) -> None:
    """Sync, and remember what a power cut leaves now; a directory's names are there for good then."""
    REAL_FSYNC(descriptor)
    stat = os.fstat(descriptor)
    durable[stat.st_ino] = stat.st_size
    cut_off.pop(stat.st_ino, None)
    if Killer.report is not None:
        report(Killer.report, durable=[stat.st_ino, stat.st_size])
    if stat.st_ino == STATE.stat().st_ino:
        for path in FILES:
            if (KEPT / path.name).exists():
                REAL["unlink"](KEPT / path.name)
        named.clear()
        named.update((path.name, path.stat().st_ino) for path in FILES if path.exists())
        if Killer.report is not None:
            report(Killer.report, named=sorted(named))


REAL_FSYNC = REAL["fsync"]
REAL["fsync"] = os.fsync = synced


def keep_index() -> None:
    """Keep the index as a power cut may leave it from now on, without its later commits."""
    for name in INDEX:
        (KEPT / name).write_bytes((STATE / name).read_bytes() if (STATE / name).exists() else b"")


def keep(source: Path, target: Path) -> None:
    """Keep what loses its name, as a disk does until the directory is synced."""
    if target in FILES:
        assert durable.get(source.stat().st_ino) == source.stat().st_size, "renamed before it was on disk"
        if target.exists() and not (KEPT / target.name).exists():
            os.link(target, KEPT / target.name)


def cut_power(dice: random.Random) -> None:
    """Take away what no fsync had."""
    for path in FILES:
        replaced = (KEPT / path.name).exists()
        if replaced and dice.random() < 0.5:
            (KEPT / path.name).rename(path)
        if path.exists():
            lose_bytes(path, dice)
            if (path.name, path.stat().st_ino) not in named and not replaced and dice.random() < 0.5:
                REAL["unlink"](path)
    if dice.random() < 0.5:  # SQLite's last commits; what is left is an index of earlier
        for path in STATE.glob("index.sqlite3*"):
            REAL["unlink"](path)
        for name in INDEX:
            if (KEPT / name).stat().st_size:
                shutil.copy(KEPT / name, STATE / name)


def lose_bytes(path: Path, dice: random.Random) -> None:
    """Take away what no fsync of the file had, and give back what was cut off without one."""
    stat = path.stat()
    kept = min(durable.get(stat.st_ino, 0), stat.st_size)
    back = cut_off.get(stat.st_ino, b"")
    with path.open("r+b") as file:
        if back and dice.random() < 0.5:
            file.seek(0, os.SEEK_END)
            file.write(back)
        else:
            REAL["ftruncate"](file.fileno(), dice.randint(kept, stat.st_size))


def change(step: tuple) -> None:
    """Make one change of the store."""
    kind, *values = step
    if kind == "compact":
        found = store.current()
        with found.lock.held():
            compaction.compact(found.path, found._bring_up())
        return
    with store.writing() as writer:
        if kind == "create":
            for name in values[0]:
                writer.put(User(username=name, email=f"{name}@example.com", password="!"))
        elif kind == "load":
            now = datetime.now(UTC).replace(microsecond=0)
            times = dict.fromkeys(("created_at", "updated_at", "password_changed_at"), now)
            writer.load(
                User(pk=pk, username=name, email=f"{name}@example.com", password="!", **times)
                for pk, name in enumerate(values[0], 1000 + max(store.tables.next_id(), values[1]))
            )
        elif kind == "update":
            user = User.objects.get(username=values[0])
            user.full_name = values[1]
            writer.put(user)
        else:
            writer.remove(User.objects.get(username=values[0]))


class Model:
    """What the store should hold: full names by username, and the users who were deleted."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {}
        self.deleted = 0

    def change(self, step: tuple) -> None:
        kind, *values = step
        if kind in {"create", "load"}:
            self.users |= dict.fromkeys(values[0], "")
        elif kind == "update":
            self.users[values[0]] = values[1]
        elif kind == "delete":
            del self.users[values[0]]
            self.deleted += 1

    def steps(self, dice: random.Random, prefix: str) -> list[tuple]:
        """Return some changes that can be made one after another."""
        ahead, steps = deepcopy(self), []
        for number in range(dice.randint(1, 8)):
            kind = dice.choice(("create", "create", "load", "update", "update", "update", "delete", "compact"))
            names = [f"{prefix}n{number}k{each}" for each in range(dice.randint(1, 3))]
            if kind in {"create", "load"}:
                step = (kind, names, number)
            elif kind == "compact" or not ahead.users:
                step = ("compact",)
            else:
                step = (kind, dice.choice(sorted(ahead.users)), *([f"F {prefix}"] if kind == "update" else []))
            ahead.change(step)
            steps.append(step)
        return steps


def opened() -> None:
    """Do what a start does."""
    connection.close()
    store._journal_at.cache_clear()
    store.current().open()


def child(steps: list[tuple], dice: random.Random, descriptor: int) -> None:
    """Make the changes and report each; die on the way, most times."""
    Killer(dice, descriptor).arm()
    if dice.random() < 0.01:
        for path in STATE.glob("index.sqlite3*"):
            path.unlink()
    opened()
    for step in steps:
        change(step)
        report(descriptor, done=True)
    os._exit(0)


def round_of(model: Model, dice: random.Random, number: int, seen: "Seen") -> tuple[Model, str]:
    """Let a child live and die; return what is stored then, and where it died."""
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir()
    keep_index()
    steps = model.steps(dice, f"r{number}")
    inside = random.Random(dice.random())
    reading, descriptor = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child(steps, inside, descriptor)
        except BaseException:  # noqa: BLE001  # it must not go on as the parent
            sys.excepthook(*sys.exc_info())
        os._exit(1)
    os.close(descriptor)
    with os.fdopen(reading) as pipe:
        messages = [json.loads(line) for line in pipe]
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in {0, -signal.SIGKILL}, f"round {number}: ended with {status}"
    durable.update(tuple(message["durable"]) for message in messages if "durable" in message)
    for message in messages:
        if "named" in message:
            named.clear()
            named.update(map(tuple, message["named"]))
    cut_off.clear()
    acknowledged = sum("done" in message for message in messages)
    before, after = deepcopy(model), deepcopy(model)
    for step in steps[:acknowledged]:
        before.change(step)
    for step in steps[: acknowledged + 1]:
        after.change(step)
    died = next((message["died"] for message in messages if "died" in message), "not at all")
    found = seen.look()
    allowed = [before] if status == 0 else [before, after]
    fitting = [one for one in allowed if (one.users, one.deleted) == found]
    assert fitting, f"round {number}, died {died}: {steps}, {acknowledged} acknowledged; found {found}"
    return fitting[0], died


class Seen:
    """What every start found: an id is always one user's, and no crash begins another generation."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.generation = ""

    def look(self) -> tuple[dict[str, str], int]:
        """Return what a start finds; the record read as a whole says the same as the index."""
        opened()
        users = list(User.objects.order_by("pk").values_list("pk", "username", "full_name"))
        rows = list(User.objects.order_by("pk").values()), list(Deletion.objects.order_by("pk").values())
        store.current().verify()
        assert (list(User.objects.order_by("pk").values()), list(Deletion.objects.order_by("pk").values())) == rows
        for pk, username, _ in users:
            assert self.names.setdefault(pk, username) == username, f"id {pk} was {self.names[pk]}, is {username}"
        generation = Position.objects.get().generation
        assert self.generation in {"", generation}, "a crash began another generation"
        self.generation = generation
        deleted = Deletion.objects.count()
        connection.close()
        return {username: full_name for _, username, full_name in users}, deleted


def main(seed: int, rounds: int) -> None:
    """Live and die that many times."""
    dice = random.Random(seed)
    journal.COMPACT_FROM = 5
    journal.TIDY_EVERY = 0.0
    deaths: Counter[str] = Counter()
    model, seen = Model(), Seen()
    seen.look()
    for number in range(rounds):
        model, died = round_of(model, dice, number, seen)
        deaths[died] += 1
    print(json.dumps(deaths))  # noqa: T201  # the test reads it


main(*map(int, sys.argv[1:]))
