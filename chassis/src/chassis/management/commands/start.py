"""`manage.py start COMMAND…`: what a container runs."""

import logging
import os
import sys
import threading
from argparse import REMAINDER, ArgumentTypeError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from io import StringIO
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import OperationalError, connection

from chassis import databases, logs
from chassis.waiting import probes

log = logging.getLogger("chassis.start")


def address_of(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal():
        raise ArgumentTypeError(f"expected ADDRESS:PORT, got {text!r}")
    return host.strip("[]"), int(port)


class Command(BaseCommand):
    help = "Wait for the database, migrate unless GATEHOUSE_MIGRATE is 0, and become the command."
    # They would use the database.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--bind", required=True, type=address_of, help="where to respond while the database is down"
        )
        parser.add_argument("--live", action="append", default=["/livez"], help="another path that is 200 then")
        parser.add_argument("--then", action="append", default=[], help="a command to run after the migrations")
        parser.add_argument("command", nargs=REMAINDER)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        logs.log_what_is_uncaught()
        with probes_while_down(options):
            databases.wait_for(connection, log.warning)
            if os.environ.get("GATEHOUSE_MIGRATE") != "0":
                self.prepare(options["then"])
        connection.close()
        command = options["command"]
        os.execvp(command[0], command)  # noqa: S606  # the container's own

    def prepare(self, commands: Sequence[str]) -> None:
        output = StringIO()
        try:
            call_command("migrate", verbosity=0, wait=True)
            for command in commands:
                call_command(command, stdout=output)
        except Exception:
            # As JSON, like every other line.
            log.exception("The migrations failed")
            sys.exit(1)
        for line in output.getvalue().splitlines():
            log.info("%s", line)


@contextmanager
def probes_while_down(options: dict[str, Any]) -> Iterator[None]:
    """Respond to probes and requests if the database cannot be reached, until it can, and is migrated."""
    try:
        connection.ensure_connection()
    except OperationalError:
        handler = probes(options["live"])
        with ThreadingHTTPServer(options["bind"], handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            yield
            server.shutdown()
    else:
        yield
