"""Runs all tests, `./manage_all.sh test`: one pytest for each suite, several side by side.

    python -m tests.suites [SUITE...] [ARG...]     the suites of these names, or all; other arguments go to each pytest

The output of each run is in var/test/NAME.log, and is printed if the run fails. With `COVERAGE=required` the branch
coverage of each project, over all of its suites, must be at least 95 %.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from tests.postgres import programs

ROOT = Path(__file__).resolve().parents[1]
LOGS = Path(os.environ.get("GATEHOUSE_VAR") or ROOT / "var") / "test"
PYTHON = sys.executable
NOTHING_SELECTED = 5  # pytest's exit status
LEAST_COVERAGE = 95
# Two more than there are cores: a good part of a suite's time is waiting, for deadlines, for processes, for disks.
MORE_THAN_CORES, MAX_AT_ONCE = 2, 8
# What the longest files of the suites with parts take, in seconds, and what any other takes. The figures only balance
# the parts, so they may be rough.
SECONDS = {
    "system/test_operations.py": 40, "system/test_start.py": 35, "system/test_night.py": 35,
    "system/test_revocation.py": 30, "system/test_rotation.py": 30, "system/test_settings.py": 25,
    "system/test_manage.py": 25, "system/test_service.py": 25, "system/test_attacks.py": 25,
    "system/test_django.py": 22, "system/test_life.py": 20, "system/test_migrate.py": 18,
    "system/test_documents.py": 12, "system/test_listening.py": 10, "system/test_readme.py": 10,
    "conformance/test_resilience.py": 50, "conformance/test_audit.py": 40, "conformance/test_addresses.py": 40,
    "conformance/test_watching.py": 35, "conformance/test_stopping.py": 35, "conformance/test_spans.py": 30,
    "conformance/test_shared_limits.py": 25, "conformance/test_explaining.py": 25,
    "conformance/test_conformance.py": 25, "conformance/test_faults.py": 15, "conformance/test_api_pages.py": 15,
    "conformance/test_websockets.py": 15,
    "gateway/test_history.py": 35, "identity/test_attempts.py": 25, "identity/test_storage.py": 15,
    "upstreams/test_health_checks.py": 15, "gateway/test_callers.py": 12, "identity/test_api.py": 12,
    "gateway/test_commands.py": 10, "identity/test_revocations.py": 8,
}  # fmt: skip
OTHERS = 3
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Return the path of Chromium, if it is installed."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


@dataclass(frozen=True)
class Suite:
    """One pytest run, with the settings of `project`, to whose coverage it counts."""

    name: str
    folders: tuple[str, ...]
    project: str = ""
    on_postgres: bool = False
    # Whether all of its tests are long, so that it is left out unless arguments choose what runs.
    long: bool = False
    # Why it runs only if it is named.
    on_demand: str = ""
    # So many runs, side by side, share its files.
    parts: int = 1

    def split(self) -> "list[Suite]":
        """Return its parts."""
        if self.parts == 1:
            return [self]
        paths = sorted(path for folder in self.folders for path in (ROOT / folder).rglob("test_*.py"))
        seconds = {str(path): SECONDS.get(f"{path.parent.name}/{path.name}", OTHERS) for path in paths}
        parts: list[list[str]] = [[] for _ in range(self.parts)]
        # The longest first, each to the part that has the least so far.
        for path in sorted(seconds, key=lambda path: -seconds[path]):
            min(parts, key=lambda part: sum(seconds[each] for each in part)).append(path)
        names = [f"{self.name} {number}/{self.parts}" for number in range(1, self.parts + 1)]
        return [
            replace(self, name=name, folders=tuple(sorted(part)), parts=1)
            for name, part in zip(names, parts, strict=True)
        ]

    @property
    def command(self) -> list[str]:
        settings = "shop.settings" if self.project == "chassis" else f"{self.project}_project.settings"
        django = [f"--ds={settings}"] if self.project else ["-p", "no:django"]
        server = [PYTHON, "-m", "tests.postgres", f"{self.project.upper()}_DATABASE_URL"] if self.on_postgres else []
        return [*server, PYTHON, "-m", "pytest", f"--config-file={ROOT}/pyproject.toml", *django, *self.folders]

    def coverage(self) -> list[str]:
        """Return the arguments that measure the project's coverage."""
        if not self.project:
            return []
        if self.project == "chassis":
            return ["--cov=chassis/src", "--cov-branch", "--cov-report="]
        return [f"--cov={self.project}", f"--cov={self.project}_project", "--cov-branch", "--cov-report="]

    def missing(self, arguments: Sequence[str] = ()) -> str:
        """Return why the suite is left out; nothing if it runs."""
        if self.on_demand:
            return f"{self.on_demand}: ./manage_all.sh test {self.name}"
        if self.long and not arguments:
            return "it takes long: -m long"
        if self.on_postgres and os.environ.get("POSTGRES_TESTS") != "required" and not programs():
            return "PostgreSQL is not installed"
        if self.name == "browser" and os.environ.get("BROWSER_TESTS") != "required" and not find_chromium():
            return "Chromium is not installed"
        return ""


