"""gunicorn's settings for the users service: `gunicorn -c gunicorn.conf.py users_project.wsgi`."""

import ctypes
import os
from contextlib import suppress

from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from users import logs
from users_project import environment, variables


class OneAccessLog(Logger):
    """gunicorn's log without its own access log: the service writes one, with what it knows of a request."""

    access_log_enabled = False


env = variables.or_exit(environment.read)
variables.or_exit(lambda: variables.state_directory(env.gatehouse_var, "users"))
bind = variables.or_exit(lambda: variables.listening("USERS_BIND", env.users_bind, env.users_port))
workers = env.users_workers
worker_class = "gthread"
threads = 8
# Longer than the gateway keeps an idle connection, so that it is the gateway that closes first.
keepalive = 75
timeout = 30
graceful_timeout = 10
control_socket_disable = True
# What the gateway lets through, and what it adds to that: it is the gateway that refuses.
limit_request_line = 8190
limit_request_fields = 200
limit_request_field_size = 16384
logger_class = OneAccessLog
logconfig_dict = logs.configuration(env.log_level)


def post_fork(server: Arbiter, worker: Worker) -> None:
    """Tell a worker that takes the place of another one that the service serves already; see `wsgi`."""
    if worker.age > server.num_workers:
        os.environ["USERS_SERVES"] = "1"


# glibc's number for it (mallopt(3)).
M_MMAP_THRESHOLD = -3


def post_worker_init(worker: object) -> None:
    """Have each hash's block of memory given back when the hash is done.

    glibc would learn from the first one to keep such blocks, some 19 MiB for every thread that ever made a hash.
    """
    with suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**20)
