#!/usr/bin/env python
"""Django's command line for the users project."""

from chassis.command_line import main

if __name__ == "__main__":
    main("users_project.settings")
