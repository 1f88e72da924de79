"""gunicorn's settings for the users service: `gunicorn -c gunicorn.conf.py users_project.wsgi`."""

import ctypes
import os
from contextlib import suppress

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from chassis import logs
from chassis.environment import listening, or_exit, state_directory
from chassis.gunicorn import *  # noqa: F403  # gunicorn reads this module's names
from users_project import environment

env = or_exit(environment.read)
or_exit(lambda: state_directory(env.gatehouse_var, "users"))
bind = or_exit(lambda: listening("USERS_BIND", env.users_bind, env.users_port))
workers = env.users_workers
threads = 8
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
