"""The commands of the README and the tour work, and print what these documents show."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.system.documents import assert_output, blocks, config_with, typed
from tests.system.stack import ROOT, Stack

README, TOUR = (ROOT / "README.md").read_text(), (ROOT / "docs" / "tour.md").read_text()
DOCUMENTS = {"README": README, "tour": TOUR}
# In text a command may be wrapped.
COMMAND = re.compile(r"^\$ (\./manage_all\.sh .+)|`(\./manage_all\.sh [^`]+)`", re.MULTILINE)
MANAGE_ALL = sorted({" ".join("".join(found).split()) for found in COMMAND.findall(README + TOUR)})
# `test` runs this test, each stack runs `down`, and `bench` takes long and installs other gateways.
ELSEWHERE = {"test", "down", "bench"}


@pytest.mark.parametrize(("document", "at_least"), [("README", 1), ("tour", 10)])
def test_each_command_prints_what_the_document_shows(stack: Stack, document: str, at_least: int) -> None:
    def here(text: str) -> str:
        for name, port in (("gateway", 8001), ("users", 8002), ("orders", 8003)):
            text = text.replace(f":{port}", f":{stack.ports[name]}")
        return text

    script = "set -u\n"
    steps = [step for block in blocks(DOCUMENTS[document], "console") for step in typed(block)]
    steps = [(command, output) for command, output in steps if not command.startswith("./manage_all.sh")]
    assert len(steps) >= at_least
    for command, _ in steps:
        script += f"{here(command)}\nprintf '\\n@@@\\n'\n"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env=stack.environ, cwd=ROOT
    )
    shown = done.stdout.split("\n@@@\n")
    for (command, expected), output in zip(steps, shown, strict=False):
        assert_output(command, here(expected), output)


@pytest.mark.parametrize("command", MANAGE_ALL)
def test_each_command_of_manage_all_works(stack: Stack, command: str) -> None:
    _, word, *arguments = shlex.split(command)
    usage = subprocess.run([ROOT / "manage_all.sh", "help"], capture_output=True, text=True, check=True).stdout
    assert re.search(rf"^  {word}\b", usage, re.MULTILINE) or word in {"gateway", "users", "orders"}
    if word not in ELSEWHERE:
        done = stack.manage(word, *arguments, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert stack.ask("GET", "/healthz").status == 200


def test_the_entries_of_gateway_yaml_can_be_added(stack: Stack, tmp_path: Path) -> None:
    (shown,) = blocks(README, "yaml")
    path = tmp_path / "gateway.yaml"
    path.write_text(config_with(yaml.safe_load(shown)))
    other = Stack(stack.var, {"GATEWAY_CONFIG": str(path)})
    assert "no issues" in other.manage("gateway", "check").stdout
    assert "/api/books/{id}" in other.manage("gateway", "routes").stdout
