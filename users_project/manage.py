#!/usr/bin/env python
"""Django's command line for the users project."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import DatabaseError
from rest_framework.exceptions import APIException

from chassis.environment import or_exit


def run() -> None:
    """Run the command; end with a message, and no traceback, where that helps nobody, as on a full disk.

    Any command can meet a damaged index, also in Django's own checks, before it comes to the record.
    """
    try:
        execute_from_command_line(sys.argv)
    except (DatabaseError, APIException) as exc:
        from users import index  # the models can be imported by now

        message = index.message_of(exc)
        if message is None:
            raise
        sys.exit(message)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "users_project.settings")
    or_exit(run)
