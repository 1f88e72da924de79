"""Whether a file has changed, by looks at its inode, size and time.

A look costs a microsecond, sees a symbolic link that now leads elsewhere (a ConfigMap's), and works on network file
systems and container mounts, where the kernel reports no changes. It needs no thread in a process that forks.
"""

from pathlib import Path
from typing import Final

# Seconds between two looks.
INTERVAL: Final = 0.25
Signature = tuple[int, int, int, int] | None


def signature(path: Path) -> Signature:
    """Return what changes with the file, `None` without a file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class WatchedFile:
    """A file that is looked at repeatedly."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen = signature(path)
        # What the last look found, if that is another file: it may still be written.
        self.found = self.seen

    def has_changed(self) -> bool:
        """Return whether there is another file since the last true result, which two looks have found alike."""
        before, self.found = self.found, signature(self.path)
        if self.found == self.seen or self.found != before:
            return False
        self.seen = self.found
        return True
