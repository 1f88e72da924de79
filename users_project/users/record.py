"""The record: `users.jsonl`, and the digest that tells whether it is what was read before.

    Unavailable (503)
    └── JournalError        the record cannot be read, or is not what it should be; says the file and the line
        └── UnsettledError  somebody may be in the middle of saving it

Nothing here knows what a line means.
"""

import errno
import hashlib
import json
import logging
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from chassis.databases import StorageFull
from chassis.problems import Unavailable

log = logging.getLogger(__name__)

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Seconds for which nobody wrote a file, that is then taken for saved.
SETTLED = 2.0
TORN = "The last line is not a whole JSON object."
PUT_BACK = "Put the file back, or take that line out: what is told only there is lost then."


class JournalError(Unavailable):
    """The record cannot be read. `str` says why, with file and line, for the log; a client is told nothing of it."""

    default_detail = "The users cannot be read at the moment. The log says why."

    def __init__(self, path: Path, line: int | None, what: str) -> None:
        super().__init__()
        self.where = f"{path}:{line}" if line else str(path)
        self.what = what

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class UnsettledError(JournalError):
    """The record was written by somebody else a moment ago. To look again later helps."""


@dataclass(frozen=True)
class Extent:
    """How much of a record was read: bytes, lines, and a digest over every line, each chained to those before it.

    The chain makes the digest of a longer record a matter of the new lines alone.
    """

    offset: int = 0
    lines: int = 0
    digest: str = ""

    def after(self, line: bytes) -> "Extent":
        """Return the extent that has the line too."""
        digest = hashlib.blake2b(bytes.fromhex(self.digest) + line, digest_size=32).hexdigest()
        return Extent(self.offset + len(line), self.lines + 1, digest)


def identity(path: Path) -> str:
    """Return what changes whenever the file does, or is another; `""` where there is none."""
    try:
        return identity_of(os.lstat(path))  # once a request: half the time of Path.lstat
    except FileNotFoundError:
        return ""


