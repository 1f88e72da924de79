"""What gunicorn serves."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "users_project.settings")
django.setup(set_prefix=False)

# Only now are the models loaded.
from users import journal  # noqa: E402
from users.handlers import UTF8Handler  # noqa: E402

application = UTF8Handler()
# A record that cannot be read ends the start here, with file and line.
journal.open_record()