# The longest first, so that none begins when all others are done.
SUITES = (
    Suite("soak", ("tests/soak",), "gateway", long=True),
    Suite("browser", ("tests/browser",)),
    Suite("system", ("tests/system", "tests/bench"), parts=3),
    Suite("conformance", ("tests/conformance",), "gateway", parts=3),
    Suite("gateway", ("tests/gateway",), "gateway", parts=2),
    Suite("users", ("tests/users",), "users"),
    Suite("orders", ("tests/orders",), "orders"),
    Suite("gateway on PostgreSQL", ("tests/gateway/identity",), "gateway", on_postgres=True),
    Suite("users on PostgreSQL", ("tests/users",), "users", on_postgres=True),
    Suite("orders on PostgreSQL", ("tests/orders",), "orders", on_postgres=True),
    Suite("chassis", ("chassis/tests",), "chassis"),
    Suite("deploy", ("tests/deploy",), on_demand="it installs tools"),
    Suite("compose", ("tests/compose",), on_demand="it needs Docker"),
)


@dataclass(frozen=True)
class Run:
    """The result of a suite."""

    suite: Suite
    status: int
    log: Path

    @property
    def summary(self) -> str:
        """The last line of pytest's output."""
        lines = self.log.read_text(errors="replace").splitlines()
        found = [line for line in lines if re.search(r" in [0-9.]+s", line)] or lines[-1:] or ["printed nothing"]
        return found[-1].strip("= ")


def environment() -> dict[str, str]:
    """Return the environment without the settings of a stack: tests set their own."""
    settings = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    kept = {"GATEHOUSE_VAR", "GATEHOUSE_VENV"}
    return {name: value for name, value in os.environ.items() if name not in settings - kept}


def run(suite: Suite, arguments: list[str], measured: bool, logs: Path) -> Run:
    """Run one suite."""
    name = suite.name.replace(" ", "-").replace("/", "-of-").lower()
    log = logs / f"{name}.log"
    environ = environment() | {"COVERAGE_FILE": str(logs / f"coverage.{suite.project}.{name}")}
    with log.open("wb") as output:
        done = subprocess.run(
            [*suite.command, *(suite.coverage() if measured else []), *arguments],
            cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
        )  # fmt: skip
    return Run(suite, done.returncode, log)


def run_all(suites: list[Suite], arguments: list[str], measured: bool, logs: Path) -> Iterator[Run]:
    """Run the suites, several at a time, and yield each result as it ends."""
    cores = len(os.sched_getaffinity(0))
    threads = ThreadPoolExecutor(min(cores + MORE_THAN_CORES, MAX_AT_ONCE))
    try:
        started = [threads.submit(run, suite, arguments, measured, logs) for suite in suites]
        yield from (done.result() for done in as_completed(started))
    finally:
        # At Ctrl-C each pytest stops its processes, and no further suite starts.
        threads.shutdown(cancel_futures=True)


def is_covered(project: str, logs: Path) -> bool:
    """Print the coverage report of the project; return whether the coverage suffices."""
    environ = environment() | {"COVERAGE_FILE": str(logs / f"coverage.{project}")}
    files = [str(path) for path in logs.glob(f"coverage.{project}.*")]
    coverage = [PYTHON, "-m", "coverage"]
    subprocess.run([*coverage, "combine", "--quiet", *files], cwd=ROOT, env=environ, check=True)
    # Without the chassis: the processes of a test are measured with everything that they import.
    own = "chassis/src/*" if project == "chassis" else f"{project}_project/*"
    report = [*coverage, "report", f"--include={own}", f"--fail-under={LEAST_COVERAGE}"]
    return subprocess.run(report, cwd=ROOT, env=environ, check=False).returncode == 0


def say(text: str) -> None:
    """Print a line without buffering: a suite takes minutes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: list[str], chosen: Sequence[Suite] = SUITES, logs: Path = LOGS) -> int:
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    measured = os.environ.get("COVERAGE") == "required"
    named = {suite.name: replace(suite, on_demand="") for suite in chosen}
    if names := list(itertools.takewhile(named.__contains__, arguments)):
        chosen, arguments = [named[name] for name in names], arguments[len(names) :]
    suites = [part for suite in chosen if not suite.missing(arguments) for part in suite.split()]
    say(f"{len(suites)} suites; what each prints is in {logs}")
    failed = []
    for done in run_all(suites, arguments, measured, logs):
        if done.status != 0 and not (done.status == NOTHING_SELECTED and arguments):
            failed.append(done.suite.name)
            say(f"\n== {done.suite.name}\n{done.log.read_text(errors='replace')}")
        say(f"{done.suite.name}: {done.summary}")
    if measured:
        projects = sorted({suite.project for suite in suites if suite.project})
        failed += [f"coverage of {project}" for project in projects if not is_covered(project, logs)]
    for suite in chosen:
        if missing := suite.missing(arguments):
            say(f"left out: {suite.name} ({missing})")
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
