"""The engine that CI starts for the suite `compose`: when it cannot have one, and what it may stop."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.compose.engine import PROBE, UNAVAILABLE
from tests.system.stack import ROOT

# As another user after the imports, which such a user may not be allowed.
AS_NOBODY = "import os, sys; from tests.compose import engine; os.seteuid(65534); sys.exit(engine.main('start'))"


def engine(*arguments: str, directory: Path, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"GATEHOUSE_VAR": str(directory), "PATH": path, "DOCKER_CONFIG": str(directory / "docker")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environ, check=False, capture_output=True, text=True
    )


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a directory to be PATH: it has no engine and no apt-get."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def test_without_root_no_engine_is_started_and_the_reason_is_printed(tmp_path: Path, programs: Path) -> None:
    done = engine("-c", AS_NOBODY, directory=tmp_path, path=str(programs))
    assert (done.returncode, done.stdout) == (UNAVAILABLE, "no engine responds, and only root can start one\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets so far")
def test_without_packages_no_engine_is_started_and_the_reason_is_printed(tmp_path: Path, programs: Path) -> None:
    done = engine("-m", "tests.compose.engine", "start", directory=tmp_path, path=str(programs))
    reason = "no engine is installed, and there is no apt-get to install one\n"
    assert (done.returncode, done.stdout) == (UNAVAILABLE, reason)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets so far")
def test_where_containers_cannot_run_nothing_is_installed(tmp_path: Path, programs: Path) -> None:
    for name, script in {"apt-get": f"touch {tmp_path}/installed", PROBE[0]: "echo not permitted >&2; exit 1"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    done = engine("-m", "tests.compose.engine", "start", directory=tmp_path, path=f"{programs}")
    assert done.returncode == UNAVAILABLE
    assert done.stdout.endswith("allows no containers: not permitted\n")
    assert not (tmp_path / "installed").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets so far")
def test_a_dockerd_that_ends_is_a_failure_and_the_end_of_its_log_is_printed(tmp_path: Path, programs: Path) -> None:
    # As the real one, it does not start if a process has the number in the file; it prints why otherwise.
    dockerd = 'for last; do :; done; [ ! -e "${last#--pidfile=}" ] && echo no bridge >&2; exit 1'
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "dockerd.pid").write_text(str(os.getpid()))
    for name, script in {"docker": "exit 1", PROBE[0]: "exit 0", "dockerd": dockerd}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    done = engine("-m", "tests.compose.engine", "start", directory=tmp_path, path=f"{programs}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no bridge\ndockerd has not started" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets so far")
@pytest.mark.parametrize(
    ("fault", "status"), [("iptables failed: no table nat", UNAVAILABLE), ("no space left on device", 1)]
)
def test_only_what_the_machine_lacks_is_no_failure(tmp_path: Path, programs: Path, fault: str, status: int) -> None:
    log = f"echo creating chains of iptables >&2; echo failed to start daemon: {fault} >&2; exit 1"
    for name, script in {"docker": "exit 1", PROBE[0]: "exit 0", "dockerd": log}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    done = engine("-m", "tests.compose.engine", "start", directory=tmp_path, path=f"{programs}")
    reason = f"dockerd does not start on this machine: {fault}\n" if status == UNAVAILABLE else ""
    assert (done.returncode, done.stdout) == (status, reason)


@pytest.mark.parametrize("name", ["sleep", "dockerd"])
def test_stop_leaves_a_process_alone_that_it_did_not_start(tmp_path: Path, name: str) -> None:
    (tmp_path / "engine").mkdir()
    with running("bash", "-c", f"exec -a {name} sleep 60") as process:
        (tmp_path / "engine" / "dockerd.pid").write_text(str(process.pid))
        done = engine("-m", "tests.compose.engine", "stop", directory=tmp_path)
        assert (done.returncode, done.stderr) == (0, "No engine to stop\n")
        assert process.poll() is None
