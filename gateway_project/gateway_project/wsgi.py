"""What gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
application = get_wsgi_application()


def prepare() -> None:
    """Load gateway.yaml and the keys, made at the first start: what is wrong with them must not wait for a request."""
    from gateway import configuration  # needs Django set up
    from gateway.identity import keys

    configuration.route_table()
    keys.ring()


prepare()
