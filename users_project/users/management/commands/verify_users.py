"""`manage.py verify_users`: whether the index says what the file does."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from chassis.problems import Unavailable
from users import journal, verification


class Command(BaseCommand):
    """Compares users.jsonl with its index; ends with 1 where they differ. The service may go on meanwhile."""

    help = "Compares users.jsonl with its index, and ends with 1 where they differ. It changes nothing."
    # They open the record, which mends what a crash left and takes in what was edited.
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        """Say what is different, or that nothing is."""
        record = journal.current()
        if record is None:
            raise CommandError("The users are in PostgreSQL: there is no file to verify.")
        try:
            found = verification.verify(record)
        except (OSError, Unavailable) as exc:
            raise CommandError(str(exc)) from exc
        for difference in found.differences:
            self.stderr.write(difference)
        said = f"{record.path}: {found.lines} lines, {found.users} users, {found.deletions} deletions"
        if found.differences:
            advice = (
                "The file is what counts: stop the service and delete the index."
                if found.is_index_at_fault
                else "The service reads it at its next request or start; see `Restoring users` in docs/operations.md."
            )
            raise CommandError(f"{said}; {len(found.differences)} differences. {advice}")
        self.stdout.write(f"{said}; the index says the same.")
