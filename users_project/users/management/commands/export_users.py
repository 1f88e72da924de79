"""`manage.py export_users [FILE]`: every user, with their hashes."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from users.transfer import exports
from users.transfer.readers import format_of


class Command(BaseCommand):
    help = "Writes every user, with the hash of their password, to standard output or into a new file."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, nargs="?", help="A new file; without it, standard output.")
        parser.add_argument("--format", choices=exports.FORMATS, help="By default by the file's name, or jsonl.")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        path: Path | None = options["file"]
        os.umask(0o077)
        try:
            file_format = options["format"] or (format_of(path, exports.FORMATS) if path else "jsonl")
            with path.open("x", encoding="utf-8", newline="") if path else nullcontext(self.stdout) as file:
                count = exports.export(file, file_format)  # type: ignore[arg-type]  # or Django's wrapper of one
        except BrokenPipeError as exc:  # without the frames that keep the query open when the connection is closed
            raise exc.with_traceback(None) from None
        except FileExistsError as exc:
            raise CommandError(f"{path} exists. Name a new file.") from exc
        except ValueError as exc:  # the others are the command line's
            raise CommandError(str(exc)) from exc
        self.stderr.write(
            f"Wrote {count} users, without their histories. The export contains password hashes: keep it as safe as "
            "the users file."
        )
