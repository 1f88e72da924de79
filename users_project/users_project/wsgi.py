"""What gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "users_project.settings")
application = get_wsgi_application()

# Only now are the models loaded. A record that cannot be read ends the start here, with file and line.
from users import journal  # noqa: E402

journal.open_record()
