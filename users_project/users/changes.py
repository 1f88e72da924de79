"""What one writer puts into the record: numbered, stamped, and with the ends of sessions that it brings."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from django.db import IntegrityError

from . import index, lines
from .models import TOLD, Deletion, User, UserChange
from .record import Extent

Values = dict[str, list[object]]
MILLISECOND = timedelta(milliseconds=1)


class Changes:
    """What one writer puts into the record. The index has it at once, inside of the writer's transaction."""

    def __init__(self, extent: Extent, live: int) -> None:
        self.extent = extent
        self.live = live
        self.lines: list[bytes] = []

    def put(self, user: User, *, by: int | None = None, kept_session: str = "", rehash: bool = False) -> None:
        """Write the user, a new one with the next id; end their sessions, but `kept_session`, where that must be.

        `by` is the id of the one who asked for it, `rehash` says that the password is the same, with another hash.
        Raises Django's `ValidationError` for a value that no user may have, or that another user has.
        """
        before = User.objects.filter(pk=user.pk).first() if user.pk else None
        # A new hash of the same password changes nothing that anyone sees.
        user.updated_at = before.updated_at if before and rehash else later(before)
        if before is None:
            self.number(user)
        else:
            keep_sessions(before, user)
            if ends_sessions(before, user, rehash=rehash):
                user.session_epoch = index.following(user.session_epoch)
                user.kept_session = kept_session
                user.sessions_ended_seq = index.next_sessions_ended_seq()
        user.clean_fields()
        user.validate_constraints()
        # What stands in the index is what the line says: a time, for one, has fewer digits there.
        line = lines.dump(user)
        index.put([lines.parse(line)], User)
        user._state.adding = False  # noqa: SLF001  # as Model.save does
        if before is not None and (values := told(before, user, rehash=rehash)):
            self.note(before, UserChange(action=UserChange.Action.CHANGED, at=user.updated_at, by=by, values=values))
        self.add(line, live=before is None)

    def number(self, user: User) -> None:
        """Give a new user an id that nobody ever had."""
        if user.pk and Deletion.objects.filter(pk=user.pk).exists():
            raise ValueError(f"The id {user.pk} was a deleted user's; ids are not used again.")
        user.pk = user.pk or index.next_id()
        user.created_at = user.updated_at

    def remove(self, user: User, *, by: int | None = None) -> None:
        """Delete the user, who ends with all sessions; `by` is the id of the one who asked for it."""
        before = User.objects.get(pk=user.pk)
        deletion = Deletion(
            user_id=before.pk,
            deleted_at=later(before),
            deleted_by=by,
            session_epoch=index.following(before.session_epoch),
            sessions_ended_seq=index.next_sessions_ended_seq(),
        )
        line = lines.dump(deletion)
        index.delete(before.pk)
        index.put([lines.parse(line)], Deletion)
        self.note(before, UserChange(action=UserChange.Action.DELETED, at=deletion.deleted_at, by=by))
        self.add(line, live=False)

    def load(self, entries: Iterable[lines.Entry]) -> None:
        """Write what is new and was checked before, ids and times among it, many in each step; histories come first.

        Raises `IntegrityError` for an id, a username or an email that is another's.
        """
        entries = list(entries)
        # Who came since they were checked may have been deleted again: the id is no other user's, and still not free.
        if taken := index.ids() & {entry.pk for entry in entries if not isinstance(entry, UserChange)}:
            raise IntegrityError(f"The id {min(taken)} was given meanwhile.")
        for entry in entries:
            self.add(lines.dump(entry), live=True)
        for model in (User, Deletion, UserChange):
            index.insert((entry for entry in entries if isinstance(entry, model)), model)

    def note(self, before: User, change: UserChange) -> None:
        """Write the change into the user's history, which begins with how the user was made.

        It stands before the line that it tells of: where a crash took that one, it is cut off too.
        """
        changes = [change]
        if not UserChange.objects.filter(user_id=before.pk).exists():
            changes.insert(0, made(before))
        for number, entry in enumerate(changes, index.next_change_id()):
            entry.pk, entry.user_id = number, before.pk
            self.add(lines.dump(entry), live=True)
        index.put(changes, UserChange)
        self.live -= index.forget_changes(before.pk)

    def add(self, line: bytes, *, live: bool) -> None:
        """Take the line into what will be appended."""
        self.lines.append(line)
        self.extent = self.extent.after(line)
        self.live += live


def now() -> datetime:
    """Return the time in the precision of the record, milliseconds."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def made(user: User) -> UserChange:
    """Return the beginning of the user's history."""
    return UserChange(user_id=user.pk, action=UserChange.Action.CREATED, at=user.created_at, by=user.created_by)


def told(before: User, after: User, *, rehash: bool) -> Values:
    """Return what a history tells of that change, `{field: [old, new]}`; of a password `[]`."""
    values: Values = {
        name: [getattr(before, name), getattr(after, name)]
        for name in TOLD
        if getattr(before, name) != getattr(after, name)
    }
    if before.password != after.password and not rehash:
        values["password"] = []
    return values


def later(before: User | None) -> datetime:
    """Return the time; after that of the user's last change, whatever the clock does."""
    return min(max(now(), before.updated_at + MILLISECOND), lines.LATEST) if before else now()


def keep_sessions(before: User, after: User) -> None:
    """Take over what only the journal changes: an instance read before may know less."""
    after.session_epoch = before.session_epoch
    after.kept_session = before.kept_session
    after.sessions_ended_seq = before.sessions_ended_seq


def ends_sessions(before: User, after: User, *, rehash: bool) -> bool:
    """Return whether that change of a user must end their sessions."""
    return (
        (before.password != after.password and not rehash)
        or before.user_type != after.user_type
        or (before.is_active and not after.is_active)
    )
