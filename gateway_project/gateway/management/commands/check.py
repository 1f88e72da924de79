"""`manage.py check`: Django's, and what gateway.yaml has; with `--diff`, what another gateway.yaml would change."""

import os
import sys
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import CommandError, CommandParser, SystemCheckError
from django.core.management.commands import check

from gateway import comparison, configuration
from gateway.config import ConfigError, load_with_lines, warnings

# The exit statuses of --diff; that of a fault is 1.
CHANGES: Final = 2
LETS_IN: Final = 3


class Command(check.Command):
    """Prints the faults of gateway.yaml and their number, or its number of routes."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--diff", nargs="?", const="", metavar="FILE",
            help="print what this file would change; by default GATEWAY_CONFIG. Exit status: 0 nothing, 1 a fault, "
            "2 something, 3 clients may send requests that they could not",
        )  # fmt: skip
        parser.add_argument(
            "--against", metavar="FILE", help="with --diff: the file to compare with, by default the one in force"
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        if options["diff"] is not None:
            self.diff(options["diff"] or settings.GATEWAY_CONFIG, options["against"])
            return
        if options["against"]:
            raise CommandError("--against belongs to --diff. Add it.")
        try:
            config = configuration.load_config()
        except ConfigError as exc:
            # Django's check would add a count of its own, and a plain CommandError its name before the first fault.
            raise SystemCheckError(str(exc)) from exc
        super().handle(*args, **options)
        odd = len(warnings(settings.GATEWAY_CONFIG, os.environ))
        found = f"and {counted(odd, 'warning')}, see above" if odd else "and no faults"
        self.stdout.write(f"gateway.yaml has {counted(len(config.routes), 'route')}, {found}.")

    def diff(self, new: str | Path, old: str | None) -> None:
        """Print what `new` would change; exit with the status that says whether it is anything."""
        in_force = settings.STATE / "gateway.yaml"
        if old is None and not in_force.exists():
            message = "No gateway has run with this GATEHOUSE_VAR. Name the file to compare with by --against."
            raise CommandError(message)
        try:
            after = side_of(Path(new))
            before = side_of(Path(old)) if old else side_of(in_force, "in force")
        except ConfigError as exc:
            raise SystemCheckError(str(exc)) from exc
        changes = comparison.compare(before, after)
        self.stdout.write("\n".join([*comparison.as_text(changes), f"{counted(len(changes), 'change')}."]))
        if changes:
            sys.exit(LETS_IN if comparison.lets_in(changes) else CHANGES)


def side_of(path: Path, name: str | None = None) -> comparison.Side:
    """Return a file to compare, which may be a pipe, such as `<(git show HEAD:gateway.yaml)`."""
    return comparison.Side(name or path.name, *load_with_lines(path, os.environ))


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
