"""docs/course, typed from its first step to its last, in one shell."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ports import free_port
from tests.system.documents import assert_output, typed
from tests.system.stack import ROOT, Stack
from tests.waiting import DEADLINE, ENDED_WITHIN

COURSE = ROOT / "docs" / "course"
STEPS = sorted((path.name for path in COURSE.glob("[0-9]*.md")), key=lambda name: int(name.partition("-")[0]))
BLOCK = re.compile(r"^```(console|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Printed after each command.
END = "@@@"


class Course:
    """A learner's terminal, in a folder that looks like the checkout."""

    def __init__(self, folder: Path) -> None:
        self.stack = Stack(folder / "var", {"GATEWAY_WORKERS": "1", "USERS_WORKERS": "1"})
        self.ports = {8001: self.stack.ports["gateway"], 8002: self.stack.ports["users"]}
        self.ports |= {port: free_port() for port in (9001, 9002, 9003, 9004)}
        self.stack.var.mkdir()
        (folder / "manage_all.sh").write_text(f'#!/bin/sh\nexec "{ROOT}/manage_all.sh" "$@"\n')
        (folder / "manage_all.sh").chmod(0o755)
        (folder / "docs").symlink_to(ROOT / "docs")
        (folder / ".venv").symlink_to(sys.prefix)
        environ = self.stack.environ | {
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "GATEWAY": f"http://127.0.0.1:{self.ports[8001]}",
        }
        with (folder / "stderr").open("w") as errors:
            self.shell = subprocess.Popen(
                ["bash"], cwd=folder, env=environ, text=True, bufsize=1,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip

    def here(self, text: str) -> str:
        """Return the text with this test's ports, and more time for what a busy machine does later."""
        text = text.replace("sleep 2\n", f"sleep {ENDED_WITHIN}\n")
        for default, port in self.ports.items():
            text = re.sub(rf"\b{default}\b", str(port), text)
        return text

    def type(self, command: str) -> str:
        """Type a command; return what it prints."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        # A command that hangs ends the test.
        watchdog = threading.Timer(DEADLINE * 2, self.shell.kill)
        watchdog.start()
        own = self.here(f"{command}\n")
        self.shell.stdin.write(f"{own}printf '\\n{END}\\n'\n")
        output = ""
        while not output.endswith(f"\n{END}\n"):
            line = self.shell.stdout.readline()
            assert line, f"the shell ended: {command}"
            output += line
        watchdog.cancel()
        return output.removesuffix(f"\n{END}\n")

    def close(self) -> None:
        """End the services, the shell and the stack."""
        self.type("kill $(jobs -p) 2>/dev/null; wait")
        with self.shell:
            assert self.shell.stdin is not None
            self.shell.stdin.close()
        self.stack.down()


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    course = Course(tmp_path_factory.mktemp("course"))
    try:
        yield course
    finally:
        course.close()
    assert course.stack.processes() == []


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_each_command_of_a_step_does_what_the_step_says(course: Course, step: str) -> None:
    for language, text in BLOCK.findall((COURSE / step).read_text()):
        if language == "yaml":
            (course.stack.var / "course.yaml").write_text(course.here(text))
            continue
        for command, expected in typed(text):
            assert_output(command, course.here(expected), course.type(command))
