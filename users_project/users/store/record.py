"""The record, users.jsonl, as bytes: read lines, append, replace. This module does not interpret a line."""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chassis.problems import Unavailable

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# A link is rejected: after a rename, processes would follow it to different files. A pipe must not block.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class StoreError(Unavailable):
    """The record cannot be read. Clients see only the general detail; `str` is for the log: file, line and remedy."""

    default_detail = "The users cannot be read at the moment. The log has the reason."

    def __init__(self, path: Path, line: int | None, reason: str) -> None:
        super().__init__()
        self.text = f"{path}:{line}: {reason}" if line else f"{path}: {reason}"

    def __str__(self) -> str:
        return self.text


class EditedError(Unavailable):
    default_detail = "The users file was edited at the same time. Read what is stored, then try again."


@dataclass(frozen=True)
class Extent:
    """How much of a record was read: bytes, lines, and a digest in which each line is chained to those before it."""

    offset: int = 0
    lines: int = 0
    digest: str = ""

    def after(self, line: bytes) -> "Extent":
        digest = hashlib.blake2b(bytes.fromhex(self.digest) + line, digest_size=32).hexdigest()
        return Extent(self.offset + len(line), self.lines + 1, digest)


def identity(path: Path) -> str:
    """Return a value that changes whenever the file does; empty if there is none."""
    try:
        return identity_of(os.lstat(path))
    except FileNotFoundError:
        return ""


def identity_of(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def is_same_file(one: str, other: str) -> bool:
    """Return whether two identities are of one file, which may have changed in between."""
    return one.split(":")[:2] == other.split(":")[:2]


def read_lines(path: Path, extent: Extent = Extent()) -> Iterator[tuple[Extent, bytes]]:
    """Yield each whole line behind the extent, with the extent that includes it.

    An incomplete last line is a torn write or one in progress: it does not exist yet.
    """
    with os.fdopen(os.open(path, _READ), "rb") as file:
        file.seek(extent.offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            extent = extent.after(line)
            yield extent, line


def size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def truncate(path: Path, offset: int) -> None:
    """Cut the record behind the offset, durably."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW), "rb+") as file:
        os.ftruncate(file.fileno(), offset)
        os.fsync(file.fileno())


def append(path: Path, expected: str, line: bytes) -> str:
    """Append a line and wait until it is on disk; return the record's identity.

    `expected` is its identity before, empty if there is no record. Raises `EditedError`, after which the line may be in
    the record, and `OSError`, after which nothing of it is.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        before = os.fstat(descriptor)
        if expected and identity_of(before) != expected:
            raise EditedError
        try:
            if os.write(descriptor, line) < len(line):  # a regular file takes all of it, or the disk is full
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301  # cleaned up as any other
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, before.st_size)
                os.fsync(descriptor)
            raise
        after = identity_of(os.fstat(descriptor))
        appended = os.pread(descriptor, len(line) + 1, before.st_size)
    finally:
        os.close(descriptor)
    if not expected:
        sync(path.parent)
    if appended != line or identity(path) != after:
        raise EditedError
    return after


def replace(path: Path, expected: str, lines: Iterable[bytes]) -> tuple[Extent, str]:
    """Replace the record by these lines atomically; return what it is then, and its identity.

    A crash leaves the old one or the new one. Raises `OSError`, and `EditedError` if its identity is not the expected
    one: it was edited or another one put in place while the lines were written.
    """
    extent = Extent()
    fresh = path.with_suffix(".new")
    try:
        with open(fresh, "wb", opener=owner_only) as file:  # Path.open takes no opener
            for line in lines:
                file.write(line)
                extent = extent.after(line)
            file.flush()
            os.fsync(file.fileno())
        if identity(path) != expected:
            raise EditedError  # noqa: TRY301  # cleaned up as any other
        fresh.replace(path)
        replaced = identity(path)
    except BaseException:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    sync(path.parent)
    return extent, replaced


def append_all(path: Path, lines: Iterable[bytes]) -> None:
    """Append lines to another file than the record, durably. Raises `OSError`."""
    with open(path, "ab", opener=owner_only) as file:  # Path.open takes no opener
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)


def owner_only(path: str, flags: int) -> int:
    """Open for `open`: a new file is readable by its owner alone."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def sync(path: Path) -> None:
    """Wait until the file, or the names in the directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
