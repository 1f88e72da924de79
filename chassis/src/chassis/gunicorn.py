"""gunicorn's settings for a service: begin gunicorn.conf.py with `from chassis.gunicorn import *`, then add `bind`."""

import gc

from gunicorn.glogging import Logger

from . import logs

__all__ = [
    "control_socket_disable",
    "graceful_timeout",
    "keepalive",
    "limit_request_field_size",
    "limit_request_fields",
    "limit_request_line",
    "logger_class",
    "post_worker_init",
    "timeout",
    "worker_class",
]


class NoAccessLog(Logger):  # type: ignore[misc]  # gunicorn is not typed
    """gunicorn's log without its access log: `chassis.middleware` writes one, with the request's id and user."""

    access_log_enabled = False


# From the start on: modules that are loaded leave no garbage.
gc.set_threshold(20_000, 20, 20)
logs.log_what_is_uncaught()
worker_class = "gthread"
# Seconds; longer than the gateway keeps an idle connection, so that the gateway is the one that closes it.
keepalive = 75
timeout = 30
graceful_timeout = 10
control_socket_disable = True
# What the gateway passes on, and the headers it adds. Limits are the gateway's to enforce.
limit_request_line = 8190
limit_request_fields = 200
limit_request_field_size = 16384
logger_class = NoAccessLog


def post_worker_init(worker: object) -> None:
    """Fetch the gateway's keys, and keep what was loaded at the start out of garbage collection.

    Each collection would look at all of it again.
    """
    from . import passports  # needs Django set up, which the application does

    passports.fetch_keys()
    gc.collect()
    gc.freeze()
