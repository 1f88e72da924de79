"""gunicorn's settings for the orders service: `gunicorn -c gunicorn.conf.py orders_project.wsgi`."""

import gc

from gunicorn.glogging import Logger

from orders import logs
from orders_project import environment, variables
from orders_project.worker import Worker


class OneAccessLog(Logger):
    """gunicorn's log without its own access log: the service writes one, with what it knows of a request."""

    access_log_enabled = False


env = variables.or_exit(environment.read)
variables.or_exit(lambda: variables.state_directory(env.gatehouse_var, "orders"))
bind = variables.or_exit(lambda: variables.listening("ORDERS_BIND", env.orders_bind, env.orders_port))
workers = env.orders_workers
worker_class = Worker
threads = environment.THREADS
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


def post_worker_init(worker: object) -> None:
    """Leave what was loaded out of garbage collection, which then looks at what requests leave only."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
