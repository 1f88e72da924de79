"""The application that gunicorn serves."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orders_project.settings")
django.setup(set_prefix=False)

from chassis.databases import check_migrations  # noqa: E402  # needs Django set up
from chassis.wsgi import UTF8Handler  # noqa: E402

application = UTF8Handler()
check_migrations()
