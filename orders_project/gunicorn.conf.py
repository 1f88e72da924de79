"""gunicorn's settings for the orders service: `gunicorn -c gunicorn.conf.py orders_project.wsgi`."""

import gc

from chassis import logs
from chassis.environment import listening, or_exit, state_directory
from chassis.gunicorn import *  # noqa: F403  # gunicorn reads this module's names
from orders_project import environment
from orders_project.worker import Worker

env = or_exit(environment.read)
or_exit(lambda: state_directory(env.gatehouse_var, "orders"))
bind = or_exit(lambda: listening("ORDERS_BIND", env.orders_bind, env.orders_port))
workers = env.orders_workers
worker_class = Worker
threads = environment.THREADS
logconfig_dict = logs.configuration(env.log_level)


def post_worker_init(worker: object) -> None:
    """Leave what was loaded out of garbage collection, which then looks at what requests leave only."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
