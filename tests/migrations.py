"""Checks a migration that runs while the previous version serves: it may only add, and must not block writes.

For many fields SQLite copies the whole table, and writes wait for that. A migration that must do so declares it in its
class, with the time to run it: `holds_up_writes = "…"`.
"""

import re
from collections.abc import Iterator

from django.db.migrations import Migration
from django.db.migrations import operations as ops
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import NOT_PROVIDED, Field
from django.db.utils import ConnectionHandler

# Attributes of a field without effect in the database.
IN_PYTHON_ONLY = {"choices", "help_text", "verbose_name", "validators", "error_messages", "editable", "blank"}

SLOW = {
    'CREATE TABLE "new__': "SQLite copies the table, and writes wait. Use null=True, without unique or a default",
    "CREATE (UNIQUE )?INDEX": "writes wait while the index is built. Create it with the table, or by hand",
}


def faults(migration: Migration, before: ProjectState) -> Iterator[str]:
    """Yield what breaks or blocks the version that serves. `before` is the state before the migration."""
    state, new = before.clone(), set()
    for operation in migration.operations:
        after = state.clone()
        operation.state_forwards(migration.app_label, after)
        if isinstance(operation, ops.CreateModel):
            new.add(operation.name_lower)
        elif getattr(operation, "model_name_lower", None) not in new:
            why = fault(operation, state, migration)
            if not why and not getattr(migration, "holds_up_writes", None):
                why = slowness(operation, state, after, migration)
            if why:
                yield f"{migration}: {operation.describe()}: {why}"
        state = after


def slowness(operation: Operation, before: ProjectState, after: ProjectState, migration: Migration) -> str | None:
    """Return the fault if the operation's SQL takes longer with more rows, on SQLite."""
    connection = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})["default"]
    try:
        with connection.schema_editor(collect_sql=True) as editor:
            operation.database_forwards(migration.app_label, editor, before, after)
            statements = [*editor.collected_sql, *map(str, editor.deferred_sql)]
    finally:
        connection.close()
    for pattern, why in SLOW.items():
        if any(re.match(pattern, statement) for statement in statements):
            return why
    return None


def fault(operation: Operation, state: ProjectState, migration: Migration) -> str | None:
    """Return the fault of the operation on a table in use."""
    if isinstance(operation, ops.AddField):
        field = operation.field
        if field.many_to_many or field.null or field.db_default is not NOT_PROVIDED:
            return None
        return "the previous version inserts without it. Use null=True or db_default"
    if isinstance(operation, ops.AlterField):
        old = state.models[migration.app_label, operation.model_name_lower].fields[operation.name]
        return (
            None if stored(old) == stored(operation.field) else "the previous version uses the old field. Add a new one"
        )
    if isinstance(operation, (ops.AlterModelOptions, ops.AlterModelManagers)):
        return None
    if isinstance(operation, (ops.AddIndex, ops.AddConstraint)):
        return "writes wait while it is built. Create it with the table, or concurrently, by hand"
    return "the previous version uses the old tables. Only add to them"


def stored(field: Field) -> tuple[str, tuple, dict]:
    """Return the attributes of the field with effect in the database."""
    _, path, args, kwargs = field.deconstruct()
    return path, tuple(args), {name: value for name, value in kwargs.items() if name not in IN_PYTHON_ONLY}
