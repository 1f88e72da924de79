"""What gunicorn serves."""

from typing import cast

from chassis.wsgi import wsgi_application

application = wsgi_application("gateway_project.settings")

from django.apps import apps  # noqa: E402  # needs Django set up

from gateway.apps import GatewayConfig  # noqa: E402

# Built before any request: what is wrong with gateway.yaml or the keys must not wait for one.
runtime = cast("GatewayConfig", apps.get_app_config("gateway")).runtime
