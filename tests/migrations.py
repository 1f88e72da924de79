"""What a migration may do while the version before it goes on serving: add what that version does not know of.

And add it at once: SQLite makes a table anew for many a field, and nobody writes meanwhile. A migration that has to all
the same says so, and when to run it: `holds_up_writes = "…"` in its class.
"""

import re
from collections.abc import Iterator

from django.db.migrations import Migration
from django.db.migrations import operations as ops
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import NOT_PROVIDED, Field
from django.db.utils import ConnectionHandler

# Of a field, what no database knows of.
IN_PYTHON_ONLY = {"choices", "help_text", "verbose_name", "validators", "error_messages", "editable", "blank"}

SLOW = {
    'CREATE TABLE "new__': "SQLite makes the table anew, writes wait: expected null=True, without unique or a default",
    "CREATE (UNIQUE )?INDEX": "writes wait while the index is built: expected it with the table, or by hand",
}


def faults(migration: Migration, before: ProjectState) -> Iterator[str]:
    """Yield what would break, or hold up, the version that serves meanwhile. `before` is the state it migrates."""
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
    """Return what of the operation's SQL takes the longer the more rows there are, on SQLite."""
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
    """Return what is wrong with the operation on a table that is in use."""
    if isinstance(operation, ops.AddField):
        field = operation.field
        if field.many_to_many or field.null or field.db_default is not NOT_PROVIDED:
            return None
        return "the version before inserts without it: expected null=True or db_default"
    if isinstance(operation, ops.AlterField):
        old = state.models[migration.app_label, operation.model_name_lower].fields[operation.name]
        return None if stored(old) == stored(operation.field) else "the version before knows the field as it was"
    if isinstance(operation, (ops.AlterModelOptions, ops.AlterModelManagers)):
        return None
    if isinstance(operation, (ops.AddIndex, ops.AddConstraint)):
        return "writes wait while it is built: expected it with the table, or to be built concurrently, by hand"
    return "expected only what adds: the version before uses what there is"


def stored(field: Field) -> tuple[str, tuple, dict]:
    """Return what a database knows of the field."""
    _, path, args, kwargs = field.deconstruct()
    return path, tuple(args), {name: value for name, value in kwargs.items() if name not in IN_PYTHON_ONLY}
