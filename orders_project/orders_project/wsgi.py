"""What gunicorn serves."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orders_project.settings")
django.setup(set_prefix=False)

from orders.handlers import UTF8Handler  # noqa: E402  # needs Django set up

application = UTF8Handler()
