"""The whole test suite, `./manage_all.sh test`: one pytest run for each suite, several side by side.

    python -m tests.suites [ARG...]     arguments go to each pytest

What each run prints is in var/test/NAME.log, and is shown if it fails. With `COVERAGE=required` each project's branch
coverage is measured too, over all of its suites, and has to be 95 % at least.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests.postgres import programs

ROOT = Path(__file__).resolve().parents[1]
LOGS = Path(os.environ.get("GATEHOUSE_VAR") or ROOT / "var") / "test"
PYTHON = sys.executable
NOTHING_CHOSEN = 5  # pytest's exit status
LEAST_COVERAGE = 95
# More side by side is no faster: the longest takes about half of the time that two at a time need for all.
MOST_AT_ONCE = 4
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Return where it is installed."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


@dataclass(frozen=True)
class Suite:
    """One pytest run; `project` is the one whose settings it has and to whose coverage it counts."""

    name: str
    folders: tuple[str, ...]
    project: str = ""
    on_postgres: bool = False
    # Whether all of its tests are long, so that it is left out unless arguments choose what runs.
    long: bool = False

    @property
    def command(self) -> list[str]:
        settings = "shop.settings" if self.project == "chassis" else f"{self.project}_project.settings"
        django = [f"--ds={settings}"] if self.project else ["-p", "no:django"]
        server = [PYTHON, "-m", "tests.postgres", f"{self.project.upper()}_DATABASE_URL"] if self.on_postgres else []
        return [*server, PYTHON, "-m", "pytest", f"--config-file={ROOT}/pyproject.toml", *django, *self.folders]

    def coverage(self) -> list[str]:
        """Return the arguments with which its project is measured."""
        if not self.project:
            return []
        if self.project == "chassis":
            return ["--cov=chassis/src", "--cov-branch", "--cov-report="]
        return [f"--cov={self.project}", f"--cov={self.project}_project", "--cov-branch", "--cov-report="]

    def missing(self, arguments: Sequence[str] = ()) -> str:
        """Return why the suite is left out; nothing if it runs."""
        if self.long and not arguments:
            return "it takes long: -m long"
        if self.on_postgres and os.environ.get("POSTGRES_TESTS") != "required" and not programs():
            return "PostgreSQL is not installed"
        if self.name == "browser" and os.environ.get("BROWSER_TESTS") != "required" and not find_chromium():
            return "Chromium is not installed"
        return ""


# The longest first.
SUITES = (
    Suite("conformance", ("tests/conformance",), "gateway"),
    Suite("users", ("tests/users",), "users"),
    Suite("system", ("tests/system", "tests/bench")),
    Suite("orders", ("tests/orders",), "orders"),
    Suite("users on PostgreSQL", ("tests/users",), "users", on_postgres=True),
    Suite("gateway", ("tests/gateway",), "gateway"),
    Suite("orders on PostgreSQL", ("tests/orders",), "orders", on_postgres=True),
    Suite("chassis", ("chassis/tests",), "chassis"),
    Suite("browser", ("tests/browser",)),
    Suite("gateway on PostgreSQL", ("tests/gateway/identity",), "gateway", on_postgres=True),
    Suite("soak", ("tests/soak",), "gateway", long=True),
)


@dataclass(frozen=True)
class Run:
    """How a suite went."""

    suite: Suite
    status: int
    log: Path

    @property
    def summary(self) -> str:
        """The last line that pytest has printed."""
        lines = self.log.read_text(errors="replace").splitlines()
        found = [line for line in lines if re.search(r" in [0-9.]+s", line)] or lines[-1:] or ["printed nothing"]
        return found[-1].strip("= ")


def environment() -> dict[str, str]:
    """Return the environment without the stack's own settings, of which tests have theirs."""
    settings = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    kept = {"GATEHOUSE_VAR", "GATEHOUSE_VENV"}
    return {name: value for name, value in os.environ.items() if name not in settings - kept}


def run(suite: Suite, arguments: list[str], measured: bool, logs: Path) -> Run:
    """Run one suite."""
    name = suite.name.replace(" ", "-").lower()
    log = logs / f"{name}.log"
    environ = environment() | {"COVERAGE_FILE": str(logs / f"coverage.{suite.project}.{name}")}
    with log.open("wb") as output:
        done = subprocess.run(
            [*suite.command, *(suite.coverage() if measured else []), *arguments],
            cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
        )  # fmt: skip
    return Run(suite, done.returncode, log)


def run_all(suites: list[Suite], arguments: list[str], measured: bool, logs: Path) -> Iterator[Run]:
    """Run them, several at a time, and yield each as it ends."""
    threads = ThreadPoolExecutor(min(len(os.sched_getaffinity(0)), MOST_AT_ONCE))
    try:
        started = [threads.submit(run, suite, arguments, measured, logs) for suite in suites]
        yield from (done.result() for done in as_completed(started))
    finally:
        # At Ctrl-C each pytest ends what it has started, and no other begins.
        threads.shutdown(cancel_futures=True)


def is_covered(project: str, logs: Path) -> bool:
    """Print what of the project no test reaches; return whether that is little enough."""
    environ = environment() | {"COVERAGE_FILE": str(logs / f"coverage.{project}")}
    files = [str(path) for path in logs.glob(f"coverage.{project}.*")]
    coverage = [PYTHON, "-m", "coverage"]
    subprocess.run([*coverage, "combine", "--quiet", *files], cwd=ROOT, env=environ, check=True)
    # Only what is its own: processes that a test starts are measured whole, with what they import of the chassis.
    own = "chassis/src/*" if project == "chassis" else f"{project}_project/*"
    report = [*coverage, "report", f"--include={own}", f"--fail-under={LEAST_COVERAGE}"]
    return subprocess.run(report, cwd=ROOT, env=environ, check=False).returncode == 0


def say(text: str) -> None:
    """Print it at once: a suite takes minutes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: list[str], chosen: Sequence[Suite] = SUITES, logs: Path = LOGS) -> int:
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    measured = os.environ.get("COVERAGE") == "required"
    suites = [suite for suite in chosen if not suite.missing(arguments)]
    say(f"{len(suites)} suites; what each prints is in {logs}")
    failed = []
    for done in run_all(suites, arguments, measured, logs):
        if done.status != 0 and not (done.status == NOTHING_CHOSEN and arguments):
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
