"""The Django application."""

from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db.backends.signals import connection_created
from django.db.models.signals import pre_save


class UsersConfig(AppConfig):
    """Users."""

    name = "users"

    def ready(self) -> None:
        """Watch what opens the index, and what would write it behind the record's back."""
        from . import index, models  # the models can be imported from now on

        connection_created.connect(index.remember_file)
        pre_save.connect(models.refuse_bypass)
        checks.register(record_check)


def record_check(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ANN401  # Django's signature
    """Open the record, so that every command finds its index, and `check` names the line that cannot be read."""
    from django.db import DatabaseError

    from chassis.problems import Unavailable

    from . import index, journal

    record = journal.current()
    if record is None:  # PostgreSQL's tables are not made here: `migrate` does that, which comes by here too
        return []
    try:
        record.open()
    except (Unavailable, DatabaseError) as exc:
        return [checks.Error(index.message_of(exc) or str(exc), id="users.E001")]
    return []
