#!/usr/bin/env python
"""Django's command line for the users project."""

import os
import sys

from django.core.management import execute_from_command_line

from users_project import variables

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "users_project.settings")
    variables.or_exit(lambda: execute_from_command_line(sys.argv))
