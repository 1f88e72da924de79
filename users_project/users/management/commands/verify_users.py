"""`manage.py verify_users`: reads all of users.jsonl and rebuilds the index."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from users.models import User
from users.store.journal import Journal


class Command(BaseCommand):
    help = "Reads all of users.jsonl and rebuilds the index; ends with 1 and the line if one cannot be read."
    # They would open the record, and report what this command is to report.
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        if not settings.RECORD:
            raise CommandError("The users are in PostgreSQL: there is no file.")
        position = Journal(settings.RECORD).verify()
        users = User.objects.count()
        counts = f"Lines: {position.lines}, users: {users}, deleted users: {position.ids - users}."
        self.stdout.write(f"{settings.RECORD}: no fault. {counts}")
