"""`manage.py import_users FILE`: users of another program, of an export or of a users.jsonl."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError

from users.models import User
from users.store import tables
from users.transfer import imports, readers


class Command(BaseCommand):
    help = "Imports users from .json (an array), .jsonl or .csv: all of them or, if one is rejected, none."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--format", choices=readers.READERS, help="By default by the file's name.")
        parser.add_argument("--dry-run", action="store_true", help="Check everything, write nothing.")
        parser.add_argument("--keep-going", action="store_true", help="Import the others if some are rejected.")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        file: Path = options["file"]
        try:
            file_format = options["format"] or readers.format_of(file, readers.READERS)
            plan = imports.plan(readers.READERS[file_format](file))
        except (OSError, ValueError, RecursionError) as exc:
            raise CommandError(f"{file}: {exc}. Nothing was imported.") from exc
        for place, reason in plan.rejected:
            self.stderr.write(f"{place}: rejected: {reason}")
        found = _counted(len(plan.entries))
        rejected = f" Rejected: {_counted(len(plan.rejected))}." if plan.rejected else ""
        if plan.rejected and not options["keep_going"]:
            raise CommandError(f"Nothing was imported.{rejected} {found} can be imported with --keep-going.")
        if options["dry_run"]:
            self.stdout.write(f"{found} can be imported.{rejected}")
            return
        try:
            imports.write(plan)
        except IntegrityError as exc:
            raise CommandError("A user was created at the same time. Nothing was imported; try again.") from exc
        self.stdout.write(f"Imported {found}.{rejected} The next new user gets the id {tables.next_id()}.")
        if not User.objects.active_admins().exists():
            self.stderr.write("There is no active admin. `./manage_all.sh users createsuperuser` creates one.")


def _counted(number: int) -> str:
    return "1 entry" if number == 1 else f"{number} entries"
