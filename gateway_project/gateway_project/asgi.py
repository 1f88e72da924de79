"""What gunicorn serves: the fast door, and Django behind it."""

from gateway_project.wsgi import application as django, runtime  # isort: skip  # sets Django up, builds the runtime
from gateway.portal.probes import on_loop
from gateway.proxy.application import Gateway

application = Gateway(runtime, django, on_loop(runtime))