def identity_of(status: os.stat_result) -> str:
    """Return the identity of a file of that status."""
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def check_file(path: Path) -> None:
    """Raise `JournalError` where there is something else than a file.

    To write anew what a link leads to would take its place, or the link's; and whoever had followed it before would go
    on with another record than who comes now.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise JournalError(
            path,
            None,
            "Expected a file, got a link. Put the file itself here; to keep it elsewhere, let the directory be a link.",
        )
    if not stat.S_ISREG(mode):
        what = "directory" if stat.S_ISDIR(mode) else "pipe or device"
        raise JournalError(path, None, f"Expected a file, got a {what}.")


def restrict(path: Path) -> None:
    """Let the owner alone read it, where whoever put it there did not see to that, and it is theirs to say."""
    if path.stat().st_mode & 0o777 != 0o600:  # any chmod would make it another, by its identity
        with suppress(PermissionError):
            path.chmod(0o600)


def lost_error(path: Path) -> JournalError:
    """Return what is said where users are known and the record is empty or missing."""
    return JournalError(
        path,
        None,
        "It is empty or missing. Put the file back, or a backup of it: the index still knows which ids were "
        "given. Only to begin without any user, delete the index too: nobody knows then which ids were given, and who "
        "had them keeps their sessions; see `Restoring users` in docs/operations.md first.",
    )


def refused(path: Path, line: int, why: str) -> JournalError:
    """Return what is said of a line that cannot be read, or cannot follow those before it."""
    return JournalError(path, line, f"{why.rstrip('.')}. Mend that line, or put the file back as it was.")


def holds(path: Path, extent: Extent) -> bool:
    """Return whether the record begins with exactly the lines of the extent."""
    found = Extent()
    if extent.offset:
        with path.open("rb") as file:
            for line in file:
                found = found.after(line)
                if found.offset >= extent.offset:
                    break
    return found == extent


def lines_after(path: Path, extent: Extent) -> Iterator[tuple[Extent, bytes]]:
    """Yield each line after the extent, with the extent that ends with it; not one that is still being written."""
    with path.open("rb") as file:
        for reached, line in lines_of(file, extent):
            if line.endswith(b"\n"):
                yield reached, line


def lines_of(file: BinaryIO, extent: Extent) -> Iterator[tuple[Extent, bytes]]:
    """Yield the same of a record that is open, whatever has taken its name since; a last line without newline too."""
    file.seek(extent.offset)
    for line in file:
        extent = extent.after(line)
        yield extent, line


def last_line(path: Path) -> tuple[int, bytes]:
    """Return where the last line begins, and what it is; `(0, b"")` of an empty record."""
    with path.open("rb") as file:
        end = start = file.seek(0, os.SEEK_END)
        line = b""
        while start > 0 and b"\n" not in line[:-1]:
            start = max(0, start - 65536)
            file.seek(start)
            line = file.read(end - start)
    start += line.rfind(b"\n", 0, -1) + 1
    return start, line[line.rfind(b"\n", 0, -1) + 1 :]


def settle(path: Path, *, may_cut: bool) -> None:
    """Make the record end with a whole line.

    A line without its newline is what a crash leaves of an append, which was never answered: it is cut off. Where it is
    a whole object all the same, it may as well be an edit by a program that ends no line, so the newline is added and
    nothing is lost. Raises `JournalError` without `may_cut`, as the line was whole before, and `UnsettledError` as long
    as someone may be in the middle of writing it.
    """
    start, line = last_line(path)
    if not line or line.endswith(b"\n"):
        return
    if is_object(line) or not line.strip():
        log.warning("%s: the last line had no newline; added it", path)
        with path.open("ab") as file:
            file.write(b"\n")  # who reads it syncs it
    elif may_cut:
        check_settled(path)
        log.warning("%s: the last line was torn; cut %d bytes off at byte %d", path, len(line), start)
        cut(path, start)
    else:
        number = sum(1 for _ in lines_after(path, Extent())) + 1
        raise JournalError(path, number, f"{TORN} {PUT_BACK}")


def check_settled(path: Path) -> None:
    """Raise `UnsettledError` where somebody wrote the record just now, and may not be at the end of it."""
    if 0 <= time.time() - path.stat().st_mtime < SETTLED:
        raise UnsettledError(
            path, None, f"It is not as it was; it is read once nobody has written it for {SETTLED:.0f} s."
        )


def check_same(path: Path, expected: str) -> None:
    """Raise `UnsettledError` where the record is no longer what its `expected` identity says."""
    if identity(path) != expected:
        raise UnsettledError(path, None, "It was edited at the same time.")


def is_object(line: bytes) -> bool:
    """Return whether the line is a JSON object. No beginning of one is."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def append(path: Path, expected: str, lines: bytes) -> str:
    """Append the lines, wait until they are on disk, and return the record's identity.

    Raises `StorageFull` where they do not fit, `Unavailable` where the record is not what its `expected` identity says;
    the record is as before then, but for what others appended. Where that stands after the lines, it is theirs to be
    read: the identity is that of the record before.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            before = os.fstat(descriptor)
            if not (identity_of(before) == expected if expected else before.st_size == 0):
                raise Unavailable("The users were edited at the same time. Try again.")
            try:
                if lines.count(b"\n") > 1:
                    announce(path, before.st_size, lines)
                write_all(descriptor, lines)
                os.fsync(descriptor)
            except OSError:
                with suppress(OSError):
                    take_back(path, before.st_size, lines)
                    batch_of(path).unlink(missing_ok=True)
                raise
            after = os.fstat(descriptor)
            written = os.pread(descriptor, len(lines), before.st_size)
        finally:
            os.close(descriptor)
        if not expected:
            sync_directory(path.parent)
        batch_of(path).unlink(missing_ok=True)
        is_there = path.lstat().st_ino == after.st_ino
    except OSError as exc:
        log.error("%s: cannot append: %s", path, exc)  # noqa: TRY400  # the disk is at fault, not the code
        raise (StorageFull() if exc.errno in FULL else Unavailable()) from exc
    if not is_there or written != lines:
        raise Unavailable("The users were edited at the same time. Try again.")
    return identity_of(after if after.st_size == before.st_size + len(lines) else before)


def take_back(path: Path, offset: int, lines: bytes) -> None:
    """Take back what an append of the lines left after the offset, all of them or their beginning.

    It is cut off, or becomes an empty line where somebody else appended meanwhile: what they wrote stays.
    """
    with path.open("rb+") as file:
        file.seek(offset)
        found = file.read()
        if not found:
            return
        if lines.startswith(found):
            log.warning("%s: a write failed; cut off from byte %d", path, offset)
            os.ftruncate(file.fileno(), offset)
        elif lines in found:
            start = offset + found.index(lines)
            log.warning("%s: a write failed as somebody else wrote too; its line at byte %d is empty", path, start)
            file.seek(start)
            file.write(b"\n".rjust(len(lines)))
            file.flush()
        else:
            log.warning("%s: a write failed as somebody else wrote too; nothing is cut after byte %d", path, offset)
        os.fsync(file.fileno())


def batch_of(path: Path) -> Path:
    """Return where the copy is of several lines that are being appended."""
    return path.with_suffix(".batch")


def announce(path: Path, offset: int, lines: bytes) -> None:
    """Put a copy of several lines on disk before they are appended, as they are to be there all or not at all."""
    with open(batch_of(path), "wb", opener=owner_only) as file:  # Path.open takes no opener
        file.write(b"%d\n" % offset + lines)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)


def take_back_part(path: Path) -> None:
    """Cut off what a crash left of several lines of one writer, where not all of them are there."""
    try:
        offset, _, lines = batch_of(path).read_bytes().partition(b"\n")
    except (FileNotFoundError, IsADirectoryError):
        return
    # Else the crash was before the first of them; or it is none of ours.
    if offset.isdigit() and len(offset) < len(str(sys.maxsize)):
        with path.open("rb") as file:
            file.seek(int(offset))
            found = file.read(len(lines) + 1)
        if found and found != lines and lines.startswith(found):
            log.warning("%s: not all lines of a write were there; cut off from byte %d", path, int(offset))
            cut(path, int(offset))
    batch_of(path).unlink()


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it; the system may take it in parts."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def cut(path: Path, length: int) -> None:
    """Cut the record back to that many bytes, on disk."""
    with path.open("rb+") as file:
        os.ftruncate(file.fileno(), length)
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until the record is on disk, with its name. It may be one that can only be read."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_directory(path.parent)


def replace(path: Path, expected: str, lines: Iterable[bytes]) -> Extent:
    """Put a record of those lines in the place of this one, atomically: a crash leaves the one or the other.

    Raises `UnsettledError` where this one is no longer what its `expected` identity says.
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
        check_same(path, expected)
        fresh.replace(path)
    except BaseException:  # what it takes of a full disk is not to stay
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
    return extent


def owner_only(path: str, flags: int) -> int:
    """Open for `open`, a new file with the permissions of a record."""
    return os.open(path, flags, 0o600)


def sync_directory(path: Path) -> None:
    """Wait until the names in the directory are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
