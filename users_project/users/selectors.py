"""Reads."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from django.db.models import Q, QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404

from . import store
from .models import Deletion, Entry, User
from .store import tables
from .store.history import Change, changes

_ENDS_AT_ONCE = 1000
_CURSOR = re.compile(r"([0-9a-f]{0,32})\.([0-9]{1,18})\.([0-9]{1,18})", re.ASCII)


def users(*, search: str = "", **values: object) -> QuerySet[User]:
    """Return the users with these values, and with `search` in their username, email or full name, in any case."""
    found: QuerySet[User] = User.objects.filter(**values)
    if search.isascii():
        return found.filter(Q(username__icontains=search) | Q(email__icontains=search) | Q(full_name__icontains=search))
    # SQLite's LIKE folds only ASCII letters; its regular expressions are Python's.
    return found.filter(full_name__iregex=re.escape(search))


def user_get(*, user_id: int) -> User:
    """Return the user; raise `Http404`."""
    return get_object_or_404(User, pk=user_id)


def account_get(*, user_id: int) -> User:
    """Return the user if they may sign in; raise `Http404`."""
    return get_object_or_404(User, pk=user_id, is_active=True)


def user_history(*, user_id: int) -> list[Change]:
    """Return the user's history, newest first, also of a deleted user; raise `Http404` if there never was one."""
    if found := changes(store.current().versions(user_id)):
        return found
    raise Http404


def names(ids: Iterable[int | None]) -> dict[int | None, str]:
    """Return a name for each of these ids, also of users who were deleted; `None` is the service itself."""
    wanted = {user_id for user_id in ids if user_id is not None}
    found: dict[int | None, str] = dict(User.objects.filter(pk__in=wanted).values_list("pk", "username"))
    return {None: "the service"} | {user_id: f"user {user_id}" for user_id in wanted} | found


@dataclass(frozen=True)
class SessionEnds:
    """Users and deletions whose sessions ended, in that order, and the cursor after them.

    `all_ended` means that the cursor asked about is of another generation: an older copy was restored, or the file
    edited, and all sessions that began before have to end.
    """

    ends: list[Entry]
    cursor: str
    all_ended: bool = False


def session_ends(*, after: str = "", limit: int = _ENDS_AT_ONCE) -> SessionEnds:
    """Return the users whose sessions ended after the cursor, or ever. Raises `ValueError` for a bad cursor."""
    position = tables.position()
    generation = position.generation if position else ""
    known, end, entry_id = _place(after)
    is_other = bool(after) and known != generation
    if is_other or end > tables.last_end():
        end, entry_id = 0, 0
    later = Q(session_end__gt=end) | Q(session_end=end, pk__gt=entry_id)
    order = ("session_end", "pk")
    found: list[Entry] = [
        *User.objects.filter(later, session_end__gt=0).order_by(*order)[:limit],
        *Deletion.objects.filter(later, session_end__gt=0).order_by(*order)[:limit],
    ]
    ends = sorted(found, key=attrgetter(*order))[:limit]
    if ends:
        end, entry_id = ends[-1].session_end, ends[-1].pk
    return SessionEnds(ends, f"{generation}.{end}.{entry_id}", all_ended=is_other)


def _place(cursor: str) -> tuple[str, int, int]:
    """Return the generation and the place in the order of ends that the cursor means."""
    if not cursor:
        return "", 0, 0
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise ValueError("Expected a cursor of an earlier response.")
    return match[1], int(match[2]), int(match[3])
