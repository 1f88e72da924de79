"""Liveness, for the gateway and for whoever starts this service.

This file is the same in each service.
"""

import logging

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from .problems import problem

log = logging.getLogger("health")


def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200 where the process serves and its database answers, 503 where that is away or has no tables."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM django_migrations LIMIT 1")
    except Error as exc:
        log.warning("The database says: %s", exc)
        return problem(request, 503, "The database does not answer. The log says why.", headers={"Retry-After": "1"})
    return JsonResponse({"status": "ok", "service": settings.SERVICE_NAME})
