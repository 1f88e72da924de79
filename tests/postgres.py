"""A real PostgreSQL for tests, in a temporary directory, on a Unix socket only.

    python -m tests.postgres USERS_DATABASE_URL COMMAND…

sets the variable to the URL of an empty database, runs the command, and stops the server. It exits with the status of
the command, or with 69 (EX_UNAVAILABLE of sysexits.h) if PostgreSQL is not installed.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

UNAVAILABLE = 69
DEADLINE = 60.0
USER = "gatehouse"


def programs() -> Path | None:
    """Return the directory of the newest PostgreSQL's programs, Debian's or one in PATH, if there is one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    in_path = shutil.which("initdb")
    return Path(in_path).resolve().parent if in_path else None


class Postgres:
    """A server, as a context manager. It does not sync to disk, since its data ends with the test."""

    def __init__(self) -> None:
        bin_directory = programs()
        if bin_directory is None:
            raise LookupError("no PostgreSQL is installed (Debian: apt-get install postgresql)")
        self.bin = bin_directory
        # A short path: the path of a socket has at most 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="pg-"))
        self.process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root.
        self.account = "postgres" if os.geteuid() == 0 else None
        if self.account:
            entry = pwd.getpwnam(self.account)
            os.chown(self.directory, entry.pw_uid, entry.pw_gid)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self.directory)

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGINT)  # ends sessions and itself
            self.process.wait(DEADLINE)

    def command(self, name: str, *arguments: str) -> list[str]:
        return [str(self.bin / name), *arguments]

    def as_account(self) -> dict[str, object]:
        """Return the arguments of `subprocess` for an account that PostgreSQL accepts."""
        own: dict[str, object] = {"cwd": self.directory}
        return own | {"user": self.account, "group": self.account, "extra_groups": []} if self.account else own

    def start(self) -> None:
        data = str(self.directory / "data")
        options = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", f"--username={USER}"]
        initdb = self.command("initdb", f"--pgdata={data}", *options)
        done = subprocess.run(initdb, check=False, capture_output=True, text=True, **self.as_account())
        assert done.returncode == 0, done.stderr
        self.serve()

    def serve(self) -> None:
        """Start the server on its data, also after `stop`."""
        data = str(self.directory / "data")
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.directory), "max_connections": "200"}
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command("postgres", "-D", data, *arguments),
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C stops the tests, which need the server until they end
                **self.as_account(),
            )
        deadline = time.monotonic() + DEADLINE
        while subprocess.run(self.client("pg_isready", "--quiet"), check=False).returncode != 0:
            assert self.process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def client(self, name: str, *arguments: str) -> list[str]:
        return self.command(name, f"--host={self.directory}", f"--username={USER}", *arguments)

    def database(self, name: str) -> str:
        """Create an empty database and return its URL."""
        subprocess.run(self.client("createdb", name), check=True)
        return f"postgres://{USER}@{quote(str(self.directory), safe='')}/{name}"


def main(variable: str, *command: str) -> int:
    try:
        server = Postgres()
    except LookupError as exc:
        sys.stderr.write(f"{exc}\n")
        return UNAVAILABLE
    with server:
        url = server.database("test")
        process = subprocess.Popen(command, env=os.environ | {variable: url})
        # Ctrl-C reaches the command too; the server stops after it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))
        return process.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
