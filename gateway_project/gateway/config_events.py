"""Which gateway.yaml was taken up or rejected, on its way from gunicorn's master to the audit trail.

The master forks, so it has no connection to the database. It writes each event to a file of its own, and the first
worker that sees the file records the event. An event that no worker has taken yet survives a restart; a worker
that is killed while it records one loses it.
"""

import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

log = logging.getLogger(__name__)
FOLDER: Final = "config-events"
SUFFIX: Final = ".json"


class ConfigEvent(NamedTuple):
    """What happened, when (seconds since 1970), by what (`start`, `reload`, `SIGHUP` or `watch`), and details."""

    event: str
    at: float
    by: str
    detail: str


def put(state: Path, event: str, *, by: str, detail: str) -> None:
    """Leave an event for the workers. A full disk must not stop the master."""
    folder = state / FOLDER
    content = json.dumps(ConfigEvent(event, time.time(), by, detail)._asdict())
    written = folder / f"{time.time_ns()}.new"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        written.write_text(content)
        written.rename(written.with_suffix(SUFFIX))
    except OSError as exc:
        log.error("Not in the audit trail: %s; %s", content, exc)  # noqa: TRY400  # the line has it all


def are_waiting(state: Path) -> bool:
    return any((state / FOLDER).glob(f"*{SUFFIX}"))


def take(state: Path, record: Callable[[ConfigEvent], None]) -> None:
    """Record the events that no other worker takes. One that cannot be recorded stays for the next call."""
    for path in sorted((state / FOLDER).glob(f"*{SUFFIX}")):
        taken = path.with_suffix(f".{os.getpid()}")
        with suppress(FileNotFoundError):
            path.rename(taken)
            try:
                record(ConfigEvent(**json.loads(taken.read_text())))
            except Exception:
                taken.rename(path)
                raise
            taken.unlink()
