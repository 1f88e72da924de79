"""What the README has one type works, and shows what the README shows."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.system.stack import ROOT, Stack

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
MANAGE_ALL = sorted(
    {found.strip() for found in re.findall(r"(?:^\$ |`)(\./manage_all\.sh [^`\n]+)", README, re.MULTILINE)}
)
# `test` runs this, every stack here ends with `down`, and `bench` takes its time, and programs of others.
ELSEWHERE = {"test", "down", "bench"}


def steps() -> list[tuple[str, str]]:
    """Return each command of the README with the output under it; `…` stands for anything."""
    found = []
    for block in BLOCKS:
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = re.sub(r"\\\n\s*", "", step).partition("\n")
            found.append((command, output))
    return found


def test_the_commands_show_what_the_readme_says(stack: Stack) -> None:

    def here(text: str) -> str:
        for name, port in (("gateway", 8001), ("users", 8002), ("orders", 8003)):
            text = text.replace(f":{port}", f":{stack.ports[name]}")
        return text

    script = "set -u\n"
    typed = [(command, output) for command, output in steps() if not command.startswith("./manage_all.sh")]
    assert len(typed) >= 6
    for command, _ in typed:
        script += f"{here(command)}\nprintf '\\n@@@\\n'\n"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env=stack.environ, cwd=ROOT
    )
    shown = done.stdout.split("\n@@@\n")
    for (command, expected), output in zip(typed, shown, strict=False):
        pattern = ".*?".join(re.escape(part) for part in here(expected).strip().split("…"))
        assert re.fullmatch(pattern, output.strip(), re.DOTALL), f"{command}\nexpected {expected}\ngot {output}"


@pytest.mark.parametrize("command", MANAGE_ALL)
def test_each_command_of_manage_all_does_what_it_says(stack: Stack, command: str) -> None:
    _, word, *arguments = shlex.split(command)
    usage = subprocess.run([ROOT / "manage_all.sh", "help"], capture_output=True, text=True, check=True).stdout
    assert re.search(rf"^  {word}\b", usage, re.MULTILINE) or word in {"gateway", "users", "orders"}
    if word not in ELSEWHERE:
        done = stack.manage(word, *arguments, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert stack.ask("GET", "/healthz").status == 200


def test_the_part_of_gateway_yaml_that_is_shown_can_be_added_to_it(stack: Stack, tmp_path: Path) -> None:
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    added = yaml.safe_load(shown)
    config = yaml.safe_load((ROOT / "gateway_project" / "gateway.yaml").read_text())
    config["services"] |= added["services"]
    config["routes"] += added["routes"]
    # JSON is YAML.
    path = tmp_path / "gateway.yaml"
    path.write_text(json.dumps(config))
    other = Stack(stack.var, {"GATEWAY_CONFIG": str(path)})
    assert "no issues" in other.manage("gateway", "check").stdout
    assert "/api/books/{id}" in other.manage("gateway", "routes").stdout
