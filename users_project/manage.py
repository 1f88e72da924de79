#!/usr/bin/env python
"""Django's command line for the users project."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import DatabaseError

from users_project import variables


def run() -> None:
    """Run the command; where the index is damaged, end with what to do about it.

    Any command can meet that, also in Django's own checks, before it comes to the record.
    """
    try:
        execute_from_command_line(sys.argv)
    except DatabaseError as exc:
        from users import index  # the models can be imported by now

        if not index.is_damage(exc):
            raise
        sys.exit(f"{index.path()}: {index.damage_text(exc)}")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "users_project.settings")
    variables.or_exit(run)
