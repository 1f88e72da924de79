"""`manage.py import_users FILE`: users of another program, of an export or of a record."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError
from rest_framework.exceptions import APIException

from users import entries, exports, imports, lines
from users.models import User

LONGEST = 300


class Command(BaseCommand):
    """Imports all of a file or, where an entry is rejected, nothing; says of each why."""

    help = "Imports users from .json (an array), .jsonl or .csv: all of them or, if one is rejected, none."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the file, its format, and how to go about it."""
        parser.add_argument("file", type=Path, nargs="?", help="May be left out with --next-id.")
        parser.add_argument("--format", choices=exports.FORMATS, help="Where the file's name does not say it.")
        parser.add_argument("--dry-run", action="store_true", help="Check everything, write nothing.")
        parser.add_argument("--keep-going", action="store_true", help="Import the others where some are rejected.")
        parser.add_argument(
            "--next-id", type=int, default=1, help="Give no later user an id below it: export_users says it."
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        """Check, report, and write."""
        if not 1 <= options["next_id"] <= lines.IMPORTABLE:
            raise CommandError(f"Expected --next-id from 1 to {lines.IMPORTABLE}.")
        plan = self.plan(options["file"], options["format"], only_next_id=options["next_id"] > 1)
        for place, why in plan.rejected:
            self.stderr.write(printable(f"{place}: rejected: {why}"))
        for place, what in plan.notes:
            self.stderr.write(printable(f"{place}: {what}"))
        found = f"{len(plan.users)} users" + (f" and {len(plan.deletions)} deletions" if plan.deletions else "")
        rejected = f"; {len(plan.rejected)} entries were rejected" if plan.rejected else ""
        if plan.rejected and not options["keep_going"]:
            raise CommandError(f"Nothing was imported{rejected}; {found} could be, with --keep-going.")
        if options["dry_run"]:
            self.stdout.write(f"Would import {found}{rejected}.")
            return
        next_id = self.write(plan, options["next_id"]) + 1
        imported = f"Imported {found}{rejected}. " if options["file"] else ""
        if next_id > lines.LARGEST:
            self.stdout.write(f"{imported}No new user can be made: {lines.LARGEST} is in use.")
        else:
            self.stdout.write(f"{imported}The next new user is {next_id}.")
        if next_id <= lines.LARGEST and not plan.of_record and options["next_id"] == 1:
            self.stdout.write(
                f"Such a file does not say whose ids were deleted. If {next_id} or a later one was somebody's where it "
                "comes from, keep them from being given again: import_users --next-id N."
            )
        if not User.objects.active_admins().exists():
            self.stderr.write("There is no active admin: `manage.py createsuperuser` makes one.")

    def plan(self, file: Path | None, chosen: str | None, *, only_next_id: bool) -> imports.Plan:
        """Return what the file would bring; nothing without one, where the next id is all that was asked for."""
        if file is None:
            if not only_next_id:
                raise CommandError("Expected a file, or --next-id.")
            return imports.Plan()
        try:
            return imports.plan(entries.read(file, exports.format_of(file, chosen)), self.progress)
        except (OSError, ValueError) as exc:
            raise CommandError(printable(f"{file}: {exc}. Nothing was imported.")) from exc

    def write(self, plan: imports.Plan, next_id: int) -> int:
        """Write the plan, and return the last id; say why it cannot be."""
        try:
            return imports.write(plan, next_id)
        except IntegrityError as exc:
            raise CommandError("Another user was made meanwhile. Nothing was imported; try again.") from exc
        except APIException as exc:
            raise CommandError(f"{exc.detail} Nothing was imported.") from exc

    def progress(self, count: int) -> None:
        """Say how far it is, now and then."""
        if count % 10_000 == 0:
            self.stderr.write(f"{count} entries read")


def printable(text: str) -> str:
    """Return the text without what a terminal would obey, and no longer than a message needs."""
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
