"""What gunicorn serves."""

from chassis.wsgi import wsgi_application

application = wsgi_application("users_project.settings")

from users import store  # noqa: E402  # needs Django set up

store.open_or_log()
