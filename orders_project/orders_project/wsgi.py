"""What gunicorn serves."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orders_project.settings")
django.setup(set_prefix=False)

# Only now are the models loaded.
from chassis.wsgi import UTF8Handler  # noqa: E402
from orders import tables  # noqa: E402

application = UTF8Handler()
tables.check_tables()
