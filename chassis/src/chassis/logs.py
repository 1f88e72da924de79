"""Log lines: one JSON object a line, each with the id of its request."""

import logging
import re
from contextvars import ContextVar
from random import getrandbits
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="-")

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{8,64}")


def request_id_from(header: str | None) -> str:
    """Return the header's id if it is well formed, else a new one."""
    # Not a secret, and so not worth a system call.
    return header if header and _WELL_FORMED.fullmatch(header) else f"{getrandbits(128):032x}"


class RequestIdFilter(logging.Filter):
    """Adds `request_id` to every record: the current request's, or `-`."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class TracebackFilter(logging.Filter):
    """Keeps only records with a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        return bool(record.exc_info)


def configuration(level: str) -> dict[str, Any]:
    """Return a value for the setting LOGGING: everything from `level` on, as JSON, to standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": RequestIdFilter}, "tracebacks": {"()": TracebackFilter}},
        "formatters": {
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "fmt": "%(asctime)s %(levelname)s %(name)s %(request_id)s %(message)s",
                "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
                "datefmt": "%Y-%m-%dT%H:%M:%S%z",
            }
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["request_id"]},
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            # Django's own line for each 4xx and 5xx has less in it than the access log's, and no request id.
            "django.request": {"level": "ERROR", "filters": ["tracebacks"]},
            "gunicorn.error": {"level": level, "handlers": [], "propagate": True},
            "gunicorn.access": {"level": level, "handlers": [], "propagate": False},
        },
    }
