"""Settings of databases, for a settings file: this module imports nothing that needs Django set up."""

import sys
from pathlib import Path
from typing import Any

# Seconds to wait for PostgreSQL: for a connection or a lock, for a statement, and for a network that is gone.
LOCK_TIMEOUT = 5
STATEMENT_TIMEOUT = 15
NETWORK_TIMEOUT = 15


def default(url: str | None, sqlite: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return `DATABASES`: PostgreSQL at the URL, or without one SQLite.

    Django REST framework imports Django's fields for PostgreSQL, and its driver, if they are there. For SQLite that
    would cost each process 9 MiB and a fifth of its start, so these fields count as missing.
    """
    if url:
        return {"default": postgresql(url)}
    sys.modules.setdefault("django.contrib.postgres", None)  # type: ignore[arg-type]  # documented: None makes an import fail
    return {"default": sqlite}


def sqlite(path: Path, *, busy_timeout: float = 5, synchronous: str = "FULL") -> dict[str, Any]:
    """Return Django's settings of an SQLite database in WAL mode, with one writer at a time.

    With FULL a commit is on disk before the response leaves, in WAL mode too.
    """
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": busy_timeout,
            "init_command": f"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA foreign_keys=ON",
        },
    }


def postgresql(url: str) -> dict[str, Any]:
    """Return Django's settings of a PostgreSQL database, with a limit on every wait. `options` in the URL win."""
    import dj_database_url  # of the extra `deploy`
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    settings: dict[str, Any] = {**dj_database_url.parse(url, conn_max_age=None, conn_health_checks=True)}
    own = settings.setdefault("OPTIONS", {})
    limits = f"-c lock_timeout={LOCK_TIMEOUT}s -c statement_timeout={STATEMENT_TIMEOUT}s"
    own.update(
        {
            # The services' transactions are written for this level; a server's default can be another.
            "isolation_level": IsolationLevel.READ_COMMITTED,
            "connect_timeout": LOCK_TIMEOUT,
            # The server's default may be off, which confirms a commit that a crash then loses.
            "options": f"{limits} -c synchronous_commit=on {own.get('options', '')}".rstrip(),
            # For data that is sent and not received, and for a connection that receives nothing.
            "tcp_user_timeout": NETWORK_TIMEOUT * 1000,
            "keepalives_idle": NETWORK_TIMEOUT // 3,
            "keepalives_interval": NETWORK_TIMEOUT // 3,
            "keepalives_count": 2,
        }
    )
    return settings
