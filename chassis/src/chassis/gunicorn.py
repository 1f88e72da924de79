"""gunicorn's settings for a service: begin gunicorn.conf.py with `from chassis.gunicorn import *`, then add `bind`."""

import gc
import socket
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.sock import BaseSocket

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


# gunicorn's master calls listen() on each socket that does not listen yet. The system would accept connections, and
# requests would wait until a worker has loaded the application. Here the workers call it, in `listen`.
BaseSocket._is_listening = staticmethod(lambda _: True)  # noqa: SLF001  # gunicorn offers no setting for it
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


def listen(worker: Any) -> None:  # noqa: ANN401  # gunicorn is not typed
    """Accept connections, which were refused while no worker had loaded the application.

    Before that, keep what was loaded out of garbage collection: each one, and the end, would look at all of it again.
    """
    gc.collect()
    gc.freeze()
    for listener in worker.sockets:
        if not listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            listener.sock.listen(worker.cfg.backlog)


def post_worker_init(worker: Any) -> None:  # noqa: ANN401  # gunicorn is not typed
    """Fetch the gateway's keys and listen."""
    from . import passports  # needs Django set up, which the application does

    passports.fetch_keys()
    listen(worker)
