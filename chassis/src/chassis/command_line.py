"""Django's command line for a project: `main("shop.settings")` in manage.py."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import DatabaseError
from rest_framework.exceptions import APIException

from .environment import or_exit


def main(settings: str) -> None:
    """Run the command of `sys.argv`.

    If a setting is bad, or the database or a file is full, locked, away or unreadable, a message ends the program, and
    with `--traceback` the traceback too.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings)
    or_exit(_run)


def _run() -> None:
    try:
        execute_from_command_line(sys.argv)
    except BrokenPipeError:
        raise
    except (DatabaseError, APIException, OSError) as exc:
        if "--traceback" in sys.argv:
            raise
        sys.exit(str(exc).strip())
