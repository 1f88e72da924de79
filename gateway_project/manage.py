#!/usr/bin/env python
"""Django's command line for the gateway project."""

from chassis.command_line import main

if __name__ == "__main__":
    main("gateway_project.settings")
