"""What gunicorn serves."""

import os
from typing import cast

import django
from django.apps import apps

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
django.setup(set_prefix=False)

from chassis.wsgi import UTF8Handler  # noqa: E402  # needs Django set up
from gateway.apps import GatewayConfig  # noqa: E402

# Built before any request: what is wrong with gateway.yaml or the keys must not wait for one.
runtime = cast("GatewayConfig", apps.get_app_config("gateway")).runtime
application = UTF8Handler()
