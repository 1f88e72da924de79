"""Health: 200 while the process serves and its database responds."""

import logging

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from . import conf
from .problems import problem

log = logging.getLogger("chassis.health")


def healthz(request: HttpRequest) -> HttpResponse:
    """Return 503 while the database is down, or lacks the tables that `manage.py migrate` creates."""
    try:
        if connection.settings_dict["ENGINE"] != "django.db.backends.dummy":  # Django's without DATABASES
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM django_migrations LIMIT 1")
    except Error as exc:
        log.warning("The database reports: %s. If tables are missing, run `manage.py migrate`.", exc)
        return problem(
            request,
            503,
            "The database does not respond, or lacks its tables. The service's log has the cause.",
            code="database_unavailable",
            headers={"Retry-After": "1"},
        )
    return JsonResponse({"status": "ok", "service": conf.options().service})
