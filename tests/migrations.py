"""What a migration may do while the version before it goes on serving: add what that version does not know of."""

from collections.abc import Iterator

from django.db.migrations import Migration
from django.db.migrations import operations as ops
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import NOT_PROVIDED, Field

# Of a field, what no database knows of.
IN_PYTHON_ONLY = {"choices", "help_text", "verbose_name", "validators", "error_messages", "editable", "blank"}


def faults(migration: Migration, before: ProjectState) -> Iterator[str]:
    """Yield what would break, or hold up, the version that serves meanwhile. `before` is the state it migrates."""
    state, new = before.clone(), set()
    for operation in migration.operations:
        if isinstance(operation, ops.CreateModel):
            new.add(operation.name_lower)
        elif getattr(operation, "model_name_lower", None) not in new and (why := fault(operation, state, migration)):
            yield f"{migration}: {operation.describe()}: {why}"
        operation.state_forwards(migration.app_label, state)


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
