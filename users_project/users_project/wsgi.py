"""What gunicorn serves."""

import logging
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "users_project.settings")
django.setup(set_prefix=False)

# Only now are the models loaded.
from django.db import DatabaseError  # noqa: E402

from chassis.problems import Unavailable  # noqa: E402
from chassis.wsgi import UTF8Handler  # noqa: E402
from users import journal  # noqa: E402

application = UTF8Handler()
try:
    journal.open_record()
except (Unavailable, DatabaseError) as exc:
    # It ends a start, with file and line. Where others served before it, they answered 503 until it is mended: so does
    # who comes after them, as gunicorn ends the service with a worker that does not start.
    if "USERS_SERVES" not in os.environ:
        raise
    logging.getLogger("users").error("A worker starts all the same, and answers 503: %s", exc)  # noqa: TRY400
