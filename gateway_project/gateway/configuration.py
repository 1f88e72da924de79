"""The process's one configuration: gateway.yaml as the environment names it, loaded at first use.

Under gunicorn its master loads the file, at the start and at each reload, and the workers have it from there.
"""

import os
from functools import cache

from django.conf import settings

from .config import Config, load
from .policy.routes import RouteTable

by_master: Config | None = None


@cache
def current() -> Config:
    """Return the loaded gateway.yaml; raise `ConfigError` with all of its faults."""
    return by_master or load(settings.GATEWAY_CONFIG, os.environ)


@cache
def route_table() -> RouteTable:
    """Return the table that requests are matched with."""
    return RouteTable(current())
