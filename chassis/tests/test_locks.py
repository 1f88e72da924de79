import threading

import pytest

from chassis.locks import FileLock, LockError
from chassis.problems import Unavailable


def test_one_thread_at_a_time_holds_the_lock_and_others_wait_with_a_bound(tmp_path):
    lock = FileLock(tmp_path / "lock", 8)
    refused = []

    def other() -> None:
        try:
            with lock.held(timeout=0.05):
                refused.append("held")
        except Unavailable:
            refused.append("refused")

    with lock.held():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert refused == ["refused"]
    with lock.held(timeout=0):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_one_process_at_a_time_holds_the_lock(tmp_path):
    """`flock` belongs to the open file, so a second lock of the same path stands for another process."""
    other = FileLock(tmp_path / "lock", 8).held(timeout=0.02)
    with FileLock(tmp_path / "lock", 8).held(), pytest.raises(Unavailable), other:
        pytest.fail("held twice")


def test_a_file_that_cannot_be_opened_is_503_with_the_reason_for_the_log(tmp_path):
    lock = FileLock(tmp_path, 8)
    for _ in range(2):  # the mutex is free again
        with (
            pytest.raises(LockError, match=f"{tmp_path}: the lock file cannot be opened: Is a directory") as error,
            lock.held(),
        ):
            pytest.fail("held")
    assert error.value.status_code == 503
    assert str(tmp_path) not in str(error.value.detail)
