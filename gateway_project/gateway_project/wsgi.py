"""What gunicorn serves."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
django.setup(set_prefix=False)

from chassis.wsgi import UTF8Handler  # noqa: E402  # needs Django set up

application = UTF8Handler()


def prepare() -> None:
    """Load gateway.yaml and the keys, made at the first start: what is wrong with them must not wait for a request."""
    from gateway import configuration  # needs Django set up
    from gateway.identity import keys

    configuration.route_table()
    keys.ring()


prepare()
