"""The tables of users, deletions and position: PostgreSQL's, or those of the index beside the record."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, cast

from django.db import connection, models
from django.db.models import Max, QuerySet

from users.models import Deletion, Entry, Position, User

POSITION = 1


def position() -> Position | None:
    """Return the one row of what the tables reflect, or None if there is none yet."""
    return Position.objects.filter(pk=POSITION).first()


def entry_of(user_id: int) -> Entry | None:
    return User.objects.filter(pk=user_id).first() or Deletion.objects.filter(pk=user_id).first()


def entries() -> Iterable[Entry]:
    yield from User.objects.order_by("pk").iterator()
    yield from Deletion.objects.order_by("pk").iterator()


def next_id() -> int:
    """Return an id above all that were ever given."""
    found = position()
    return max(_largest(User, "pk"), _largest(Deletion, "pk"), found.floor if found else 0) + 1


def last_end() -> int:
    return max(_largest(User, "session_end"), _largest(Deletion, "session_end"))


def put(entry: Entry) -> None:
    """Store a version over the one before. Raises `IntegrityError` if a name is taken."""
    if isinstance(entry, Deletion):
        QuerySet(User).filter(pk=entry.pk).delete()
    model = type(entry)
    fields = [field.name for field in model._meta.concrete_fields if not field.primary_key]  # noqa: SLF001  # documented
    cast("QuerySet[models.Model]", QuerySet(model)).bulk_create(
        [entry], update_conflicts=True, unique_fields=["pk"], update_fields=fields
    )


def insert(entries: Collection[Entry]) -> None:
    """Store new entries. Raises `IntegrityError` if a name is taken."""
    for model in (User, Deletion):
        # bulk_create takes twice as long, and 100,000 users are read again after a restore.
        columns = [str(field.column) for field in model._meta.concrete_fields]  # noqa: SLF001  # Django's documented _meta
        names, places = ", ".join(map(connection.ops.quote_name, columns)), ", ".join(["%s"] * len(columns))
        rows: Any = map(attrgetter(*columns), (entry for entry in entries if isinstance(entry, model)))
        if connection.vendor == "sqlite":
            rows = ([*map(_without_zone, row)] for row in rows)
        with connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {connection.ops.quote_name(model._meta.db_table)} ({names}) VALUES ({places})",  # noqa: S608, SLF001  # ours
                rows,
            )


def _without_zone(value: object) -> object:
    """Return the value as SQLite has it, whose times are in UTC."""
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value


def replace_all(entries: Collection[Entry]) -> None:
    with connection.cursor() as cursor:
        for model in (User, Deletion):
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(model._meta.db_table)}")  # noqa: S608, SLF001  # ours
    insert(entries)


def save_position(**values: Any) -> Position:  # noqa: ANN401  # the model's fields
    """Store what the tables reflect now, and return it."""
    return Position.objects.update_or_create(pk=POSITION, defaults=values)[0]


def _largest(model: type[Entry], name: str) -> int:
    return cast("int", QuerySet(model).aggregate(largest=Max(name))["largest"] or 0)
