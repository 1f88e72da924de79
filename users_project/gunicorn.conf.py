"""gunicorn's settings for the users service: `gunicorn -c gunicorn.conf.py users_project.wsgi`."""

from users import logs
from users_project import environment

env = environment.read()
bind = f"{env.users_bind}:{env.users_port}"
workers = env.users_workers
worker_class = "gthread"
threads = 8
# Longer than the gateway keeps an idle connection, so that it is the gateway that closes first.
keepalive = 75
timeout = 30
graceful_timeout = 10
control_socket_disable = True
logconfig_dict = logs.configuration(env.log_level)
