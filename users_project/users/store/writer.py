"""What one writer stores: versions with ids, times and the ends of sessions that they bring."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from django.db import IntegrityError

from users.models import Deletion, Entry, User

from . import changed, tables
from .codec import in_milliseconds
from .replay import follow

# Seconds a writer waits for the one before it: less than the gateway waits for the response.
TIMEOUT = 8.0
_MILLISECOND = timedelta(milliseconds=1)


class Writer:
    """Collects what is stored when the block of `writing()` ends. Queries inside of the block see it at once.

    `reserve` makes sure that an id is never given to another user, whatever is lost afterwards.
    """

    def __init__(self, reserve: Callable[[int], None]) -> None:
        self._reserve = reserve
        self.entries: list[Entry] = []
        self.new_ids = 0

    def put(self, user: User, *, by: int | None = None, kept_session: str = "", is_rehash: bool = False) -> None:
        """Store the user, a new one with the next id. End their sessions but `kept_session`, if that is due.

        `by` is the id of the user who makes the change. `is_rehash` means a new hash of the same password, which is no
        change. Raises Django's `ValidationError` for a value that no user may have, or that another user has.
        """
        before = tables.entry_of(user.pk) if user.pk else None
        user.is_rehash = is_rehash
        if isinstance(before, User):
            user.session_epoch, user.session_end = before.session_epoch, before.session_end
            if not is_rehash:
                user.updated_at, user.updated_by = _later(before), by
        else:
            user.created_at = user.updated_at = user.password_changed_at = _now()
            user.created_by = user.updated_by = by
            user.pk = user.pk or tables.next_id()
            self._reserve(user.pk)
            self.new_ids += 1
        follow(before, user, tables.last_end())
        if kept_session and isinstance(before, User) and user.session_epoch > before.session_epoch:
            user.kept_session = kept_session
        user.clean_fields()
        user.validate_constraints()
        self._store(user)
        changed.note(before, user)
        user._state.adding = False  # noqa: SLF001  # as Model.save does

    def remove(self, user: User, *, by: int | None = None) -> None:
        """Delete the user, whose sessions end."""
        before = User.objects.get(pk=user.pk)
        deletion = Deletion(id=before.pk, updated_at=_later(before), updated_by=by)
        follow(before, deletion, tables.last_end())
        self._store(deletion)
        changed.note(before, deletion)

    def load(self, entries: Iterable[Entry]) -> None:
        """Store new entries that were checked before, with their own ids and times.

        Raises `IntegrityError` if an id, a username or an email was taken since.
        """
        entries = list(entries)
        ids = {entry.id for entry in entries}
        if ids & {*User.objects.values_list("pk", flat=True), *Deletion.objects.values_list("pk", flat=True)}:
            raise IntegrityError("An id was given to another user since the entries were checked.")
        if ids:
            self._reserve(max(ids))
        tables.insert(entries)
        self.entries += entries
        self.new_ids += len(ids)

    def _store(self, entry: Entry) -> None:
        tables.put(entry)
        self.entries.append(entry)


def _now() -> datetime:
    return in_milliseconds(datetime.now(UTC))


def _later(before: Entry) -> datetime:
    """Return the time, or the moment after the user's last change if the clock was set back."""
    return max(_now(), before.updated_at + _MILLISECOND)
