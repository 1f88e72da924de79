"""What gunicorn serves: the fast door, and Django behind it."""

from gateway_project.wsgi import application as django, runtime  # isort: skip  # sets Django up, builds the runtime
from django.conf import settings

from gateway.portal.probes import on_loop
from gateway.proxy.application import Gateway, Watch

watch = Watch(settings.STATE / "gateway.yaml", settings.GATEWAY_CONFIG)
application = Gateway(runtime, django, on_loop, watch)
