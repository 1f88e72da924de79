"""`gunicorn -c gunicorn.conf.py orders_project.wsgi`."""

from chassis import logs
from chassis.environment import listening, or_exit, state_directory
from chassis.gunicorn import *  # noqa: F403  # gunicorn reads this module's names
from orders_project import environment

env = or_exit(environment.read)
or_exit(lambda: state_directory(env.gatehouse_var, "orders"))
bind = or_exit(lambda: listening("ORDERS_BIND", env.orders_bind, env.orders_port))
workers = env.orders_workers
threads = 4
logconfig_dict = logs.configuration(env.log_level)
