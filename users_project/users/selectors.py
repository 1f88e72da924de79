"""Reads."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter

from django.db.models import Q, QuerySet
from django.http import Http404

from . import index
from .changes import made
from .models import Deletion, User, UserChange

ENDS_AT_ONCE = 1000


def users(*, search: str = "", user_type: str | None = None, is_active: bool | None = None) -> QuerySet[User]:
    """Return the users, newest first, whose username, email or full name has `search` in it, in any case."""
    found: QuerySet[User] = User.objects.all()
    if user_type is not None:
        found = found.filter(user_type=user_type)
    if is_active is not None:
        found = found.filter(is_active=is_active)
    if search.isascii():
        return found.filter(Q(username__icontains=search) | Q(email__icontains=search) | Q(full_name__icontains=search))
    # SQLite's LIKE knows the case of ASCII letters only; its regular expressions are Python's.
    return found.filter(full_name__iregex=re.escape(search))


def user_get(*, user_id: int) -> User:
    """Return the user; raise `Http404`."""
    user: User | None = User.objects.filter(pk=user_id).first()
    if user is None:
        raise Http404
    return user


def account_get(*, user_id: int) -> User:
    """Return the user, who may sign in; raise `Http404`."""
    user = user_get(user_id=user_id)
    if not user.is_active:
        raise Http404
    return user


def user_history(*, user_id: int) -> QuerySet[UserChange] | list[UserChange]:
    """Return the user's history, newest first, also of one who was deleted; raise `Http404` where there was none.

    A list where nothing happened but what the user, or the deletion, itself tells.
    """
    changes = UserChange.objects.filter(user_id=user_id).order_by("-pk")
    if changes.exists():
        return changes
    deletion = Deletion.objects.filter(pk=user_id).first()
    if deletion:
        return [UserChange(user_id=user_id, action="deleted", at=deletion.deleted_at, by=deletion.deleted_by)]
    return [made(user_get(user_id=user_id))]


def names(ids: Iterable[int | None]) -> dict[int | None, str]:
    """Return by what name to call the users of these ids, also who is no user any more; `None` is nobody's."""
    wanted = {user_id for user_id in ids if user_id is not None}
    found: dict[int | None, str] = dict(User.objects.filter(pk__in=wanted).values_list("pk", "username"))
    return {None: "the service"} | {user_id: f"user {user_id}" for user_id in wanted} | found


@dataclass(frozen=True)
class SessionEnds:
    """Users and deletions whose sessions ended, in the order of the record, and the cursor after them."""

    ends: list[User | Deletion]
    cursor: str


def session_ends(*, after: str = "", limit: int = ENDS_AT_ONCE) -> SessionEnds:
    """Return whose sessions ended after the cursor, or ever.

    A cursor of another generation of the index begins again, as does one ahead of every end: the record was edited, or
    it or a database restored since, and who was told twice is not harmed, but who was skipped is.
    """
    current = index.position()
    generation = current.generation if current else ""
    seq, entry_id = place(after, generation)
    if seq > index.last_end():
        seq, entry_id = 0, 0
    later = Q(sessions_ended_seq__gt=seq) | Q(sessions_ended_seq=seq, pk__gt=entry_id)
    order = ("sessions_ended_seq", "pk")
    found: list[User | Deletion] = [
        *User.objects.filter(later, sessions_ended_seq__gt=0).order_by(*order)[:limit],
        *Deletion.objects.filter(later, sessions_ended_seq__gt=0).order_by(*order)[:limit],
    ]
    ends = list(islice(sorted(found, key=attrgetter(*order)), limit))
    if ends:
        seq, entry_id = ends[-1].sessions_ended_seq, ends[-1].pk
    return SessionEnds(ends, f"{generation}.{seq}.{entry_id}")


# Its numbers are `lines.LARGEST` at most.
CURSOR = re.compile(r"([0-9a-f]{0,32})\.([0-9]{1,16})\.([0-9]{1,16})", re.ASCII)


def place(cursor: str, generation: str) -> tuple[int, int]:
    """Return the place in the order of ends that the cursor means; raise `ValueError` for what is none."""
    if not cursor:
        return 0, 0
    match = CURSOR.fullmatch(cursor)
    if match is None:
        raise ValueError("Expected a cursor that an answer had.")
    return (int(match[2]), int(match[3])) if match[1] == generation else (0, 0)
