"""The application that gunicorn serves."""

from chassis.wsgi import wsgi_application

application = wsgi_application("orders_project.settings")

from chassis.databases import check_migrations  # noqa: E402  # needs Django set up

check_migrations()
