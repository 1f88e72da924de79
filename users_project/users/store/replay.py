"""How one version of a user follows another: one rule for a change by the API and for lines of the record.

A user's sessions end when their password, role or activity changes. Each end raises the user's `session_epoch`, and
has a number, `session_end`, by which the gateway learns of it. The service writes both into the line. A line appended
by hand does not: what it leaves out is worked out here, and the same way at each reading.
"""

from collections.abc import Iterable, Mapping

from users.models import Deletion, Entry, User

from .codec import BadLineError


def ends_sessions(before: User, after: User) -> bool:
    """Return whether the change must end the user's sessions. A new hash of the same password must not."""
    return (
        (before.password != after.password and not after.is_rehash)
        or before.user_type != after.user_type
        or (before.is_active and not after.is_active)
    )


def follow(before: Entry | None, after: Entry, last_end: int) -> Entry:
    """Complete `after`, which follows `before`, and return it. Raises `BadLineError` if it cannot follow.

    `last_end` is the highest number that an end of sessions has.
    """
    if isinstance(after, User) and not after.password_changed_at:
        after.password_changed_at = after.created_at
    if before is None:
        return after
    if isinstance(before, Deletion):
        if isinstance(after, User):
            raise BadLineError(f"user {after.id} was deleted before")
        return after
    ended = isinstance(after, Deletion) or ends_sessions(before, after)
    if isinstance(after, User):
        is_new = after.password != before.password and not after.is_rehash
        after.password_changed_at = after.updated_at if is_new else before.password_changed_at
    if after.session_epoch > before.session_epoch:
        if after.session_end <= before.session_end:
            after.session_end = last_end + 1
        return after
    after.session_epoch = before.session_epoch + ended
    after.session_end = last_end + 1 if ended else before.session_end
    if isinstance(after, User):
        after.kept_session = "" if ended else before.kept_session
    return after


class Replay:
    """What the lines of a record leave: the last version of each user, and whose the names are."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.last_end = 0
        self._owners: dict[tuple[str, str], tuple[int, int]] = {}

    def take(self, number: int, entry: Entry) -> None:
        """Take the entry of a line with that number; raise `BadLineError`."""
        before = self.entries.get(entry.id)
        entry = follow(before, entry, self.last_end)
        if isinstance(before, User):
            for key in _names(before):
                del self._owners[key]
        if isinstance(entry, User):
            for key in _names(entry):
                if key in self._owners:
                    owner, line = self._owners[key]
                    raise BadLineError(f"{key[0]} is taken by user {owner}, line {line}")
                self._owners[key] = entry.id, number
        self.entries[entry.id] = entry
        self.last_end = max(self.last_end, entry.session_end)


def _names(user: User) -> list[tuple[str, str]]:
    return [("username", user.username.lower()), ("email", user.email.lower())]


def went_back(known: Iterable[Entry], found: Mapping[int, Entry]) -> bool:
    """Return whether the found entries are not what followed the known ones: an older copy, or edited in place.

    A user may have moved on, as after a power cut that the index lost more by than the record; nothing known may be
    missing, older or other than it was.
    """
    return any(not _may_follow(old, found.get(old.id)) for old in known)


def _may_follow(old: Entry, new: Entry | None) -> bool:
    if new is None or new.updated_at < old.updated_at or new.session_epoch < old.session_epoch:
        return False
    if isinstance(old, Deletion):
        return isinstance(new, Deletion)
    is_later = new.session_epoch > old.session_epoch
    if isinstance(new, Deletion):
        return is_later
    if new.updated_at > old.updated_at or new.is_rehash:
        return is_later or not ends_sessions(old, new)
    names = [field.attname for field in User._meta.concrete_fields]  # noqa: SLF001  # Django's documented _meta
    return all(getattr(old, name) == getattr(new, name) for name in names)
