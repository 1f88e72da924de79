import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from chassis.databases import StorageFull
from chassis.problems import Unavailable
from users import record as records
from users.record import Extent, JournalError, UnsettledError

from .conftest import PROJECT, settle

pytestmark = pytest.mark.record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lines.jsonl"


def extent(*lines: bytes) -> Extent:
    found = Extent()
    for line in lines:
        found = found.after(line)
    return found


def test_an_extent_says_bytes_lines_and_a_digest_that_depends_on_the_order():
    found = extent(b"a\n", b"bc\n")
    assert (found.offset, found.lines) == (5, 2)
    assert found.digest != extent(b"bc\n", b"a\n").digest


def test_what_is_appended_is_there_and_only_the_owner_may_read_it(path):
    identity = records.append(path, "", b"1\n")
    identity = records.append(path, identity, b"2\n3\n")
    assert path.read_bytes() == b"1\n2\n3\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert identity == records.identity(path)


@pytest.mark.parametrize("edit", [b"1\n2\n", b""], ids=["longer", "shorter"])
def test_an_append_to_another_record_than_expected_writes_nothing(path, edit):
    identity = records.append(path, "", b"1\n")
    path.write_bytes(edit)
    with pytest.raises(Unavailable):
        records.append(path, identity, b"3\n")
    assert path.read_bytes() == edit


def test_an_append_to_a_record_that_should_not_be_there_writes_nothing(path):
    path.write_bytes(b"1\n")
    with pytest.raises(Unavailable):
        records.append(path, "", b"2\n")
    assert path.read_bytes() == b"1\n"


def test_an_append_to_a_record_that_is_replaced_meanwhile_is_not_answered_with_success(path, monkeypatch):
    identity = records.append(path, "", b"1\n")

    def replaced_by_an_editor(descriptor: int) -> None:
        os.fdatasync(descriptor)
        (path.parent / "saved").write_bytes(b"0\n")
        (path.parent / "saved").replace(path)

    monkeypatch.setattr(records.os, "fsync", replaced_by_an_editor)
    with pytest.raises(Unavailable):
        records.append(path, identity, b"2\n")


def test_a_full_disk_leaves_the_record_as_it_was(path):
    """The limit on the size of a file makes the kernel take a part of the line, then refuse the rest."""
    source = f"""
import resource, sys
from pathlib import Path
from django.conf import settings
settings.configure()
from users import record
path = Path({str(path)!r})
identity = record.append(path, "", b"x" * 99 + b"\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (120, 120))
try:
    record.append(path, identity, b"y" * 99 + b"\\n")
except record.StorageFull:
    sys.exit(7)
"""
    done = subprocess.run(
        [sys.executable, "-c", source], check=False, cwd=PROJECT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 7, done.stderr
    assert path.read_bytes() == b"x" * 99 + b"\n"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 120


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EFBIG, StorageFull), (errno.EIO, Unavailable)],
)
def test_a_failed_fsync_leaves_the_record_as_it_was(path, monkeypatch, number, error):
    identity = records.append(path, "", b"1\n")

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(records.os, "fsync", fail)
    with pytest.raises(error):
        records.append(path, identity, b"2\n")
    assert path.read_bytes() == b"1\n"


# What a power cut leaves


@pytest.fixture
def calls(path, monkeypatch) -> list[str]:
    """What is asked of the disk, in order; of a file that is synced, with how long it is then."""
    told: list[str] = []

    def tell(name: str) -> None:
        real = getattr(os, name)

        def call(what, *args):
            where = Path(f"/proc/self/fd/{what}").readlink() if isinstance(what, int) else Path(what)
            size = f" of {where.stat().st_size}" if name == "fsync" and where.is_file() else ""
            told.append(f"{name} {where.name if where != path.parent else 'names'}{size}")
            return real(what, *args)

        monkeypatch.setattr(records.os, name, call)

    for name in ("write", "fsync", "ftruncate", "unlink"):
        tell(name)
    return told


def test_a_first_line_is_on_disk_with_the_name_of_the_file(path, calls):
    records.append(path, "", b"1\n")
    assert calls[:3] == ["write lines.jsonl", "fsync lines.jsonl of 2", "fsync names"]


def test_the_copy_of_several_lines_is_on_disk_with_its_name_before_the_first_of_them(path, calls):
    identity = records.append(path, "", b"1\n")
    calls.clear()
    records.append(path, identity, b"2\n3\n")
    copy = ["fsync lines.batch of 6", "fsync names"]
    assert calls == [*copy, "write lines.jsonl", "fsync lines.jsonl of 6", "unlink lines.batch"]


