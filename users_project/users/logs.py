"""Log lines are JSON, one a line, each with the id of the request that it belongs to.

This file is the same in each project.
"""

import logging
import re
from contextvars import ContextVar
from random import getrandbits
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="-")

WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{8,64}")


def request_id_from(header: str | None) -> str:
    """Return the id that the header says where it is well formed (8 to 64 of A-Z a-z 0-9 . _ -), else a new one."""
    # Not a secret, and so not worth a system call.
    return header if header and WELL_FORMED.fullmatch(header) else f"{getrandbits(128):032x}"


class RequestId(logging.Filter):
    """Adds `request_id` to every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass, with the id of the request under way, or `-`."""
        record.request_id = request_id.get()
        return True


class Exceptions(logging.Filter):
    """Lets pass what says where an exception came from, and nothing else."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass, if it has a traceback."""
        return bool(record.exc_info)


def configuration(level: str) -> dict[str, Any]:
    """Return what `logging.config.dictConfig` takes: everything from `level` on, as JSON, to standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": RequestId}, "exceptions": {"()": Exceptions}},
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
            # Django's own line for each 4xx and 5xx says less than the access log's, and has no request id.
            "django.request": {"level": "ERROR", "filters": ["exceptions"]},
            "gunicorn.error": {"level": level, "handlers": [], "propagate": True},
            "gunicorn.access": {"level": level, "handlers": [], "propagate": False},
        },
    }
