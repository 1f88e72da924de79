"""Log lines: one JSON object a line, each with the ids of its request and of its trace."""

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from random import getrandbits
from types import TracebackType
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="-")
# The current span, as the header of this name has it, or nothing outside of a request.
traceparent: ContextVar[str] = ContextVar("traceparent", default="")

log = logging.getLogger("chassis.uncaught")
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{8,64}")


# Ids made at once: that costs less than one for each request.
_MADE_AT_ONCE = 256
_made: Iterator[str] = iter(())


def _make() -> str:
    """Make ids, and return one."""
    global _made  # noqa: PLW0603  # an iterator of a list: several threads may take from it
    # Not a secret, and so not worth a system call.
    text = f"{getrandbits(128 * _MADE_AT_ONCE):0{32 * _MADE_AT_ONCE}x}"
    _made = iter([text[at : at + 32] for at in range(0, len(text), 32)])
    return next(_made)


def _forget() -> None:
    global _made  # noqa: PLW0603
    _made = iter(())


# Two processes must not take the same.
os.register_at_fork(after_in_child=_forget)


def request_id_from(header: str | None) -> str:
    """Return the header's id if it is well formed, else a new one."""
    return header if header and _WELL_FORMED.fullmatch(header) else new_id()


def new_id() -> str:
    """Return a random id: 32 hexadecimal digits."""
    return next(_made, None) or _make()


class RequestIdFilter(logging.Filter):
    """Adds `request_id` and `trace_id` to every record: the current request's, or `-`."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        record.trace_id = traceparent.get()[3:35] or "-"
        return True


class TracebackFilter(logging.Filter):
    """Keeps only records with a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        return bool(record.exc_info)


def log_what_is_uncaught() -> None:
    """Have warnings, and exceptions that nothing catches, logged like all else, which Python would write as text."""
    logging.captureWarnings(True)

    def log_exception(kind: type[BaseException], exc: BaseException, traceback: TracebackType | None) -> None:
        log.critical("Uncaught exception", exc_info=(kind, exc, traceback))

    def log_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            name = args.thread.name if args.thread else "-"
            log.error("Uncaught exception in thread %s", name, exc_info=args.exc_value)

    def log_unraisable(args: "sys.UnraisableHookArgs") -> None:
        log.error("%s: %r", args.err_msg or "Exception ignored in", args.object, exc_info=args.exc_value)

    sys.excepthook = log_exception
    threading.excepthook = log_thread
    sys.unraisablehook = log_unraisable


def configuration(level: str) -> dict[str, Any]:
    """Return a value for the setting LOGGING: everything from `level` on, as JSON, to standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": RequestIdFilter}, "tracebacks": {"()": TracebackFilter}},
        "formatters": {
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "fmt": "%(asctime)s %(levelname)s %(name)s %(request_id)s %(trace_id)s %(message)s",
                "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
                "datefmt": "%Y-%m-%dT%H:%M:%S%z",
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["request_id"]}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            # Django's own line for each 4xx and 5xx has less in it than the access log's, and no request id.
            "django.request": {"level": "ERROR", "filters": ["tracebacks"]},
            "gunicorn.error": {"level": level, "handlers": [], "propagate": True},
            "gunicorn.access": {"level": level, "handlers": [], "propagate": False},
        },
    }
