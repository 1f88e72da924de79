"""`manage.py export_users FILE`: every user, with their hashes, into a new file."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chassis.problems import Unavailable
from users import exports, index


class Command(BaseCommand):
    """Writes a JSON array, JSONL or CSV, readable by its owner alone; never over a file that is there."""

    help = "Writes every user, with the hash of their password, into a new file: .json, .jsonl or .csv."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the file and its format."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--format", choices=exports.FORMATS, help="Where the file's name does not say it.")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        """Write the file, or leave none."""
        try:
            file_format = exports.format_of(options["file"], options["format"])
            next_id = index.last_id() + 1
            count = exports.export(options["file"], file_format, self.progress)
        except (OSError, ValueError, Unavailable) as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(
            f"Wrote {count} users. The file has the hashes of their passwords: keep it as you keep those.\n"
            f"It has neither histories nor whose ids were deleted: import it with --next-id {next_id}, or "
            "somebody new can get a deleted user's id."
        )
        if settings.RECORD:
            self.stdout.write(f"{settings.RECORD} has both, and can be imported in the place of this file.")

    def progress(self, count: int) -> None:
        """Say how far it is, now and then."""
        if count % 10_000 == 0:
            self.stderr.write(f"{count} users")
