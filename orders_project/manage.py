#!/usr/bin/env python
"""Django's command line for the orders project."""

from chassis.command_line import main

if __name__ == "__main__":
    main("orders_project.settings")
