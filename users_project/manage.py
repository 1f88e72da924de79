#!/usr/bin/env python
"""Django's command line for the users project."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import DatabaseError
from rest_framework.exceptions import APIException

from chassis.environment import or_exit


def run() -> None:
    """Run the command. A store that is full, locked, away or unreadable ends it with a message and no traceback."""
    try:
        execute_from_command_line(sys.argv)
    except (DatabaseError, APIException, OSError) as exc:
        sys.exit(str(exc).strip())


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "users_project.settings")
    or_exit(run)
