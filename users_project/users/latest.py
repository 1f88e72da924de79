"""What lines leave, taken in one after another; and what has to be said besides where somebody edited or restored them.

Each line has to be right after those before it, whether they are read at once or as they come: so what a running
service accepts, the next start accepts too.
"""

import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from . import index
from .changes import ends_sessions, now
from .lines import LARGEST, BadLineError, Entry
from .models import Deletion, User, UserChange

# Ids that the log tells one by one.
SHOWN = 100


@dataclass
class Latest:
    """What the lines leave, by id: users, deletions and histories."""

    users: dict[int, User] = field(default_factory=dict)
    deletions: dict[int, Deletion] = field(default_factory=dict)
    changes: dict[int, UserChange] = field(default_factory=dict)
    # Whose a username or email is, in lower case, and since which line.
    usernames: dict[str, tuple[int, int]] = field(default_factory=dict)
    emails: dict[str, tuple[int, int]] = field(default_factory=dict)

    def take(self, number: int, entry: Entry) -> None:
        """Take in the entry of the line of that number; raise `BadLineError` where it cannot follow those before it."""
        if isinstance(entry, UserChange):
            self.changes[entry.pk] = entry
            return
        before = self.users.pop(entry.pk, None)
        if before:
            del self.usernames[before.username.lower()], self.emails[before.email.lower()]
        if isinstance(entry, Deletion):
            self.deletions[entry.pk] = entry
            return
        if entry.pk in self.deletions:
            raise BadLineError(f"user {entry.pk} was deleted before")
        self.users[entry.pk] = entry
        for name, owners in (("username", self.usernames), ("email", self.emails)):
            value = getattr(entry, name).lower()
            if value in owners:
                owner, line = owners[value]
                raise BadLineError(f"{name} is another user's, of line {line}: user {owner}")
            owners[value] = entry.pk, number

    def put(self, entry: Entry) -> None:
        """Put the entry in the place of what is there of the user; no name changes by it."""
        if isinstance(entry, User):
            self.users[entry.pk] = entry
        elif isinstance(entry, Deletion):
            self.users.pop(entry.pk, None)
            self.deletions[entry.pk] = entry

    def ends(self) -> dict[int, User | Deletion]:
        """Return the users and deletions."""
        return {**self.users, **self.deletions}

    def kept_changes(self) -> dict[int, UserChange]:
        """Return what is kept of the histories."""
        return newest(self.changes)


def still_counting(lines: Iterable[bytes], history: Container[int]) -> list[bytes]:
    """Return those lines that no later one supersedes: of the histories those ids, then each user's or deletion's last.

    Users and deletions are in the order of the ids that they share.
    """
    last: dict[tuple[bool, int], bytes] = {}
    for line in filter(bytes.strip, lines):
        entry = json.loads(line)
        is_user = entry["model"] != "users.userchange"
        if is_user or entry["pk"] in history:
            last[is_user, entry["pk"]] = line
    return [last[key] for key in sorted(last)]


def newest(changes: dict[int, UserChange]) -> dict[int, UserChange]:
    """Return what is kept of these histories, see `index.surplus`."""
    found = sorted(changes.items(), reverse=True)
    gone = set(index.surplus(change for _, change in found))
    return {key: change for key, change in found if key not in gone}


def unsaid(
    before: Mapping[int, User | Deletion], after: Mapping[int, User | Deletion], seq: int
) -> list[User | Deletion]:
    """Return the lines that are missing after an edit or a restored file; none where the service itself wrote it.

    `before` is what was known, `after` what is known now of the same ids, `seq` the number of the last end of sessions.
    Who is gone was deleted: the id is never used again. Where a user comes back, or has another password, role or
    activity, and no later epoch says so, their sessions end.
    """
    said: list[User | Deletion] = []
    for pk, old in sorted(before.items()):
        new = after.get(pk)
        if new is None and isinstance(old, Deletion):
            said.append(old)
            continue
        if new is None:
            new = Deletion(user_id=pk, deleted_at=now(), session_epoch=old.session_epoch)
        elif not is_untold_end(old, new):
            continue
        seq = min(seq + 1, LARGEST)
        new.sessions_ended_seq = seq
        new.session_epoch = min(max(old.session_epoch, new.session_epoch) + 1, LARGEST)
        if isinstance(new, User):
            new.kept_session = ""
        said.append(new)
    return said


def told(said: list[User | Deletion]) -> str:
    """Return, for the log, whom those lines delete and whose sessions they end, with as many ids as one can read."""
    gone = [entry.pk for entry in said if isinstance(entry, Deletion)]
    out = [entry.pk for entry in said if isinstance(entry, User)]
    return f"{counted(gone)} stay or are deleted, {counted(out)} are signed out"


def counted(ids: list[int]) -> str:
    """Return how many users these are, and which."""
    more = ", …" if len(ids) > SHOWN else ""
    which = f" ({', '.join(map(str, ids[:SHOWN]))}{more})" if ids else ""
    return f"{len(ids)} users{which}"


def is_untold_end(old: User | Deletion, new: User | Deletion) -> bool:
    """Return whether sessions have to end between the two, and the second does not say so."""
    if new.session_epoch > old.session_epoch and new.sessions_ended_seq > old.sessions_ended_seq:
        return False
    if new.session_epoch != old.session_epoch or type(old) is not type(new):
        return True
    return isinstance(old, User) and isinstance(new, User) and ends_sessions(old, new, rehash=False)


def last_end(entries: Iterable[User | Deletion]) -> int:
    """Return the number of the last of these ends of sessions."""
    return max((entry.sessions_ended_seq for entry in entries), default=0)
