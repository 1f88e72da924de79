"""gunicorn's settings for the users service: `gunicorn -c gunicorn.conf.py users_project.wsgi`."""

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
