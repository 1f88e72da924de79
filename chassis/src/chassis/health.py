"""Health: whether the process serves, and whether its database responds."""

import logging
import threading
from concurrent.futures import Future
from typing import Final

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from . import conf
from .problems import problem

# Seconds after which a probe responds, whatever the database does.
LIMIT: Final = 1.0
log = logging.getLogger("chassis.health")


class DatabaseCheck:
    """Asks the database in a thread of its own, one question at a time.

    A server that cannot be reached may hold up a connection for longer than a probe waits.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.latest: Future[str] | None = None

    def fault(self) -> str:
        """Return what the database reports, empty if nothing is wrong."""
        with self.lock:
            if self.latest is None or self.latest.done():
                self.latest = Future()
                threading.Thread(target=self.run, args=(self.latest,), name="health", daemon=True).start()
            latest = self.latest
        try:
            return latest.result(LIMIT)
        except TimeoutError:
            return f"no response within {LIMIT:g} s"

    def run(self, asked: "Future[str]") -> None:
        try:
            asked.set_result(fault_of_database())
        finally:
            connection.close()


_check = DatabaseCheck()


def fault_of_database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM django_migrations LIMIT 1")
    except Error as exc:
        return str(exc) or type(exc).__name__
    return ""


def fault_in_time() -> str:
    if connection.settings_dict["ENGINE"] == "django.db.backends.dummy":  # Django's without DATABASES
        return ""
    # SQLite's file is on this machine, and its readers wait for no writer.
    return fault_of_database() if connection.vendor == "sqlite" else _check.fault()


def livez(request: HttpRequest) -> HttpResponse:
    """Respond with 200: the process serves."""
    return JsonResponse({"status": "ok", "service": conf.options().service})


def readyz(request: HttpRequest) -> HttpResponse:
    """Return 503 while the database is down, or lacks the tables that `manage.py migrate` creates."""
    if fault := fault_in_time():
        log.warning("The database reports: %s. If tables are missing, run `manage.py migrate`.", fault)
        return problem(
            request,
            503,
            "The database does not respond, or lacks its tables. The service's log has the cause.",
            code="database_unavailable",
            headers={"Retry-After": "1"},
        )
    return JsonResponse({"status": "ok", "service": conf.options().service})
