"""gunicorn's settings for the gateway: `gunicorn -c gunicorn.conf.py gateway_project.asgi`."""

import logging
import resource
import sys

from gunicorn.arbiter import Arbiter

from chassis import logs
from chassis.environment import listening, or_exit, state_directory
from chassis.gunicorn import NoAccessLog, listen

# The workers inherit the memory of these if the master imports them.
from gateway import callers, config_events, configuration, in_force, metrics  # noqa: F401
from gateway.config import ConfigError
from gateway.history import Recorder
from gateway.proxy.master import Master
from gateway.proxy.worker import Worker
from gateway_project import environment

# How many files and connections a worker may have open, where the system allows it.
DESCRIPTORS = 65_536

env = or_exit(environment.read)
state = or_exit(lambda: state_directory(env.gatehouse_var, "gateway"))
# What is in force, for `check --diff`, and for workers that take up changes.
copy = state / "gateway.yaml"
try:
    loaded = configuration.load_in_master(env.gateway_config)
    configuration.keep(loaded, copy)
    in_force.accept()
except ConfigError as exc:
    if configuration.loaded is None:
        sys.exit(str(exc))
    # At a reload: what is in force stays in force.
    loaded = configuration.loaded
    log = logging.getLogger("gunicorn.error")
    for fault in exc.faults:
        log.error("gateway.yaml is not reloaded: %s", fault)  # noqa: TRY400  # the faults say it all
    in_force.reject(len(exc.faults))
    detail = configuration.rejection(env.gateway_config, exc.faults)
    config_events.put(state, "config_rejected", by="reload", detail=detail)

# Each client and each connection to a service takes a descriptor; the usual soft limit is 1,024.
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(
    resource.RLIMIT_NOFILE, (DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard), hard)
)

bind = or_exit(lambda: listening("GATEWAY_BIND", env.gateway_bind, env.gateway_port))
workers = env.gateway_workers
worker_class = Worker
asgi_lifespan = "on"
keepalive = 75
# For gunicorn's own parser, under another worker class; the fast door's has its own.
limit_request_fields = env.max_header_fields
limit_request_field_size = env.max_header_field_bytes
# Seconds for a worker to show that it lives.
timeout = 60
# Seconds for which a worker that is replaced or stopped may go on, before it is killed.
graceful_timeout = Worker.graceful_seconds(loaded.config)
control_socket_disable = True
# Whom to believe is policy's decision, made with TRUSTED_PROXIES; gunicorn leaves the peer's headers alone.
forwarded_allow_ips = ""
logger_class = NoAccessLog
logconfig_dict = logs.configuration(env.log_level)


def post_worker_init(worker: object) -> None:
    """Listen under another worker class; the fast door's listens once the application has started."""
    if not isinstance(worker, Worker):
        listen(worker)


def on_starting(server: Arbiter) -> None:
    """Take over from gunicorn's master."""
    recorder = Recorder(state / "history")
    Master.take_over(server, env.drain_seconds, env.gateway_config, copy, recorder, watch=env.gateway_watch)
