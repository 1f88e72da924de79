"""Errors of the store, beside those of databases (`chassis.databases`).

Unavailable (503)
└── StoreError          the record cannot be read; `str` names the file and the line, for the log
"""

from pathlib import Path

from chassis.problems import Unavailable


class StoreError(Unavailable):
    """The record cannot be read. Clients see only the general detail; the log has file, line and remedy."""

    default_detail = "The users cannot be read at the moment. The log has the reason."

    def __init__(self, path: Path, line: int | None, reason: str) -> None:
        super().__init__()
        self.path, self.line, self.reason = path, line, reason

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{where}: {self.reason}"
