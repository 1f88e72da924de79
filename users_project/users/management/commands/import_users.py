"""`manage.py import_users FILE`: users of another program, of an export or of a users.jsonl."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError

from users.models import User
from users.transfer import imports, readers
from users.transfer.columns import FORMATS, format_of


class Command(BaseCommand):
    help = "Imports users from .json (an array), .jsonl or .csv: all of them or, if one is rejected, none."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, nargs="?", help="Optional with --next-id.")
        parser.add_argument("--format", choices=FORMATS, help="By default by the file's name.")
        parser.add_argument("--dry-run", action="store_true", help="Check everything, write nothing.")
        parser.add_argument("--keep-going", action="store_true", help="Import the others if some are rejected.")
        parser.add_argument("--next-id", type=int, default=1, help="Give no later user an id below it.")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        if options["file"] is None and options["next_id"] == 1:
            raise CommandError("Name a file to import, or use --next-id.")
        if not 1 <= options["next_id"] <= imports.MAX_ID:
            raise CommandError(f"--next-id must be from 1 to {imports.MAX_ID}.")
        plan = self._plan(options["file"], options["format"])
        for place, reason in plan.rejected:
            self.stderr.write(f"{place}: rejected: {reason}")
        found = _counted(len(plan.entries))
        rejected = f" Rejected: {_counted(len(plan.rejected))}." if plan.rejected else ""
        if plan.rejected and not options["keep_going"]:
            raise CommandError(f"Nothing was imported.{rejected} {found} can be imported with --keep-going.")
        if options["dry_run"]:
            self.stdout.write(f"{found} can be imported.{rejected}")
            return
        next_id = self._write(plan, options["next_id"])
        self.stdout.write(f"Imported {found}.{rejected} The next new user gets the id {next_id}.")
        if options["file"] and not plan.is_record and options["next_id"] == 1:
            self.stdout.write(
                f"The file has no ids of deleted users. If ids from {next_id} on were in use where it comes from, run "
                "import_users --next-id N, so that they are not given again."
            )
        if not User.objects.active_admins().exists():
            self.stderr.write("There is no active admin. `manage.py createsuperuser` creates one.")

    def _plan(self, file: Path | None, chosen: str | None) -> imports.Plan:
        if file is None:
            return imports.Plan()
        try:
            return imports.plan(readers.read(file, format_of(file, chosen)))
        except (OSError, ValueError, RecursionError) as exc:
            raise CommandError(f"{file}: {exc}. Nothing was imported.") from exc

    def _write(self, plan: imports.Plan, next_id: int) -> int:
        try:
            return imports.write(plan, next_id)
        except IntegrityError as exc:
            raise CommandError("A user was created at the same time. Nothing was imported; try again.") from exc


def _counted(number: int) -> str:
    return "1 entry" if number == 1 else f"{number} entries"