def test_what_was_cut_off_after_a_failure_does_not_come_back(path, calls, monkeypatch):
    identity = records.append(path, "", b"1\n")
    calls.clear()

    def half(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(records, "write_all", half)
    with pytest.raises(StorageFull):
        records.append(path, identity, b"2\n3\n")
    assert calls[3:] == ["ftruncate lines.jsonl", "fsync lines.jsonl of 2", "unlink lines.batch"]


def test_what_a_crash_left_of_several_lines_is_cut_off_on_disk_before_their_copy_goes(path, calls):
    left_by_a_crash(path, kept=3)
    calls.clear()
    records.take_back_part(path)
    assert calls == ["ftruncate lines.jsonl", "fsync lines.jsonl of 2", "unlink lines.batch"]


def test_a_replacement_is_on_disk_before_it_has_the_name(path, calls):
    path.write_bytes(b"old\n")
    records.replace(path, records.identity(path), [b"1\n"])
    assert calls == ["fsync lines.new of 2", "fsync names"]


@pytest.mark.parametrize(
    ("content", "held"),
    [
        (b"a\nb\n", True),
        (b"a\nb\nc\n", True),
        (b"a\nB\nc\n", False),
        (b"a\n", False),
        (b"a\nb", False),
        (b"", False),
        (b"ab\n\n", False),
    ],
)
def test_a_record_holds_an_extent_when_it_begins_with_its_lines(path, content, held):
    path.write_bytes(content)
    assert records.holds(path, extent(b"a\n", b"b\n")) is held


def left_by_a_crash(path, *, kept: int) -> bytes:
    """Append three lines as far as `kept` bytes of them, with what stands beside the record then."""
    identity = records.append(path, "", b"1\n")
    batch = b"2\n3\n4\n"
    records.append(path, identity, batch)
    assert not records.batch_of(path).exists()
    records.announce(path, 2, batch)
    path.write_bytes(b"1\n" + batch[:kept])
    return batch


@pytest.mark.parametrize("kept", range(7))
def test_lines_of_one_write_are_there_all_or_not_at_all_after_a_crash(path, kept, caplog):
    batch = left_by_a_crash(path, kept=kept)
    records.take_back_part(path)
    assert path.read_bytes() == b"1\n" + (batch if kept == 6 else b"")
    assert not records.batch_of(path).exists()
    assert ("not all lines of a write" in caplog.text) is (0 < kept < 6)


@pytest.mark.parametrize("content", [b"1\n2\n3\n5\n", b"1\n2\n3\n4\n5\n", b"1\n", b"", b"1\n3\n"])
def test_a_record_that_is_not_what_such_a_crash_leaves_is_left_alone(path, content):
    left_by_a_crash(path, kept=0)
    path.write_bytes(content)
    records.take_back_part(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("torn", [b"", b"2", b"2\n", b"2\n2\n3", b"x\n2\n", b"9" * 19 + b"\n2\n", b"9" * 5000])
def test_a_crash_before_the_first_of_several_lines_leaves_the_record_as_it_was(path, torn):
    path.write_bytes(b"1\n")
    records.batch_of(path).write_bytes(torn)
    records.take_back_part(path)
    assert path.read_bytes() == b"1\n"
    assert not records.batch_of(path).exists()


def test_only_the_owner_may_read_the_copy_of_several_lines(path):
    left_by_a_crash(path, kept=0)
    assert records.batch_of(path).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("length", [1, 10, 65535, 65536, 65537, 200_000])
def test_the_last_line_is_found_whatever_its_length(path, length):
    line = b"x" * length
    for ending in (b"", b"\n"):
        path.write_bytes(b"first\nsecond\n" + line + ending)
        assert records.last_line(path) == (13, line + ending)
        path.write_bytes(line + ending)
        assert records.last_line(path) == (0, line + ending)


@pytest.mark.parametrize(
    ("content", "settled"),
    [
        (b"", b""),
        (b"{}\n", b"{}\n"),
        (b'{"a": 1}', b'{"a": 1}\n'),
        (b'{}\n{"a": 1}', b'{}\n{"a": 1}\n'),
        (b'{}\n{"a": ', b"{}\n"),
        (b'{"a": ', b""),
        (b"{}\n1", b"{}\n"),
        (b"{}\n \t", b"{}\n \t\n"),
        (b"{}\n\0\0\0\0", b"{}\n"),
        (b"{}\n\xff", b"{}\n"),
        (b"{}\n" + b"[" * 100_000, b"{}\n"),
    ],
)
def test_a_torn_last_line_is_cut_off_and_a_whole_one_is_ended(path, content, settled):
    path.write_bytes(content)
    settle(path)
    records.settle(path, may_cut=True)
    assert path.read_bytes() == settled


def test_a_torn_last_line_that_someone_may_be_writing_is_left_alone(path):
    path.write_bytes(b'{}\n{"a": ')
    with pytest.raises(UnsettledError, match="once nobody has written it for 2 s"):
        records.settle(path, may_cut=True)
    assert path.read_bytes() == b'{}\n{"a": '


def test_a_line_that_was_whole_is_never_cut(path):
    path.write_bytes(b'{}\n{"a": ')
    settle(path)
    with pytest.raises(JournalError) as error:
        records.settle(path, may_cut=False)
    assert str(error.value).startswith(f"{path}:2: The last line is not a whole JSON object. Put the file back")
    assert path.read_bytes() == b'{}\n{"a": '


def test_replacing_leaves_a_record_of_the_lines_that_only_the_owner_may_read(path):
    path.write_bytes(b"old\n")
    assert records.replace(path, records.identity(path), [b"1\n", b"2\n"]) == extent(b"1\n", b"2\n")
    assert path.read_bytes() == b"1\n2\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(path.parent.glob("*.new"))


def test_a_replacement_that_fails_leaves_nothing_beside_the_record(path):
    path.write_bytes(b"old\n")

    def lines():
        yield b"1\n"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        records.replace(path, records.identity(path), lines())
    assert [each.name for each in path.parent.glob("lines*")] == [path.name]
    assert path.read_bytes() == b"old\n"
