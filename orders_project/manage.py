#!/usr/bin/env python
"""Django's command line for the orders project."""

import os
import sys

from django.core.management import execute_from_command_line

from chassis.environment import or_exit

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orders_project.settings")
    or_exit(lambda: execute_from_command_line(sys.argv))
