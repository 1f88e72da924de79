"""gunicorn's settings for the orders service: `gunicorn -c gunicorn.conf.py orders_project.wsgi`."""

import gc

from chassis import logs
from chassis.gunicorn import *  # noqa: F403  # gunicorn reads this module's names
from orders_project import environment, variables
from orders_project.worker import Worker

env = variables.or_exit(environment.read)
variables.or_exit(lambda: variables.state_directory(env.gatehouse_var, "orders"))
bind = variables.or_exit(lambda: variables.listening("ORDERS_BIND", env.orders_bind, env.orders_port))
workers = env.orders_workers
worker_class = Worker
threads = environment.THREADS
logconfig_dict = logs.configuration(env.log_level)


def post_worker_init(worker: object) -> None:
    """Leave what was loaded out of garbage collection, which then looks at what requests leave only."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
