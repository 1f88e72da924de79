"""What gunicorn serves."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "users_project.settings")
django.setup(set_prefix=False)

# Only now are the models loaded.
from chassis.wsgi import UTF8Handler  # noqa: E402
from users import store  # noqa: E402

application = UTF8Handler()
store.open_or_log()
