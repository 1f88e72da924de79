"""gunicorn's settings for the gateway: `gunicorn -c gunicorn.conf.py gateway_project.wsgi`."""

import os
import shutil
import sys

from gunicorn.workers.base import Worker

from gateway import logs
from gateway.config import ConfigError, load
from gateway_project import environment

env = environment.read()
try:
    load(env.gateway_config, os.environ)
except ConfigError as exc:
    sys.exit("\n".join(str(fault) for fault in exc.faults))

bind = f"{env.gateway_bind}:{env.gateway_port}"
workers = env.gateway_workers
worker_class = "gthread"
threads = 32
keepalive = 75
timeout = 60
graceful_timeout = 15
control_socket_disable = True
# Whom to believe is policy's decision, made with TRUSTED_PROXIES; gunicorn leaves the peer's headers alone.
forwarded_allow_ips = ""
logconfig_dict = logs.configuration(env.log_level)

# Where the workers' metrics meet: prometheus_client reads the variable when it is imported, in the workers.
metrics = env.gatehouse_var / "gateway" / "metrics"
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)


def on_starting(server: object) -> None:
    """Begin with empty metrics."""
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir(parents=True)


def child_exit(server: object, worker: Worker) -> None:
    """Forget the gauges of a worker that is gone."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
